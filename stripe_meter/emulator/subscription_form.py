"""The field sets of subscription and subscription item objects, and the checks before one is made.

Owns: every field of the two objects at API version 2026-10-28.endive, and what may be an item. Does not own: what
happens later (`cycle`). Everything that Stripe refuses is refused before anything is stored.
"""

from typing import Final

from stripe_meter.emulator import anchors, taxes, trials
from stripe_meter.emulator.account import Account
from stripe_meter.emulator.billing import boundary, rates_in
from stripe_meter.emulator.errors import JSON, invalid, only
from stripe_meter.emulator.metadata import merged
from stripe_meter.emulator.periods import period_of

MAX_ITEMS: Final = 20
LEAST_THRESHOLD: Final = 50
ITEM_FIELDS: Final = frozenset({"price", "quantity", "metadata", "id", "deleted"})


def check_items(account: Account, wanted: list[JSON], customer: JSON, currency: str | None) -> str:
    """Refuse what cannot be subscribed to; returns the currency of the subscription."""
    if not wanted:
        raise invalid("Missing required param: items.", "items", "parameter_missing")
    if len(wanted) > MAX_ITEMS:
        raise invalid(f"A subscription can have at most {MAX_ITEMS} items.", "items")
    prices = [check_item(account, fields, f"items[{number}]") for number, fields in enumerate(wanted)]
    if len({price["id"] for price in prices}) < len(prices):
        raise invalid("Cannot add multiple subscription items with the same price.", "items")
    chosen = currency or customer["currency"] or prices[0]["currency"]
    if customer["currency"] not in (None, chosen):
        message = f"You cannot combine currencies on a single customer. This customer has {customer['currency']}."
        raise invalid(message, "currency")
    for price in prices:
        if rates_in(price, chosen) is None:
            raise invalid(f"The price {price['id']} is not available in {chosen}.", "items")
    return str(chosen)


def check_item(account: Account, fields: JSON, path: str) -> JSON:
    """The price of an item; raises a 400 when it cannot be one."""
    where = f"{path}[price]" if path else "price"
    if path:
        only(fields, ITEM_FIELDS, path)
    if "price" not in fields:
        raise invalid(f"Missing required param: {where}.", where, "parameter_missing")
    price = account.store.get("price", fields["price"], where, 400)
    if not price["active"]:
        raise invalid(f"The price specified is inactive: {price['id']}.", where)
    if price["recurring"] is None:
        raise invalid("The price specified is a one-time price; only recurring prices fit here.", where)
    if price["recurring"]["usage_type"] == "metered" and "quantity" in fields:
        raise invalid("You cannot set a quantity on a metered price.", f"{path}[quantity]" if path else "quantity")
    return price


def new_subscription(account: Account, customer: JSON, currency: str, fields: JSON) -> JSON:
    """Store an active or trialing subscription without items; `fields` overrides single fields."""
    now = account.now()
    behavior = (fields.get("trial_settings") or {}).get("end_behavior") or {}
    row: JSON = {
        "id": account.ids.new("sub"),
        "object": "subscription",
        **dict.fromkeys(EMPTY.split()),
        "automatic_tax": taxes.setting(taxes.on(fields)),
        "billing_cycle_anchor": now,
        "billing_mode": {"flexible": {"proration_discounts": "included"}, "type": "flexible"},
        "billing_schedules": [],
        "cancel_at_period_end": False,
        "cancellation_details": {"comment": None, "feedback": None, "feedback_option": None, "reason": None},
        "collection_method": "charge_automatically",
        "created": now,
        "currency": currency,
        "customer": customer["id"],
        "discounts": [],
        "invoice_settings": {
            "account_tax_ids": None,
            "custom_fields": None,
            "description": None,
            "footer": None,
            "issuer": {"type": "self"},
        },
        "livemode": False,
        "metadata": merged({}, fields.get("metadata")),
        "payment_settings": {
            "payment_method_options": None,
            "payment_method_types": None,
            "save_default_payment_method": "off",
        },
        "start_date": now,
        "status": "active",
        "trial_settings": trial_settings(behavior),
    }
    row.update({key: fields[key] for key in ("default_payment_method", "description") if fields.get(key)})
    if (fields.get("billing_mode") or {}).get("type") == "classic":
        row["billing_mode"] = {"flexible": None, "type": "classic"}
    _start(account, row, fields)
    set_thresholds(account, row, fields.get("billing_thresholds"))
    saved = (fields.get("payment_settings") or {}).get("save_default_payment_method")
    row["payment_settings"]["save_default_payment_method"] = saved or "off"
    customer["currency"] = currency
    row["test_clock"] = customer["test_clock"]
    return account.store.add(row)


