"""Spend caps: the most one customer may spend in a UTC day or month.

Owns putting the cap of a customer on an offer. The lower one of the seller's and the customer's own counts. What is
spent is kept on a meter without a price, so every process starts from the same sum; several processes together may go
over by what the others charged since.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from stripe_meter.domain import refusals
from stripe_meter.domain.money import Money
from stripe_meter.domain.periods import day_after, day_before, reset_after, reset_before
from stripe_meter.enforcement.counters import Counters, counted
from stripe_meter.enforcement.gate import Offer, millionths
from stripe_meter.enforcement.ledgers import day_and_time

if TYPE_CHECKING:
    from stripe_meter.domain.account import Account
    from stripe_meter.domain.refusals import Refusal
    from stripe_meter.domain.tools import Tool
    from stripe_meter.enforcement.shelf import Shelf
    from stripe_meter.gateway.gateway import Gateway


class Caps:
    """Bounds offers by what may still be spent."""

    def __init__(self, shelf: Shelf, counters: Counters, monotonic: Callable[[], float]) -> None:
        self._shelf, self._counters, self._monotonic = shelf, counters, monotonic

    async def bound(self, gateway: Gateway, account: Account, tool: Tool, offer: Offer) -> Offer | Refusal:
        """The same offer under the customer's cap; it has set aside what one call may cost, or gives that back."""
        terms = self._shelf.offering.cap
        cap = None if terms is None or offer.currency is None else terms.amount(offer.currency)
        if terms is None or cap is None:
            return offer
        if account.cap is not None and account.cap < cap.minor:
            cap = Money(type(cap.minor)(account.cap), cap.currency)
        now = gateway.connection.clock.now()
        is_daily = terms.interval == "day"
        since = day_before(now) if is_daily else reset_before(now, 1)
        until = day_after(now) if is_daily else reset_after(now, 1)
        event_name = self._shelf.names.spend
        counter = await counted(
            self._counters,
            (account.customer, event_name, since),
            lambda: gateway.usage.total(self._shelf.meter(event_name), account.customer, since),
            included=0,
            limit=0,
        )
        counter.limit = millionths(cap.minor, 1)
        # Which of a plan's calls cost money is known only afterwards, so these are stopped once the cap is reached.
        is_known = offer.ledger == "usage"
        most = millionths(offer.unit_amount, offer.rate.quantity(tool.max_units or 1)) if is_known else 1
        if not counter.take(most):
            offer.give_back()
            shown = f"{cap} a {terms.interval}"
            return refusals.spend_cap(tool.name, self._shelf.quote(tool), shown, day_and_time(until))
        ends = min(offer.until, self._monotonic() + (until - now))
        return replace(offer, cap=counter, cap_most=most, cap_event=event_name, until=ends)
