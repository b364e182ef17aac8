"""Subscriptions.

Owns: /v1/subscriptions. Does not own: items (`subscription_items`) or time (`cycle`). Periods are on the items, not
on the subscription; canceling without `invoice_now` leaves the period's usage unbilled, as on Stripe.
"""

from typing import Any, Final

from stripe_meter.emulator import cycle, item_changes
from stripe_meter.emulator.account import Account
from stripe_meter.emulator.cards import charge
from stripe_meter.emulator.errors import JSON, invalid, missing
from stripe_meter.emulator.events import changed, emit
from stripe_meter.emulator.listing import page
from stripe_meter.emulator.metadata import merged
from stripe_meter.emulator.resources.customers import existing
from stripe_meter.emulator.routing import PAGING, Operation
from stripe_meter.emulator.subscription_form import MAX_ITEMS, check_item, check_items, new_item, new_subscription
from stripe_meter.emulator.views import items_of


def subscribe(account: Account, customer: JSON, wanted: list[JSON], fields: JSON) -> JSON:
    """Make a subscription with its items and bill its first period."""
    currency = check_items(account, wanted, customer, fields.get("currency"))
    check_card(account, fields.get("default_payment_method"), customer["id"])
    subscription = new_subscription(account, customer, currency, fields)
    for item in wanted:
        new_item(account, subscription, item)
    if fields.get("cancel_at_period_end"):
        cancel_at_end(account, subscription, True)
    cycle.start(account, subscription, fields.get("payment_behavior", "allow_incomplete"))
    return subscription


def check_card(account: Account, method: str | None, customer: str) -> None:
    """A payment method named for a subscription must belong to its customer."""
    row = account.store.find("payment_method", method)
    if method and (row is None or row["customer"] != customer):
        raise missing("PaymentMethod", method, "default_payment_method", status=400)


def _create(account: Account, params: JSON) -> JSON:
    if "customer" not in params:
        raise invalid("Missing required param: customer.", "customer", "parameter_missing")
    customer = existing(account, params["customer"])
    wanted = params.get("items", [])
    if params.get("payment_behavior") == "error_if_incomplete" and wanted:
        prices = [check_item(account, item, f"items[{number}]") for number, item in enumerate(wanted)]
        if any(price["recurring"]["usage_type"] == "licensed" for price in prices):
            method = params.get("default_payment_method") or cycle.card_for(account, None, customer["id"])
            charge(account, method)
    return subscribe(account, customer, wanted, {**params, "currency": (params.get("currency") or "").lower() or None})


def _retrieve(account: Account, params: JSON, id: str) -> JSON:
    return account.store.get("subscription", id)


def cancel_at_end(account: Account, subscription: JSON, wanted: bool) -> None:
    """Cancel at the end of the last period, or take that back."""
    ends = [item["current_period_end"] for item in items_of(account, subscription["id"])]
    subscription["cancel_at_period_end"] = wanted
    subscription["cancel_at"] = max(ends) if wanted else None
    subscription["canceled_at"] = account.now() if wanted else None
    subscription["cancellation_details"]["reason"] = "cancellation_requested" if wanted else None


def _update(account: Account, params: JSON, id: str) -> JSON:
    subscription = account.store.get("subscription", id)
    if subscription["status"] in cycle.ENDED:
        raise missing("subscription", id)
    check_card(account, params.get("default_payment_method"), subscription["customer"])
    before = {**subscription, "cancellation_details": dict(subscription["cancellation_details"])}
    _change_items(account, subscription, params.get("items", []), params.get("proration_behavior"))
    subscription["metadata"] = merged(subscription["metadata"], params.get("metadata"))
    for name in ("default_payment_method", "description"):
        if name in params:
            subscription[name] = params[name] or None
    if "cancel_at_period_end" in params:
        cancel_at_end(account, subscription, params["cancel_at_period_end"])
    previous = changed(before, subscription)
    if previous or "items" in params:
        emit(account, "customer.subscription.updated", subscription, previous)
    return subscription


def _change_items(account: Account, subscription: JSON, wanted: list[JSON], behavior: str | None) -> None:
    """Add, change and delete items; everything is checked before the first change."""
    behavior = behavior or "create_prorations"
    known = {item["id"]: item for item in items_of(account, subscription["id"])}
    count = len(known)
    for number, fields in enumerate(wanted):
        where = f"items[{number}]"
        if fields.get("id") is None:
            check_item(account, fields, where)
            count += 1
        elif fields["id"] not in known:
            raise missing("subscription_item", fields["id"], f"{where}[id]", status=400)
        elif fields.get("deleted"):
            count -= 1
        elif "price" in fields:
            check_item(account, fields, where)
    if count > MAX_ITEMS or (wanted and count < 1):
        raise invalid(f"A subscription must have between 1 and {MAX_ITEMS} items.", "items")
    for fields in sorted(wanted, key=lambda one: bool(one.get("deleted"))):
        item: Any = known.get(fields.get("id"))
        if item is None:
            item_changes.add(account, subscription, fields, behavior)
        elif fields.get("deleted"):
            item_changes.remove(account, subscription, item, behavior)
        else:
            item_changes.change(account, subscription, item, fields, behavior)


def _cancel(account: Account, params: JSON, id: str) -> JSON:
    subscription = account.store.get("subscription", id)
    if subscription["status"] in cycle.ENDED:
        raise missing("subscription", id)
    cycle.cancel(account, subscription, params.get("invoice_now", False), params.get("prorate", False))
    return subscription


def _list(account: Account, params: JSON) -> JSON:
    rows = list(account.store.newest("subscription"))
    status = params.get("status")
    if status is None:
        rows = [row for row in rows if row["status"] not in cycle.ENDED]
    elif status == "ended":
        rows = [row for row in rows if row["status"] in cycle.ENDED]
    elif status != "all":
        rows = [row for row in rows if row["status"] == status]
    if "customer" in params:
        rows = [row for row in rows if row["customer"] == params["customer"]]
    else:
        rows = [row for row in rows if row["test_clock"] == params.get("test_clock")]
    if "price" in params:
        price = params["price"]
        rows = [row for row in rows if any(item["price"] == price for item in items_of(account, row["id"]))]
    return page(rows, params, "/v1/subscriptions")


ROOT: Final = "/v1/subscriptions"
KEY: Final = "subscription"
COMMON: Final = "cancel_at_period_end default_payment_method description items metadata proration_behavior off_session"
CREATE: Final = f"{COMMON} billing_mode currency customer payment_behavior"
OPERATIONS: Final = (
    Operation("POST", ROOT, "SubscriptionCreateParams", _create, KEY, CREATE),
    Operation("GET", ROOT, "SubscriptionListParams", _list, KEY, f"customer price status test_clock {PAGING}"),
    Operation("GET", ROOT + "/{id}", "SubscriptionRetrieveParams", _retrieve, KEY),
    Operation("POST", ROOT + "/{id}", "SubscriptionUpdateParams", _update, KEY, COMMON),
    Operation("DELETE", ROOT + "/{id}", "SubscriptionCancelParams", _cancel, KEY, "invoice_now prorate"),
)
