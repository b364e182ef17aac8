"""What one customer would be billed under one plan, and the reading of it from invoices.

Owns the value that is shown and the rule which invoice lines belong to the first period: a fee is billed in advance,
so the invoice at the end of a month holds the next month's fee already.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from stripe_meter.domain.money import Money


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the bill, in whole minor units."""

    text: str
    minor: int


@dataclass(frozen=True, slots=True)
class Bill:
    """The bill of one customer under one plan.

    Attributes:
        plan: Name of the plan, or `no plan`.
        currency: Lower-case ISO code; None where no money is at stake.
        lines: What is billed.
        interval: What the bill covers: `month`, or `year` for a plan that is paid by the year.
        served: Calls that were served, whether they were charged or not.
        refused: Calls that were refused, by reason.
    """

    plan: str
    currency: str | None = None
    lines: tuple[Line, ...] = ()
    interval: str = "month"
    served: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    @property
    def minor(self) -> int:
        return sum(line.minor for line in self.lines)

    @property
    def total(self) -> str:
        """For people: `$12.50`; `nothing` where no money is at stake."""
        return "nothing" if self.currency is None else str(Money(Decimal(self.minor), self.currency))

    @property
    def text(self) -> str:
        """The total with all that qualifies it."""
        year = " a year" if self.interval == "year" else ""
        refused = f", {self.refused.total()} refused" if self.refused else ""
        return f"{self.total}{year}{refused}"

    def data(self) -> dict[str, Any]:
        """The JSON form; amounts are strings, so that no reader makes floats of them."""
        return {
            "total": self.total,
            "minor_units": str(self.minor),
            "currency": self.currency,
            "interval": self.interval,
            "lines": [{"text": line.text, "minor_units": str(line.minor)} for line in self.lines],
            "served": self.served,
            "refused": dict(self.refused),
        }


def lines_until(rows: Iterable[dict[str, Any]], end: int) -> tuple[Line, ...]:
    """The invoice lines of periods that began before `end` (Unix seconds) and cost something."""
    return tuple(
        Line(row["description"], row["amount"]) for row in rows if row["period"]["start"] < end and row["amount"]
    )