def _start(account: Account, row: JSON, fields: JSON) -> None:
    """Trial and billing anchor of a new subscription."""
    until = trials.end_of(account, fields)
    config = fields.get("billing_cycle_anchor_config")
    if until is not None and config is not None:
        raise invalid("`billing_cycle_anchor_config` cannot be combined with a trial.", "billing_cycle_anchor_config")
    if until is not None:
        trials.begin(account, row, until)
    elif config is not None:
        row["billing_cycle_anchor_config"] = {**dict.fromkeys(("hour", "minute", "month", "second")), **config}
        row["billing_cycle_anchor"] = anchors.next_match(account.now(), config)
    elif "billing_cycle_anchor" in fields:
        row["billing_cycle_anchor"] = fields["billing_cycle_anchor"]


def check_anchor(account: Account, prices: list[JSON], fields: JSON) -> None:
    """A billing anchor lies ahead, and within one interval."""
    at = fields.get("billing_cycle_anchor")
    if at is None:
        return
    if at <= account.now():
        raise invalid("`billing_cycle_anchor` must be in the future.", "billing_cycle_anchor")
    for price in prices:
        recurring = price["recurring"]
        if at > boundary(account.now(), recurring["interval"], recurring["interval_count"], 1):
            message = "`billing_cycle_anchor` cannot be later than next natural billing date."
            raise invalid(message, "billing_cycle_anchor")


def trial_settings(behavior: JSON) -> JSON:
    """The complete `trial_settings` for what was asked for."""
    missing = behavior.get("missing_payment_method", "create_invoice")
    return {"end_behavior": {"billing_cycle_anchor": None, "missing_payment_method": missing}}


def set_thresholds(account: Account, row: JSON, wanted: JSON | str | None) -> None:
    """Give a subscription its thresholds and have them watched, or take them away."""
    row["billing_thresholds"] = thresholds(wanted)
    watch = account.with_threshold.add if row["billing_thresholds"] else account.with_threshold.discard
    watch(row["id"])


def thresholds(wanted: JSON | str | None) -> JSON | None:
    """Billing thresholds, None for none of them; raises a 400 below the smallest amount."""
    if not wanted or isinstance(wanted, str):
        return None
    amount = wanted.get("amount_gte")
    if amount is not None and amount < LEAST_THRESHOLD:
        where = "billing_thresholds[amount_gte]"
        raise invalid(f"`amount_gte` must be at least {LEAST_THRESHOLD}.", where)
    return {"amount_gte": amount, "reset_billing_cycle_anchor": wanted.get("reset_billing_cycle_anchor", False)}


EMPTY: Final = (
    "application application_fee_percent billing_cycle_anchor_config billing_thresholds cancel_at canceled_at "
    "customer_account days_until_due default_payment_method default_source default_tax_rates description ended_at "
    "latest_invoice managed_payments next_pending_invoice_item_invoice on_behalf_of pause_collection "
    "pending_invoice_item_interval pending_setup_intent pending_update schedule test_clock transfer_data trial_end "
    "trial_start"
)


def new_item(account: Account, subscription: JSON, fields: JSON) -> JSON:
    """Store an item; its period is the one of the subscription's cycle that holds now."""
    return account.store.add(item_form(account, subscription, fields, account.ids.new("si")))


def item_form(account: Account, subscription: JSON, fields: JSON, id: str) -> JSON:
    """An item that is not stored."""
    price = account.store.get("price", fields["price"])
    start, end = period_of(account, subscription, price, account.now())
    row: JSON = {
        "id": id,
        "object": "subscription_item",
        "billing_thresholds": None,
        "created": account.now(),
        "current_period_end": end,
        "current_period_start": start,
        "current_trial": None,
        "discounts": [],
        "metadata": merged({}, fields.get("metadata")),
        "price": price["id"],
        "subscription": subscription["id"],
        "tax_rates": [],
    }
    if price["recurring"]["usage_type"] == "licensed":
        row["quantity"] = fields.get("quantity", 1)
    return row
