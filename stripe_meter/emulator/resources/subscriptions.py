"""Subscriptions.

Owns: /v1/subscriptions. Does not own: updates (`subscription_update`), items (`subscription_items`) or time (`cycle`).
Periods are on the items, not on the subscription; canceling without `invoice_now` leaves the period's usage unbilled,
as on Stripe.
"""

from typing import Final

from stripe_meter.emulator import cycle, taxes, trials
from stripe_meter.emulator.account import Account
from stripe_meter.emulator.cards import card_for, charge
from stripe_meter.emulator.errors import JSON, invalid, missing
from stripe_meter.emulator.listing import page
from stripe_meter.emulator.resources.customers import existing
from stripe_meter.emulator.resources.subscription_update import (
    cancel_at_end,
    cancel_time,
    check_card,
    check_extra,
    check_time,
    extra_specs,
    update,
)
from stripe_meter.emulator.routing import PAGING, Operation
from stripe_meter.emulator.subscription_form import check_anchor, check_item, check_items, new_item, new_subscription
from stripe_meter.emulator.views import items_of, live_subscriptions

MAX_ON_CLOCK: Final = 3


def subscribe(account: Account, customer: JSON, wanted: list[JSON], fields: JSON, *, present: bool = False) -> JSON:
    """Make a subscription with its items and bill its first period; `present`: the payer can authenticate."""
    currency = check_items(account, wanted, customer, fields.get("currency"))
    check_card(account, fields.get("default_payment_method"), customer["id"])
    prices = [account.store.get("price", item["price"]) for item in wanted]
    check_anchor(account, prices, fields)
    if taxes.on(fields):
        taxes.check_customer(customer)
        taxes.check_prices(prices)
    wanted_once = fields.get("add_invoice_items") or []
    check_extra(account, wanted_once, currency)
    check_time(account, fields.get("cancel_at"))
    subscription = new_subscription(account, customer, currency, fields)
    for item in wanted:
        new_item(account, subscription, item)
    extra = extra_specs(account, wanted_once, subscription)
    if fields.get("cancel_at_period_end"):
        cancel_at_end(account, subscription, True)
    if fields.get("cancel_at"):
        at = cancel_time(account, subscription, fields["cancel_at"])
        cycle.cancel_at(account, subscription, at, flagged=False)
    behavior = fields.get("payment_behavior", "allow_incomplete")
    prorate = fields.get("proration_behavior") != "none"
    cycle.start(account, subscription, behavior, extra, prorate=prorate, present=present)
    return subscription


def _create(account: Account, params: JSON) -> JSON:
    if "customer" not in params:
        raise invalid("Missing required param: customer.", "customer", "parameter_missing")
    customer = existing(account, params["customer"])
    if customer["test_clock"] is not None and len(live_subscriptions(account, customer["id"])) >= MAX_ON_CLOCK:
        raise invalid(f"A customer on a test clock can have at most {MAX_ON_CLOCK} subscriptions.", "customer")
    wanted = params.get("items", [])
    fields = {**params, "currency": (params.get("currency") or "").lower() or None}
    if params.get("payment_behavior") == "pending_if_incomplete":
        raise invalid("`pending_if_incomplete` is for updates of a subscription.", "payment_behavior")
    if params.get("payment_behavior") == "error_if_incomplete" and wanted:
        prices = [check_item(account, item, f"items[{number}]") for number, item in enumerate(wanted)]
        billed = any(price["recurring"]["usage_type"] == "licensed" for price in prices)
        if billed and trials.end_of(account, params) is None:
            method = params.get("default_payment_method") or card_for(account, None, customer["id"])
            charge(account, method, off_session=bool(params.get("off_session")))
    return subscribe(account, customer, wanted, fields, present=not params.get("off_session"))


def _retrieve(account: Account, params: JSON, id: str) -> JSON:
    return account.store.get("subscription", id)


def _cancel(account: Account, params: JSON, id: str) -> JSON:
    subscription = account.store.get("subscription", id)
    if subscription["status"] in cycle.ENDED:
        raise missing("subscription", id)
    given = {name: value or None for name, value in (params.get("cancellation_details") or {}).items()}
    subscription["cancellation_details"] = {**subscription["cancellation_details"], **given}
    cycle.cancel(account, subscription, params.get("invoice_now", False), params.get("prorate", False))
    return subscription


def _resume(account: Account, params: JSON, id: str) -> JSON:
    """Go on with a subscription that its trial's end paused, in a period that begins now."""
    subscription = account.store.get("subscription", id)
    if subscription["status"] != "paused":
        raise invalid("Only a paused subscription can be resumed.")
    cycle.resume(account, subscription)
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
COMMON: Final = (
    "add_invoice_items automatic_tax billing_thresholds cancel_at cancel_at_period_end default_payment_method "
    "description items metadata off_session payment_behavior payment_settings proration_behavior trial_end "
    "trial_settings"
)
CREATE: Final = (
    f"{COMMON} billing_cycle_anchor billing_cycle_anchor_config billing_mode currency customer trial_period_days"
)
UPDATE: Final = f"{COMMON} billing_cycle_anchor cancellation_details proration_date"
CANCEL: Final = "cancellation_details invoice_now prorate"
OPERATIONS: Final = (
    Operation("POST", ROOT, "SubscriptionCreateParams", _create, KEY, CREATE),
    Operation("GET", ROOT, "SubscriptionListParams", _list, KEY, f"customer price status test_clock {PAGING}"),
    Operation("GET", ROOT + "/{id}", "SubscriptionRetrieveParams", _retrieve, KEY),
    Operation("POST", ROOT + "/{id}", "SubscriptionUpdateParams", update, KEY, UPDATE),
    Operation("DELETE", ROOT + "/{id}", "SubscriptionCancelParams", _cancel, KEY, CANCEL),
    Operation("POST", ROOT + "/{id}/resume", "SubscriptionResumeParams", _resume, KEY),
)
