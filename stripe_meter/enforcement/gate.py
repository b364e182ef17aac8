"""The gate: what one call of a tool costs one account, and what happens when the tool is done.

Owns `admit → settle / release`. Pure and without await: a warm call passes through here and nowhere else, so what can
be worked out once for an account and a tool is kept as an `Offer`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from math import inf
from typing import TYPE_CHECKING, Protocol

from stripe_meter.domain.rates import Rate
from stripe_meter.domain.usage import Charge, Ledger, Receipt

if TYPE_CHECKING:
    from stripe_meter.domain.tools import Tool
    from stripe_meter.enforcement.counters import Counter, Purse
    from stripe_meter.enforcement.throttle import Gauge


class Flusher(Protocol):
    """Where settled usage goes."""

    def add(
        self,
        customer: str,
        event_name: str,
        quantity: int,
        unit_amount: Decimal,
        period_end: int = 0,
        *,
        calls: int = 1,
    ) -> Charge: ...

    async def delivered(self, customer: str, event_name: str) -> bool: ...


@dataclass(frozen=True, slots=True, eq=False)
class Offer:
    """One tool at one customer's price, as long as their snapshot is served.

    Attributes:
        customer: `cus_…`.
        event_name: Of the meter.
        rate: How units become the quantity on the meter.
        unit_amount: Minor units for one of them: the customer's item's price, else the code's.
        currency: Lower-case ISO code; None where no money is at stake.
        period_end: End of the period the usage belongs to, Unix seconds: the item's, or the spend cap's if that is
            sooner; 0 when it has none.
        period_ends: On the process's monotonic clock, when all is decided anew: at that moment, or when a pocket that
            comes first is full again.
        until: Until then, on the monotonic clock, this offer holds.
        ledger: Which of the caller's pockets pays.
        purse: What limits it, or None.
        most: The most one call takes from the purse.
        scale: Ledger units of one credit.
        cap: What bounds the customer's spending, in millionths of a minor unit; None where nothing does, or the purse.
        cap_most: The most one call takes from it.
        cap_event: Name of the meter on which spending is kept.
        gauge: The customer's rate limits, or None. A call that was let in counts, however it ends.
        one: The quantity for one unit, which is what most calls count.
        is_limited: Whether a call has to be set aside for: there is a purse, a cap or a gauge.
    """

    customer: str
    event_name: str
    rate: Rate
    unit_amount: Decimal = Decimal(0)
    currency: str | None = None
    period_end: int = 0
    period_ends: float = inf
    until: float = inf
    ledger: Ledger = "usage"
    purse: Purse | None = None
    most: int = 0
    scale: int = 1
    cap: Counter | None = None
    cap_most: int = 0
    cap_event: str = ""
    gauge: Gauge | None = None
    one: int = field(init=False)
    is_limited: bool = field(init=False)

    def __post_init__(self) -> None:
        limits = self.purse, self.cap, self.gauge
        object.__setattr__(self, "one", self.rate.quantity(1, self.scale))
        object.__setattr__(self, "is_limited", any(limit is not None for limit in limits))

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


class Admission:
    """A call that may run. Ends in exactly one of `settle` and `release`; a second ending is ignored.

    Args:
        tool: What is called.
        offer: At which price; None for a call that is free. What it takes from a purse is taken already.
        flusher: Where its usage goes.
        period_end: End of the billing period the call belongs to, or 0 for the one that runs now.

    Attributes:
        customer: Who pays; None for a call that is free.
        charge: What was charged, once it was.
    """

    __slots__ = ("_ended", "_flusher", "_offer", "_period_end", "charge", "customer", "tool")

    def __init__(
        self, tool: Tool, offer: Offer | None = None, flusher: Flusher | None = None, period_end: int = 0
    ) -> None:
        self.tool = tool
        self.customer = None if offer is None else offer.customer
        self._offer = offer
        self._flusher = flusher
        self._period_end = period_end
        self.charge: Charge | None = None
        self._ended = False

    @property
    def offer(self) -> Offer | None:
        """At which price, and from which pocket; None for a call that is free."""
        return self._offer

    def settle(self, units: int) -> Receipt | None:
        """Charge for `units` (whole, at least 0) counted units. Never waits.

        Returns:
            The receipt, or None when the call had ended before.
        """
        if self._ended:
            return None
        self._ended = True
        offer, flusher = self._offer, self._flusher
        if offer is None or flusher is None:
            return Receipt(self.tool.name)
        quantity = billed = offer.one if units == 1 else offer.rate.quantity(units, offer.scale)
        if offer.purse is not None:
            billed = offer.purse.settle(offer.most, quantity, self.tool.name)
        if quantity:
            unit_amount, add = offer.unit_amount if billed else _NOTHING, flusher.add
            self.charge = add(offer.customer, offer.event_name, quantity, unit_amount, self._period_end)
        if offer.cap_event:
            spent = millionths(offer.unit_amount, billed)
            if offer.cap is not None:
                offer.cap.settle(offer.cap_most, spent, self.tool.name)
            if spent:
                flusher.add(offer.customer, offer.cap_event, spent, _NOTHING, self._period_end, calls=0)
        return _receipt(offer, self.tool.name, quantity, billed)

    def release(self) -> Receipt:
        """The call was free after all: it failed, was cancelled, or the tool said so."""
        if not self._ended and self._offer is not None and self._offer.is_limited:
            self._offer.give_back()
        self._ended = True
        return Receipt(self.tool.name, customer=self.customer)

    async def delivered(self) -> bool:
        """Wait, within the flusher's deadline, until Stripe has what was settled; whether it has."""
        if self._offer is None or self._flusher is None:
            return True
        return await self._flusher.delivered(self._offer.customer, self._offer.event_name)


@lru_cache(maxsize=1024)
def _receipt(offer: Offer, tool: str, quantity: int, billed: int) -> Receipt:
    price = offer.unit_amount, offer.currency, offer.customer, offer.ledger
    return Receipt(tool, quantity, *price, billed, offer.scale, offer.event_name)


def millionths(unit_amount: Decimal, quantity: int) -> int:
    """The price of `quantity` units in millionths of a minor unit, rounded up: a cap must not be slipped under."""
    numerator, denominator = unit_amount.as_integer_ratio()
    return -(-numerator * quantity * 1_000_000 // denominator)


_NOTHING = Decimal(0)
