"""Changing the items of a running subscription, with or without proration.

Owns: adding, changing and removing an item, and the invoice lines that follow from it. Does not own: checks of
parameters. With `proration_behavior=none` a removed metered item gives its unbilled usage away, as on Stripe.
"""

from stripe_meter.emulator import cycle, entitlements, invoicing
from stripe_meter.emulator.account import Account
from stripe_meter.emulator.errors import JSON
from stripe_meter.emulator.metadata import merged
from stripe_meter.emulator.subscription_form import new_item


def add(account: Account, subscription: JSON, fields: JSON, behavior: str) -> JSON:
    """A new item; a licensed one is charged for the rest of the period."""
    item = new_item(account, subscription, fields)
    _bill(account, subscription, cycle.remaining_specs(account, [item], account.now()), behavior)
    cycle.schedule(account, subscription)
    entitlements.refresh(account, subscription)
    return item


def remove(account: Account, subscription: JSON, item: JSON, behavior: str) -> None:
    """Take an item away; its usage so far is billed and unused fees are credited unless prorations are off."""
    specs = _closing(account, item)
    account.store.remove("subscription_item", item["id"])
    entitlements.refresh(account, subscription)
    _bill(account, subscription, specs, behavior)


def change(account: Account, subscription: JSON, item: JSON, fields: JSON, behavior: str) -> None:
    """Another price, quantity or other metadata; usage before the change keeps the price it happened under."""
    item["metadata"] = merged(item["metadata"], fields.get("metadata"))
    new_price = str(fields.get("price", item["price"]))
    if new_price == item["price"] and fields.get("quantity", item.get("quantity")) == item.get("quantity"):
        return
    specs = _closing(account, item)
    price = account.store.get("price", new_price)
    item["price"] = new_price
    item.pop("quantity", None)
    if price["recurring"]["usage_type"] == "licensed":
        item["quantity"] = fields.get("quantity", 1)
    now = account.now()
    account.billed_from[item["id"]] = now
    item["current_period_start"], item["current_period_end"] = cycle.period_of(account, subscription, price, now)
    cycle.schedule(account, subscription)
    entitlements.refresh(account, subscription)
    _bill(account, subscription, specs + cycle.remaining_specs(account, [item], now), behavior)


def _closing(account: Account, item: JSON) -> list[JSON]:
    """Lines that end an item now, made from a copy because the item changes next."""
    now, old = account.now(), dict(item)
    return cycle.usage_specs(account, [old], until=now) + cycle.unused_specs(account, [old], now)


def _bill(account: Account, subscription: JSON, specs: list[JSON], behavior: str) -> None:
    lines = [spec for spec in specs if spec["start"] < spec["end"]]
    if behavior == "none" or not lines:
        return
    account.pending_lines.setdefault(subscription["id"], []).extend(lines)
    if behavior == "always_invoice":
        pending = account.pending_lines.pop(subscription["id"])
        cycle.collect(account, invoicing.draft(account, subscription, "subscription_update", pending, None))
