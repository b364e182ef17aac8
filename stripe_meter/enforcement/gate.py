"""The gate: what happens when a call that was let in is done.

Owns `admit → settle / release`. Pure and without await: a warm call passes through here and nowhere else, so what can
be worked out once for an account and a tool is kept as an `Offer`.
"""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from stripe_meter.domain.usage import Batch, Charge, Receipt
from stripe_meter.enforcement.offers import Limits, Offer, millionths

if TYPE_CHECKING:
    from stripe_meter.domain.tools import Tool


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

    async def delivered(self, batch: Batch) -> bool: ...


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
        terms, limits = offer.terms, offer.limits
        quantity = billed = terms.one if units == 1 else terms.rate.quantity(units, terms.scale)
        if limits is not None and limits.purse is not None:
            billed = limits.purse.settle(limits.most, quantity, self.tool.name)
        if quantity:
            unit_amount, add = terms.unit_amount if billed else _NOTHING, flusher.add
            self.charge = add(offer.customer, terms.event_name, quantity, unit_amount, self._period_end)
        if limits is not None and limits.cap_event:
            self._spend(offer, limits, billed)
        return _receipt(offer, self.tool.name, quantity, billed)

    def _spend(self, offer: Offer, limits: Limits, billed: int) -> None:
        """Count what was billed against the customer's cap, here and for other processes."""
        spent = millionths(offer.terms.unit_amount, billed)
        if limits.cap is not None:
            limits.cap.settle(limits.cap_most, spent, self.tool.name)
        if spent and self._flusher is not None:
            self._flusher.add(offer.customer, limits.cap_event, spent, _NOTHING, self._period_end, calls=0)

    def release(self) -> Receipt:
        """The call was free after all: it failed, was cancelled, or the tool said so."""
        if not self._ended and self._offer is not None and self._offer.limits is not None:
            self._offer.limits.give_back()
        self._ended = True
        return Receipt(self.tool.name, customer=self.customer)

    async def delivered(self) -> bool:
        """Wait, within the flusher's deadline, until Stripe has what was charged; whether it has."""
        if self.charge is None or self._flusher is None:
            return True
        return await self._flusher.delivered(self.charge[0])


#: A receipt of whoever is busy, found again; about 0.4 kB each, so a hundred thousand customers have not all one.
@lru_cache(maxsize=8192)
def _receipt(offer: Offer, tool: str, quantity: int, billed: int) -> Receipt:
    terms = offer.terms
    price = terms.unit_amount, terms.currency, offer.customer, terms.ledger
    return Receipt(tool, quantity, *price, billed, terms.scale, terms.event_name)


_NOTHING = Decimal(0)
