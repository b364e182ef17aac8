"""An offer: what one tool costs one customer, worked out once and kept as long as their snapshot is served.

Owns what of it is everybody's (`Terms`), what is set aside for a call (`Limits`), and the two together. There are a
hundred thousand customers and a few prices, so equal terms are one object, and whoever has no limits has none here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from math import inf
from typing import TYPE_CHECKING

from stripe_meter.domain.rates import Rate
from stripe_meter.domain.usage import Ledger

if TYPE_CHECKING:
    from stripe_meter.enforcement.counters import Counter, Purse
    from stripe_meter.enforcement.throttle import Gauge


@dataclass(frozen=True, slots=True)
class Terms:
    """How a call is charged, whoever makes it.

    Attributes:
        event_name: Of the meter.
        rate: How units become the quantity on the meter.
        unit_amount: Minor units for one of them: the customer's item's price, else the code's.
        currency: Lower-case ISO code; None where no money is at stake.
        ledger: Which of the caller's pockets pays.
        scale: Ledger units of one credit.
        one: The quantity for one unit, which is what most calls count.
    """

    event_name: str
    rate: Rate
    unit_amount: Decimal = Decimal(0)
    currency: str | None = None
    ledger: Ledger = "usage"
    scale: int = 1
    one: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "one", self.rate.quantity(1, self.scale))


@lru_cache(maxsize=4096)
def shared(terms: Terms) -> Terms:
    """The one object for all equal terms."""
    return terms


@dataclass(frozen=True, slots=True, eq=False)
class Limits:
    """What a call has to be set aside for.

    Attributes:
        purse: What units are taken from, or None.
        most: The most one call takes from the purse.
        cap: What bounds the customer's spending, in millionths of a minor unit; None where nothing does, or the purse.
        cap_most: The most one call takes from it.
        cap_event: Name of the meter on which spending is kept; empty where nothing bounds it.
        gauge: The customer's rate limits, or None. A call that was let in counts, however it ends.
        until: Until then, on the monotonic clock, these limits hold.
    """

    purse: Purse | None = None
    most: int = 0
    cap: Counter | None = None
    cap_most: int = 0
    cap_event: str = ""
    gauge: Gauge | None = None
    until: float = inf

    def take(self) -> bool:
        """Set aside what one more call may cost; False when a limit has not so much."""
        if self.purse is not None and not self.purse.take(self.most):
            return False
        if self.cap is not None and not self.cap.take(self.cap_most):
            self.give_back(with_cap=False)
            return False
        if self.gauge is None or self.gauge.take():
            return True
        self.give_back()
        return False

    def give_back(self, *, with_cap: bool = True) -> None:
        """A call that was set aside for costs nothing."""
        if self.purse is not None:
            self.purse.give_back(self.most)
        if self.cap is not None and with_cap:
            self.cap.give_back(self.cap_most)


@dataclass(frozen=True, slots=True, eq=False)
class Offer:
    """One tool at one customer's price.

    Attributes:
        customer: `cus_…`.
        terms: How their calls are charged.
        limits: What has to be set aside for a call; None where nothing limits it.
        period_end: End of the period the usage belongs to, Unix seconds: the item's, or the spend cap's if that is
            sooner; 0 when it has none.
        period_ends: On the process's monotonic clock, when all is decided anew: at that moment, or when a pocket that
            comes first is full again.
        tool: Name of the tool, once a snapshot keeps the offer.
    """

    customer: str
    terms: Terms
    limits: Limits | None = None
    period_end: int = 0
    period_ends: float = inf
    tool: str = ""


def millionths(unit_amount: Decimal, quantity: int) -> int:
    """The price of `quantity` units in millionths of a minor unit, rounded up: a cap must not be slipped under."""
    numerator, denominator = unit_amount.as_integer_ratio()
    return -(-numerator * quantity * 1_000_000 // denominator)
