"""A price in words, as Checkout and portal show it.

Owns: the sentence for a unit price, a package and each tier. Does not own: amounts (`billing`).
"""

from decimal import Decimal

from stripe_meter.emulator.billing import rates_in, shown_money
from stripe_meter.emulator.errors import JSON


def unit_prices(price: JSON, product: JSON, currency: str) -> list[str]:
    """The price in words, one entry per tier: `0.05 USD per call`."""
    rates = rates_in(price, currency) or price
    recurring = price["recurring"]
    metered = recurring is not None and recurring["usage_type"] == "metered"
    every = "" if recurring is None else _every(recurring)
    unit = product["unit_label"] or ("unit" if metered else "")
    per = (f" per {unit}" if unit else "") + (
        f", billed every {every}" if metered else f" every {every}" if every else ""
    )
    if price["billing_scheme"] == "per_unit":
        package = price["transform_quantity"]
        if package is not None:
            per = f" per {package['divide_by']} {unit or 'unit'}s" + per.removeprefix(f" per {unit}" if unit else "")
        return [shown_money(Decimal(rates["unit_amount_decimal"]), currency) + per]
    return [_tier(tier, currency, unit or "unit") for tier in rates["tiers"]] + [f"billed every {every}"]


def _every(recurring: JSON) -> str:
    count = recurring["interval_count"]
    return str(recurring["interval"]) if count == 1 else f"{count} {recurring['interval']}s"


def _tier(tier: JSON, currency: str, unit: str) -> str:
    where = "then" if tier["up_to"] is None else f"up to {tier['up_to']:,}"
    text = f"{where}: {shown_money(Decimal(tier['unit_amount_decimal'] or 0), currency)} per {unit}"
    flat = tier["flat_amount_decimal"]
    return f"{text} + {shown_money(Decimal(flat), currency)}" if flat else text
