"""The flows a portal session can lead to: one task and what comes after it.

Owns: `flow_data` of portal sessions. Does not own: the pages (`pages.portal`). A subscription with metered prices can
be canceled in the portal, but not updated, as on Stripe; flows without emulation are refused loudly.
"""

from typing import Any, Final

from stripe_meter.emulator.account import Account
from stripe_meter.emulator.errors import JSON, invalid, not_emulated, only
from stripe_meter.emulator.periods import is_metered
from stripe_meter.emulator.views import items_of, live_subscriptions

# Flow → the feature that must be enabled for it.
FEATURES: Final = {
    "payment_method_update": "payment_method_update",
    "subscription_cancel": "subscription_cancel",
    "subscription_update": "subscription_update",
    "subscription_update_confirm": "subscription_update",
}
MESSAGE: Final = "This subscription cannot be updated because it has usage-based prices."


def flow(account: Account, wanted: JSON | None, customer: str, configuration: JSON) -> JSON | None:
    """The checked flow of a session, None for the whole portal."""
    if wanted is None:
        return None
    kind = wanted["type"]
    if kind not in FEATURES:
        raise not_emulated(f"portal flows of type {kind}")
    if not configuration["features"][FEATURES[kind]]["enabled"]:
        raise invalid(f"This flow is disabled in the portal configuration: {kind}.", "flow_data[type]")
    after: JSON = {"hosted_confirmation": None, "redirect": None, "type": "portal_homepage"}
    names = ("customer_update", "subscription_cancel", "subscription_pause", "subscription_update")
    made: JSON = {
        **dict.fromkeys((*names, "subscription_update_confirm")),
        "after_completion": _after({**after, **(wanted.get("after_completion") or {})}),
        "type": kind,
    }
    if kind != "payment_method_update":
        made[kind] = _subject(account, kind, wanted.get(kind), customer, configuration)
    return made


def _after(after: JSON) -> JSON:
    if after["type"] == "redirect" and after["redirect"] is None:
        where = "flow_data[after_completion][redirect]"
        raise invalid(f"Missing required param: {where}.", where, "parameter_missing")
    if after["type"] == "hosted_confirmation":
        after["hosted_confirmation"] = {"custom_message": None, **(after["hosted_confirmation"] or {})}
    return after


def _subject(account: Account, kind: str, given: Any, customer: str, configuration: JSON) -> JSON:
    """The subscription a flow is about, with the items of a confirmation."""
    where = f"flow_data[{kind}]"
    if given is None:
        raise invalid(f"Missing required param: {where}.", where, "parameter_missing")
    only(given, ("subscription", "items"), where)
    id = given["subscription"]
    subscription = account.store.get("subscription", id, f"{where}[subscription]", 400)
    if subscription not in live_subscriptions(account, customer):
        raise invalid("The subscription belongs to another customer or has ended.", f"{where}[subscription]")
    if kind == "subscription_cancel":
        return {"retention": None, "subscription": id}
    items = items_of(account, id)
    if any(is_metered(account, item) for item in items):
        raise invalid(MESSAGE, f"{where}[subscription]")
    if kind == "subscription_update":
        return {"subscription": id}
    rows = _items(account, given["items"], items, configuration, where)
    return {"discounts": None, "items": rows, "subscription": id}


def _items(account: Account, given: list[JSON], items: list[JSON], configuration: JSON, where: str) -> list[JSON]:
    if len(given) != 1:
        raise invalid("You may only specify one item to update.", f"{where}[items]")
    row = {"price": None, "quantity": None, **given[0]}
    if row["id"] not in {item["id"] for item in items}:
        raise invalid(f"No such subscription_item: '{row['id']}'", f"{where}[items][0][id]", "resource_missing")
    if row["price"] not in offered(configuration):
        raise invalid("The price is not part of the portal configuration.", f"{where}[items][0][price]")
    return [row]


def offered(configuration: JSON) -> list[str]:
    """The prices that a configuration lets customers switch to."""
    feature = configuration["features"]["subscription_update"]
    return [price for product in feature.get("products") or () for price in product["prices"]]


def check_feature(account: Account, feature: JSON) -> None:
    """What a configuration may offer to switch to: one licensed price of a product and interval (docs: portal)."""
    where = "features[subscription_update]"
    if not feature.get("enabled"):
        return
    if (feature.get("schedule_at_period_end") or {}).get("conditions"):
        name = f"{where}[schedule_at_period_end]"
        raise invalid("The emulator does not schedule portal updates.", name, "not_emulated")
    if feature["default_allowed_updates"] not in ([], ["price"]):
        raise invalid("The emulator updates prices only.", f"{where}[default_allowed_updates]", "not_emulated")
    if not feature.get("products"):
        raise invalid(f"Missing required param: {where}[products].", f"{where}[products]", "parameter_missing")
    for product in feature["products"]:
        only(product, ("product", "prices", "adjustable_quantity"), f"{where}[products]")
        if (product.get("adjustable_quantity") or {}).get("enabled"):
            name = f"{where}[products][adjustable_quantity]"
            raise invalid("The emulator updates prices only.", name, "not_emulated")
        _check_product(account, product, f"{where}[products]")


def _check_product(account: Account, product: JSON, where: str) -> None:
    seen = set()
    for id in product["prices"]:
        price = account.store.get("price", id, where, 400)
        recurring = price["recurring"]
        if price["product"] != product["product"] or recurring is None or recurring["usage_type"] != "licensed":
            raise invalid(f"The price {id} is not a licensed recurring price of the product.", where)
        if (recurring["interval"], recurring["interval_count"], price["currency"]) in seen:
            raise invalid("A product can offer one price for each interval.", where)
        seen.add((recurring["interval"], recurring["interval_count"], price["currency"]))
