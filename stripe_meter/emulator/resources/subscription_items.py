"""Subscription items.

Owns: /v1/subscription_items. Does not own: the lines that follow from a change (`item_changes`). A metered item takes
no quantity; a subscription holds at most twenty items and keeps at least one.
"""

from typing import Final

from stripe_meter.emulator import cycle, item_changes
from stripe_meter.emulator.account import Account
from stripe_meter.emulator.billing import rates_in
from stripe_meter.emulator.errors import JSON, invalid, missing
from stripe_meter.emulator.events import emit
from stripe_meter.emulator.listing import page
from stripe_meter.emulator.routing import PAGING, Operation
from stripe_meter.emulator.subscription_form import MAX_ITEMS, check_item
from stripe_meter.emulator.views import items_of


def _open_subscription(account: Account, id: str) -> JSON:
    subscription = account.store.get("subscription", id, "subscription", 400)
    if subscription["status"] in cycle.ENDED:
        raise missing("subscription", id, "subscription", status=400)
    return subscription


def _check_price(account: Account, subscription: JSON, fields: JSON, own: str | None) -> None:
    price = check_item(account, fields, "")
    if rates_in(price, subscription["currency"]) is None:
        raise invalid(f"The price {price['id']} is not available in {subscription['currency']}.", "price")
    for item in items_of(account, subscription["id"]):
        if item["price"] == price["id"] and item["id"] != own:
            message = f"The subscription already has an item ({item['id']}) with the price {price['id']}."
            raise invalid(message, "price")


def _create(account: Account, params: JSON) -> JSON:
    subscription = _open_subscription(account, params["subscription"])
    if len(items_of(account, subscription["id"])) >= MAX_ITEMS:
        raise invalid(f"A subscription can have at most {MAX_ITEMS} items.", "subscription")
    _check_price(account, subscription, params, None)
    item = item_changes.add(account, subscription, params, params.get("proration_behavior", "create_prorations"))
    emit(account, "customer.subscription.updated", subscription)
    return item


def _retrieve(account: Account, params: JSON, id: str) -> JSON:
    return account.store.get("subscription_item", id)


def _update(account: Account, params: JSON, id: str) -> JSON:
    item = account.store.get("subscription_item", id)
    subscription = _open_subscription(account, item["subscription"])
    if "price" in params or "quantity" in params:
        _check_price(account, subscription, {"price": item["price"], **params}, id)
    behavior = params.get("proration_behavior", "create_prorations")
    item_changes.change(account, subscription, item, params, behavior)
    emit(account, "customer.subscription.updated", subscription)
    return item


def _delete(account: Account, params: JSON, id: str) -> JSON:
    item = account.store.get("subscription_item", id)
    subscription = _open_subscription(account, item["subscription"])
    if len(items_of(account, subscription["id"])) == 1:
        raise invalid("A subscription must have at least one item; cancel the subscription instead.")
    behavior = params.get("proration_behavior", "create_prorations")
    item_changes.remove(account, subscription, item, behavior)
    emit(account, "customer.subscription.updated", subscription)
    return {"id": id, "object": "subscription_item", "deleted": True}


def _list(account: Account, params: JSON) -> JSON:
    subscription = account.store.get("subscription", params["subscription"], "subscription", 400)
    rows = list(reversed(items_of(account, subscription["id"])))
    return page(rows, params, "/v1/subscription_items")


ROOT: Final = "/v1/subscription_items"
KEY: Final = "subscription"
CHANGE: Final = "metadata price proration_behavior quantity"
OPERATIONS: Final = (
    Operation("POST", ROOT, "SubscriptionItemCreateParams", _create, KEY, f"subscription {CHANGE}"),
    Operation("GET", ROOT, "SubscriptionItemListParams", _list, KEY, f"subscription {PAGING}"),
    Operation("GET", ROOT + "/{id}", "SubscriptionItemRetrieveParams", _retrieve, KEY),
    Operation("POST", ROOT + "/{id}", "SubscriptionItemUpdateParams", _update, KEY, CHANGE),
    Operation("DELETE", ROOT + "/{id}", "SubscriptionItemDeleteParams", _delete, KEY, "proration_behavior"),
)
