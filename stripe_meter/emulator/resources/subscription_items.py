"""Subscription items.

Owns: /v1/subscription_items. Does not own: the lines that follow from a change (`item_changes`). A metered item takes
no quantity; a subscription holds at most twenty items and keeps at least one.
"""

from typing import Final

from stripe_meter.emulator import cycle, item_changes
from stripe_meter.emulator.account import Account
from stripe_meter.emulator.errors import JSON, invalid, missing
from stripe_meter.emulator.events import emit
from stripe_meter.emulator.listing import page
from stripe_meter.emulator.resources.subscription_update import check_items_change
from stripe_meter.emulator.routing import PAGING, Operation
from stripe_meter.emulator.views import items_of


def _open_subscription(account: Account, id: str) -> JSON:
    subscription = account.store.get("subscription", id, "subscription", 400)
    if subscription["status"] in cycle.ENDED:
        raise missing("subscription", id, "subscription", status=400)
    return subscription


def _change(account: Account, subscription: JSON, fields: JSON, params: JSON) -> item_changes.Plan:
    """Carry out one change as an update of the subscription would."""
    check_items_change(account, subscription, [fields])
    behavior = params.get("proration_behavior", "create_prorations")
    made = item_changes.plan(account, subscription, [fields], behavior)
    item_changes.carry_out(account, made)
    item_changes.bill(account, made, params.get("payment_behavior", "allow_incomplete"))
    emit(account, "customer.subscription.updated", subscription)
    return made


def _terms(params: JSON) -> JSON:
    return {name: params[name] for name in ("price", "quantity", "metadata") if name in params}


def _create(account: Account, params: JSON) -> JSON:
    subscription = _open_subscription(account, params["subscription"])
    made = _change(account, subscription, _terms(params), params)
    return account.store.get("subscription_item", made.rows[-1]["id"])


def _retrieve(account: Account, params: JSON, id: str) -> JSON:
    return account.store.get("subscription_item", id)


def _update(account: Account, params: JSON, id: str) -> JSON:
    item = account.store.get("subscription_item", id)
    _change(account, _open_subscription(account, item["subscription"]), {"id": id, **_terms(params)}, params)
    return account.store.get("subscription_item", id)


def _delete(account: Account, params: JSON, id: str) -> JSON:
    """Take an item away; `clear_usage` has no effect, because every metered price here has a meter."""
    item = account.store.get("subscription_item", id)
    subscription = _open_subscription(account, item["subscription"])
    if len(items_of(account, subscription["id"])) == 1:
        raise invalid("A subscription must have at least one item; cancel the subscription instead.")
    _change(account, subscription, {"id": id, "deleted": True}, params)
    return {"id": id, "object": "subscription_item", "deleted": True}


def _list(account: Account, params: JSON) -> JSON:
    subscription = account.store.get("subscription", params["subscription"], "subscription", 400)
    rows = list(reversed(items_of(account, subscription["id"])))
    return page(rows, params, "/v1/subscription_items")


ROOT: Final = "/v1/subscription_items"
KEY: Final = "subscription"
CHANGE: Final = "metadata payment_behavior price proration_behavior quantity"
OPERATIONS: Final = (
    Operation("POST", ROOT, "SubscriptionItemCreateParams", _create, KEY, f"subscription {CHANGE}"),
    Operation("GET", ROOT, "SubscriptionItemListParams", _list, KEY, f"subscription {PAGING}"),
    Operation("GET", ROOT + "/{id}", "SubscriptionItemRetrieveParams", _retrieve, KEY),
    Operation("POST", ROOT + "/{id}", "SubscriptionItemUpdateParams", _update, KEY, CHANGE),
    Operation("DELETE", ROOT + "/{id}", "SubscriptionItemDeleteParams", _delete, KEY, "clear_usage proration_behavior"),
)
