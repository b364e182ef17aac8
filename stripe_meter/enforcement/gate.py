"""The gate: may this account be served this tool, and what happens when the tool is done.

Owns `admit → settle / release`. Pure and without await: a warm call passes through here and nowhere else, so what can
be worked out once for an account and a tool is kept as an `Offer`.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol

from stripe_meter.domain.account import Account, Item
from stripe_meter.domain.rates import Rate
from stripe_meter.domain.usage import Receipt

if TYPE_CHECKING:
    from stripe_meter.domain.tools import Tool
    from stripe_meter.gateway.catalogue import Listing


class Flusher(Protocol):
    """Where settled usage goes."""

    def add(self, customer: str, event_name: str, quantity: int, unit_amount: Decimal, period_end: int = 0) -> None: ...

    async def delivered(self, customer: str, event_name: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class Offer:
    """One tool at one customer's price, as long as their snapshot is served.

    Attributes:
        customer: `cus_…`.
        event_name: Of the meter.
        rate: How units become the quantity on the meter.
        unit_amount: Minor units for one of them: the customer's item's price, else the code's.
        currency: Lower-case ISO code.
        period_end: End of the item's billing period, Unix seconds.
        period_ends: The same moment on the process's monotonic clock.
    """

    customer: str
    event_name: str
    rate: Rate
    unit_amount: Decimal
    currency: str
    period_end: int
    period_ends: float


class Admission:
    """A call that may run. Ends in exactly one of `settle` and `release`; a second ending is ignored.

    Args:
        tool: What is called.
        offer: At which price; None for a call that is free.
        flusher: Where its usage goes.
        period_end: End of the billing period the call belongs to, or 0 for the one that runs now.

    Attributes:
        customer: Who pays; None for a call that is free.
    """

    __slots__ = ("_ended", "_flusher", "_offer", "_period_end", "customer", "tool")

    def __init__(
        self, tool: Tool, offer: Offer | None = None, flusher: Flusher | None = None, period_end: int = 0
    ) -> None:
        self.tool = tool
        self.customer = None if offer is None else offer.customer
        self._offer = offer
        self._flusher = flusher
        self._period_end = period_end
        self._ended = False

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
        quantity = offer.rate.quantity(units)
        if quantity:
            flusher.add(offer.customer, offer.event_name, quantity, offer.unit_amount, self._period_end)
        return Receipt(self.tool.name, quantity, offer.unit_amount, offer.currency, offer.customer)

    def release(self) -> Receipt:
        """The call was free after all: it failed, was cancelled, or the tool said so."""
        self._ended = True
        return Receipt(self.tool.name, customer=self.customer)

    async def delivered(self) -> bool:
        """Wait, within the flusher's deadline, until Stripe has what was settled; whether it has."""
        if self._offer is None or self._flusher is None:
            return True
        return await self._flusher.delivered(self._offer.customer, self._offer.event_name)


def served_item(account: Account, listing: Listing) -> Item | None:
    """The subscription item that will bill this tool, if the account may be served it right now."""
    subscription = account.subscription
    if subscription is None or not subscription.is_solvent:
        return None
    return subscription.item(listing.meter)


def offer(customer: str, tool: Tool, listing: Listing, item: Item, seconds_left: float, now: float) -> Offer:
    """What `tool` costs this customer.

    Args:
        customer: `cus_…`.
        tool: What is sold.
        listing: Its meter.
        item: The subscription item that bills it.
        seconds_left: Until the item's billing period ends, by Stripe's clock.
        now: The process's monotonic clock.
    """
    rate = tool.rate_in(item.currency)
    unit_amount = item.unit_amount
    if unit_amount is None and item.price == listing.price:
        unit_amount = listing.unit_amounts.get(item.currency)
    if unit_amount is None:
        unit_amount = rate.unit_amount
    return Offer(customer, listing.event_name, rate, unit_amount, item.currency, item.period_end, now + seconds_left)
