"""Billing thresholds: an invoice before the period's end, once usage has reached an amount.

Owns: when a threshold is reached and what it bills. Does not own: prices (`billing`). Not in trials, not in the last 24
hours of a period, at most ten invoices a minute and twenty a day; tiers go on where the last invoice stopped, unless
the billing cycle is reset (docs.stripe.com/billing/subscriptions/usage-based/thresholds).
"""

from typing import Final

from stripe_meter.emulator import cycle, invoicing
from stripe_meter.emulator.account import Account
from stripe_meter.emulator.errors import JSON
from stripe_meter.emulator.periods import fee_specs, is_metered, period_of, unused_specs, usage_specs
from stripe_meter.emulator.views import items_of

DAY: Final = 86400
MINUTE: Final = 60
PER_MINUTE: Final = 10
PER_DAY: Final = 20
WATCHED: Final = frozenset({"active", "past_due"})


def check(account: Account, customer: str) -> None:
    """Bill every subscription of the customer whose unbilled usage has reached its threshold."""
    for id in tuple(account.with_threshold):
        subscription = account.store.get("subscription", id)
        wanted = (subscription["billing_thresholds"] or {}).get("amount_gte")
        watched = subscription["customer"] == customer and subscription["status"] in WATCHED
        if wanted is not None and watched and _open(account, subscription):
            specs = _specs(account, subscription)
            shown = invoicing.preview(account, subscription, "subscription_threshold", specs, "in_unstored")
            if shown["subtotal"] >= wanted:
                _bill(account, subscription, specs)


def _open(account: Account, subscription: JSON) -> bool:
    """Whether an invoice may be made now: neither the last day nor too many of late."""
    now = account.now()
    items = [item for item in items_of(account, subscription["id"]) if is_metered(account, item)]
    if not items or min(item["current_period_end"] for item in items) - now < DAY:
        return False
    made = account.threshold_times[subscription["id"]]
    return sum(at > now - MINUTE for at in made) < PER_MINUTE and sum(at > now - DAY for at in made) < PER_DAY


def _specs(account: Account, subscription: JSON) -> list[JSON]:
    items = items_of(account, subscription["id"])
    return usage_specs(account, items, until=account.now() + 1)


def _bill(account: Account, subscription: JSON, specs: list[JSON]) -> None:
    account.threshold_times[subscription["id"]].append(account.now())
    items = items_of(account, subscription["id"])
    reset = subscription["billing_thresholds"]["reset_billing_cycle_anchor"]
    for spec in specs:
        item = spec["item"]
        price = account.store.get("price", item["price"])
        used = invoicing.usage_of(account, price, subscription["customer"], spec["start"], spec["end"])
        account.billed_before[item["id"]] = max(used, spec["before"])
    if reset:
        specs = specs + _reset(account, subscription, items)
    cycle.collect(account, invoicing.draft(account, subscription, "subscription_threshold", specs, None))


def _reset(account: Account, subscription: JSON, items: list[JSON]) -> list[JSON]:
    """Begin new periods now; returns the lines for the licensed fees of them."""
    now = account.now()
    lines = unused_specs(account, [dict(item) for item in items], now)
    subscription["billing_cycle_anchor"] = now
    for item in items:
        price = account.store.get("price", item["price"])
        item["current_period_start"], item["current_period_end"] = period_of(account, subscription, price, now)
        account.billed_before.pop(item["id"], None)
        account.billed_from[item["id"]] = now + 1
    cycle.schedule(account, subscription)
    return lines + fee_specs(account, items)
