"""The field sets of subscription and subscription item objects, and the checks before one is made.

Owns: every field of the two objects at API version 2026-10-28.endive, and what may be an item. Does not own: what
happens later (`cycle`). Everything that Stripe refuses is refused before anything is stored.
"""

from typing import Final

from stripe_meter.emulator import cycle
from stripe_meter.emulator.account import Account
from stripe_meter.emulator.billing import rates_in
from stripe_meter.emulator.errors import JSON, invalid
from stripe_meter.emulator.metadata import merged

MAX_ITEMS: Final = 20


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
    """Store an active subscription without items; `fields` overrides single fields."""
    now = account.now()
    row: JSON = {
        "id": account.ids.new("sub"),
        "object": "subscription",
        **dict.fromkeys(EMPTY.split()),
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
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
        "trial_settings": {"end_behavior": {"billing_cycle_anchor": None, "missing_payment_method": "create_invoice"}},
    }
    row.update({key: fields[key] for key in ("default_payment_method", "description") if fields.get(key)})
    if (fields.get("billing_mode") or {}).get("type") == "classic":
        row["billing_mode"] = {"flexible": None, "type": "classic"}
    customer["currency"] = currency
    row["test_clock"] = customer["test_clock"]
    return account.store.add(row)


EMPTY: Final = (
    "application application_fee_percent billing_cycle_anchor_config billing_thresholds cancel_at canceled_at "
    "customer_account days_until_due default_payment_method default_source default_tax_rates description ended_at "
    "latest_invoice managed_payments next_pending_invoice_item_invoice on_behalf_of pause_collection "
    "pending_invoice_item_interval pending_setup_intent pending_update schedule test_clock transfer_data trial_end "
    "trial_start"
)


def new_item(account: Account, subscription: JSON, fields: JSON) -> JSON:
    """Store an item; its period is the one of the subscription's cycle that holds now."""
    price = account.store.get("price", fields["price"])
    start, end = cycle.period_of(account, subscription, price, account.now())
    row: JSON = {
        "id": account.ids.new("si"),
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
    return account.store.add(row)
