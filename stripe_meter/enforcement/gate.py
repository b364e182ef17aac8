"""The gate: may this account be served this tool, and what happens when the tool is done.

Owns `admit → settle / release`. Pure and without await: a warm call passes through here and nowhere else.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Protocol

from stripe_meter.domain.account import Account, Item
from stripe_meter.domain.usage import Receipt

if TYPE_CHECKING:
    from stripe_meter.domain.tools import Tool
    from stripe_meter.gateway.catalogue import Listing


class Flusher(Protocol):
    """Where settled usage goes."""

    def add(self, customer: str, event_name: str, quantity: int, unit_amount: Decimal, period_end: int = 0) -> None: ...

    def now(self) -> float: ...

    async def delivered(self, customer: str, event_name: str) -> bool: ...


class Admission:
    """A call that may run. Ends in exactly one of `settle` and `release`; a second ending is ignored."""

    __slots__ = ("_ended", "_flusher", "_item", "_listing", "customer", "tool")

    def __init__(
        self,
        tool: Tool,
        customer: str | None = None,
        item: Item | None = None,
        listing: Listing | None = None,
        flusher: Flusher | None = None,
    ) -> None:
        self.tool = tool
        self.customer = customer
        self._item = item
        self._listing = listing
        self._flusher = flusher
        self._ended = False

    def settle(self, units: int) -> Receipt | None:
        """Charge for `units` (whole, at least 0) counted units. Never waits.

        Returns:
            The receipt, or None when the call had ended before.
        """
        if self._ended:
            return None
        self._ended = True
        item, listing, customer, flusher = self._item, self._listing, self.customer, self._flusher
        tool = self.tool
        if item is None or listing is None or customer is None or flusher is None:
            return Receipt(tool.name)
        rate = tool.rate_in(item.currency)
        quantity = rate.quantity(units)
        unit_amount = item.unit_amount
        if unit_amount is None:
            unit_amount = rate.unit_amount
        if quantity:
            # A snapshot may be older than the end of its period; usage after that belongs to the one that runs now.
            period_end = item.period_end if flusher.now() < item.period_end else 0
            flusher.add(customer, listing.event_name, quantity, unit_amount, period_end)
        return Receipt(tool.name, quantity, unit_amount, item.currency, customer)

    def release(self) -> Receipt:
        """The call was free after all: it failed, was cancelled, or the tool said so."""
        self._ended = True
        return Receipt(self.tool.name, customer=self.customer)

    async def delivered(self) -> bool:
        """Wait, within the flusher's deadline, until Stripe has what was settled; whether it has."""
        if self._flusher is None or self._listing is None or self.customer is None:
            return True
        return await self._flusher.delivered(self.customer, self._listing.event_name)


def served_item(account: Account, listing: Listing) -> Item | None:
    """The subscription item that will bill this tool, if the account may be served it right now."""
    subscription = account.subscription
    if subscription is None or not subscription.is_solvent:
        return None
    return subscription.items.get(listing.meter)
