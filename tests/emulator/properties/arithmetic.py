"""What a quantity costs and when a period ends, worked out once more from Stripe's documentation.

Owns: exact sums in whole minor units, and calendar periods. Does not own: state (`model`). Rules: amounts are rounded
half up per invoice line; a graduated price has one line per tier; `up_to` is inclusive; packages are rounded before
pricing; the 31st falls on the last day of a shorter month (docs.stripe.com/billing/subscriptions/usage-based/
pricing-models, docs.stripe.com/billing/subscriptions/billing-cycle).
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any, Literal

Interval = Literal["day", "week", "month"]


@dataclass(frozen=True)
class Tier:
    """A step of a tiered price: its highest unit (None for the last), cents a unit, and a flat fee in cents."""

    up_to: int | None
    unit: str
    flat: int = 0


@dataclass(frozen=True)
class Price:
    """A price in cents. `meter` is None for a fee in advance; `package` is (units, "up" or "down")."""

    id: str
    interval: Interval
    meter: str | None
    unit: str = "0"
    package: tuple[int, str] | None = None
    tiers: tuple[Tier, ...] = ()
    volume: bool = False

    def lines(self, quantity: Fraction) -> list[int]:
        """The amounts of the invoice lines for a quantity; lines of nothing are left out."""
        if not self.tiers:
            return [cents(self._packages(quantity) * Fraction(self.unit))]
        if self.volume:
            tier = next(one for one in self.tiers if one.up_to is None or quantity <= one.up_to)
            return [cents(quantity * Fraction(tier.unit)), tier.flat if quantity else 0]
        amounts, lower = [], 0
        for tier in self.tiers:
            within = quantity - lower if tier.up_to is None else min(quantity, Fraction(tier.up_to)) - lower
            if within > 0:
                amounts += [cents(within * Fraction(tier.unit)), tier.flat]
            lower = tier.up_to or 0
        return amounts

    def _packages(self, quantity: Fraction) -> Fraction:
        if self.package is None:
            return quantity
        size, direction = self.package
        full, rest = divmod(quantity, size)
        return Fraction(full + (1 if rest and direction == "up" else 0))

    def params(self) -> dict[str, Any]:
        """The parameters that make this price."""
        metered: dict[str, Any] = {"usage_type": "metered", "meter": self.meter} if self.meter else {}
        made: dict[str, Any] = {"currency": "usd", "recurring": {"interval": self.interval, **metered}}
        if self.package:
            made["transform_quantity"] = {"divide_by": self.package[0], "round": self.package[1]}
        if not self.tiers:
            return {**made, "unit_amount_decimal": self.unit}
        tiers = [_tier(one) for one in self.tiers]
        return {
            **made,
            "billing_scheme": "tiered",
            "tiers_mode": "volume" if self.volume else "graduated",
            "tiers": tiers,
        }


def _tier(tier: Tier) -> dict[str, Any]:
    flat = {"flat_amount": tier.flat} if tier.flat else {}
    return {"up_to": tier.up_to or "inf", "unit_amount_decimal": tier.unit, **flat}


def cents(amount: Fraction) -> int:
    """Whole cents, half up; amounts here are never negative."""
    return (2 * amount.numerator + amount.denominator) // (2 * amount.denominator)


def boundary(anchor: int, interval: Interval, number: int) -> int:
    """The start of the period after `number` whole ones, in epoch seconds."""
    start = datetime.fromtimestamp(anchor, UTC)
    if interval != "month":
        return anchor + number * int(timedelta(days=1 if interval == "day" else 7).total_seconds())
    years, month = divmod(start.month - 1 + number, 12)
    last = calendar.monthrange(start.year + years, month + 1)[1]
    return int(start.replace(year=start.year + years, month=month + 1, day=min(start.day, last)).timestamp())
