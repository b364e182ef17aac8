"""Arithmetic of billing: periods, tiers, packages, decimals, rounding.

Owns: pure functions from prices and quantities to invoice lines, and from anchors to period ends. Does not own:
invoices or state. Money is int in minor units or Decimal; a float never appears. Each line is rounded half up to a
whole minor unit (docs.stripe.com/billing/subscriptions/usage-based/pricing-models).
"""

import calendar
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_HALF_UP, Decimal
from typing import Final

from stripe_meter.emulator.errors import JSON

WHOLE: Final = Decimal(1)
NONE: Final = Decimal(0)
STEP: Final = {"day": timedelta(days=1), "week": timedelta(weeks=1)}
MONTHS: Final = {"month": 1, "year": 12}
# Smallest amounts Stripe charges, in minor units (docs.stripe.com/currencies#minimum-and-maximum-charge-amounts).
MINIMUM_CHARGE: Final = {
    "aed": 200, "bgn": 100, "czk": 1500, "dkk": 250, "gbp": 30, "hkd": 400, "huf": 17500, "mxn": 1000,
    "myr": 200, "nok": 300, "pln": 200, "ron": 200, "sek": 300, "thb": 1000,
}  # fmt: skip
USUAL_MINIMUM: Final = 50
ZERO_DECIMAL: Final = frozenset(
    ["bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "ugx", "vnd", "vuv", "xaf", "xof", "xpf"]
)
THREE_DECIMAL: Final = frozenset(["bhd", "jod", "kwd", "omr", "tnd"])


@dataclass(frozen=True, slots=True)
class Priced:
    """One priced part of a quantity; `unit` is the unit price in minor units, None for a flat fee."""

    quantity: Decimal
    unit: Decimal | None
    amount: int
    label: str = ""


def rounded(amount: Decimal) -> int:
    """Whole minor units, half away from zero."""
    return int(amount.quantize(WHOLE, rounding=ROUND_HALF_UP))


def minimum_charge(currency: str) -> int:
    """Smallest chargeable amount in minor units."""
    return MINIMUM_CHARGE.get(currency, USUAL_MINIMUM)


def exponent(currency: str) -> int:
    """Number of decimals of a currency."""
    return 0 if currency in ZERO_DECIMAL else 3 if currency in THREE_DECIMAL else 2


def shown_money(amount: Decimal | int, currency: str) -> str:
    """An amount of minor units for people: `12.50 USD`; sub-unit decimals are kept, not rounded away."""
    places = exponent(currency)
    major = (Decimal(amount) / 10**places).normalize()
    shown = max(places, -int(major.as_tuple().exponent))
    return f"{major:,.{shown}f} {currency.upper()}"


def plain(number: Decimal) -> str:
    """A Decimal without exponent or trailing zeros, the form of Stripe's `*_decimal` fields."""
    text = f"{number:f}"
    return (text.rstrip("0").rstrip(".") or "0") if "." in text else text


def rates_in(price: JSON, currency: str) -> JSON | None:
    """The part of a price that holds in `currency`, or None when the price is not offered in it."""
    if price["currency"] == currency:
        return price
    found: JSON | None = price["currency_options"].get(currency)
    return found


def price_quantity(price: JSON, currency: str, quantity: Decimal, before: Decimal = NONE) -> list[Priced]:
    """Lines for `quantity` of a price: one, or one per tier and flat fee of a graduated price.

    `before` is the part of the period that an earlier invoice billed already; tiers go on behind it.
    """
    rates = rates_in(price, currency) or price
    if price["billing_scheme"] == "tiered":
        if price["tiers_mode"] == "volume":
            return [*_volume(rates["tiers"], quantity), *_billed(_volume(rates["tiers"], before), before)]
        return list(_graduated(rates["tiers"], quantity, before))
    package = price["transform_quantity"]
    quantity -= before
    if package is not None:
        rounding = ROUND_CEILING if package["round"] == "up" else ROUND_DOWN
        quantity = (quantity / package["divide_by"]).quantize(WHOLE, rounding=rounding)
    unit = Decimal(rates["unit_amount_decimal"])
    return [Priced(quantity, unit, rounded(quantity * unit))]


def _billed(parts: Iterator[Priced], before: Decimal) -> Iterator[Priced]:
    """What an earlier invoice took for a part of the volume, which this one gives back."""
    for part in parts if before else ():
        yield Priced(part.quantity, part.unit, -part.amount, f"{part.label}, billed before")


def _volume(tiers: list[JSON], quantity: Decimal) -> Iterator[Priced]:
    for number, tier in enumerate(tiers, start=1):
        if tier["up_to"] is None or quantity <= tier["up_to"]:
            yield from _tier(tier, quantity, f"Tier {number}")
            return


def _graduated(tiers: list[JSON], quantity: Decimal, before: Decimal) -> Iterator[Priced]:
    lower = Decimal(0)
    for number, tier in enumerate(tiers, start=1):
        upper = quantity if tier["up_to"] is None else min(quantity, Decimal(tier["up_to"]))
        if number > 1 and quantity <= lower:
            return
        if before < upper or upper == quantity:
            yield from _tier(tier, upper - max(lower, before), f"Tier {number}", flat=before <= lower)
        lower = upper


def _tier(tier: JSON, quantity: Decimal, label: str, *, flat: bool = True) -> Iterator[Priced]:
    unit = Decimal(tier["unit_amount_decimal"] or 0)
    yield Priced(quantity, unit, rounded(quantity * unit), label)
    fee = Decimal(tier["flat_amount_decimal"] or 0)
    if fee and quantity > 0 and flat:
        yield Priced(WHOLE, None, rounded(fee), f"{label} flat fee")


def boundary(anchor: int, interval: str, count: int, number: int) -> int:
    """The `number`-th period boundary after `anchor` in epoch seconds; the 31st falls on the last day of a month."""
    start = datetime.fromtimestamp(anchor, UTC)
    if interval in STEP:
        return int((start + STEP[interval] * count * number).timestamp())
    months = start.year * 12 + start.month - 1 + MONTHS[interval] * count * number
    year, month = divmod(months, 12)
    day = min(start.day, calendar.monthrange(year, month + 1)[1])
    return int(start.replace(year=year, month=month + 1, day=day).timestamp())


def period_around(anchor: int, interval: str, count: int, moment: int) -> tuple[int, int]:
    """The period that holds `moment`: (start, end) with `start <= moment < end`, counted from `anchor`."""
    number = 1
    while boundary(anchor, interval, count, number) <= moment:
        number += 1
    return boundary(anchor, interval, count, number - 1), boundary(anchor, interval, count, number)


def prorated(amount: int, start: int, end: int, moment: int) -> int:
    """The share of `amount` for the time from `moment` to the end of the period, by the second."""
    return rounded(Decimal(amount) * (end - moment) / (end - start))
