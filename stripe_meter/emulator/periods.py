"""Which invoice lines a subscription's items bring, for a whole period or for a part of one.

Owns: the period of a price in a subscription, and the line specifications of usage, fees, trials and prorations. Does
not own: when they are billed (`cycle`) or how a quantity is priced (`billing`). Nothing here is stored or changed.
"""

from decimal import Decimal
from typing import Final

from stripe_meter.emulator import invoicing
from stripe_meter.emulator.account import Account
from stripe_meter.emulator.billing import boundary, period_around, price_quantity, prorated
from stripe_meter.emulator.errors import JSON

NOTHING: Final = Decimal(0)


def is_metered(account: Account, item: JSON) -> bool:
    """Whether an item is billed by usage."""
    recurring: JSON = account.store.get("price", item["price"])["recurring"]
    return bool(recurring["usage_type"] == "metered")


def interval_of(account: Account, item: JSON) -> tuple[str, int]:
    """How often an item is billed."""
    recurring: JSON = account.store.get("price", item["price"])["recurring"]
    return recurring["interval"], recurring["interval_count"]


def period_of(account: Account, subscription: JSON, price: JSON, moment: int) -> tuple[int, int]:
    """The billing period of a price that holds `moment`; before the anchor it is one stub, such as a trial."""
    recurring = price["recurring"]
    anchor = subscription["billing_cycle_anchor"]
    if moment < anchor:
        return subscription["trial_start"] or subscription["start_date"], anchor
    return period_around(anchor, recurring["interval"], recurring["interval_count"], moment)


def usage_specs(account: Account, items: list[JSON], until: int | None = None) -> list[JSON]:
    """Lines for the metered usage of the items' current periods, up to `until` when given, less what is billed."""
    specs = []
    for item in items:
        if is_metered(account, item):
            start = max(item["current_period_start"], account.billed_from.get(item["id"], item["created"]))
            line = invoicing.usage_line(item, start, until or item["current_period_end"])
            specs.append({**line, "before": account.billed_before.get(item["id"], NOTHING)})
    return specs


def fee_specs(account: Account, items: list[JSON]) -> list[JSON]:
    """Lines for the licensed fees of the items' current periods."""
    licensed = [item for item in items if not is_metered(account, item)]
    return [invoicing.fee_line(item, item["current_period_start"], item["current_period_end"]) for item in licensed]


def trial_specs(account: Account, items: list[JSON]) -> list[JSON]:
    """Lines of zero that show the trial on the first invoice."""
    specs = []
    for line in fee_specs(account, items):
        name = _product_name(account, line["item"])
        specs.append({**line, "amount": 0, "description": f"Trial period for {name}"})
    return specs


def stub_specs(account: Account, subscription: JSON, items: list[JSON]) -> list[JSON]:
    """Fees for the part of a period before a billing anchor that lies ahead."""
    specs = []
    for item in items:
        if not is_metered(account, item):
            anchor = subscription["billing_cycle_anchor"]
            interval, count = interval_of(account, item)
            whole = anchor - boundary(anchor, interval, count, -1)
            share = prorated(
                _full_fee(account, item, subscription["currency"]), 0, whole, whole - (anchor - _now(item))
            )
            words = f"Remaining time on {_product_name(account, item)}"
            specs.append(invoicing.proration_line(dict(item), _now(item), anchor, share, words))
    return specs


def unused_specs(account: Account, items: list[JSON], now: int) -> list[JSON]:
    """Credits for the time of licensed fees already billed and not used."""
    return [_share(account, item, now, -1, "Unused time") for item in items if not is_metered(account, item)]


def remaining_specs(account: Account, items: list[JSON], now: int) -> list[JSON]:
    """Charges for licensed items from now to the end of their period."""
    return [_share(account, item, now, 1, "Remaining time") for item in items if not is_metered(account, item)]


def _now(item: JSON) -> int:
    start: int = item["current_period_start"]
    return start


def _full_fee(account: Account, item: JSON, currency: str) -> int:
    price = account.store.get("price", item["price"])
    return sum(part.amount for part in price_quantity(price, currency, Decimal(item["quantity"])))


def _product_name(account: Account, item: JSON) -> str:
    price = account.store.get("price", item["price"])
    return str(account.store.get("product", price["product"])["name"])


def _share(account: Account, item: JSON, now: int, sign: int, words: str) -> JSON:
    subscription = account.store.get("subscription", item["subscription"])
    full = 0 if subscription["status"] == "trialing" else _full_fee(account, item, subscription["currency"])
    start, end = item["current_period_start"], item["current_period_end"]
    amount = sign * prorated(full, start, end, now)
    return invoicing.proration_line(dict(item), now, end, amount, f"{words} on {_product_name(account, item)}")
