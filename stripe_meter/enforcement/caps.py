"""Spend caps: the most one customer may spend in a UTC day or month.

Owns putting the cap of a customer on an offer, and giving back to it what a refund takes back. The lower one of the
seller's and the customer's own counts. What is spent is kept on a meter without a price, so every process starts from
the same sum; several processes together may go over by what the others charged since. A call belongs to the day or
month in which it was let in, however long it takes: its usage is dated before the end of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

from stripe_meter.domain import refusals
from stripe_meter.domain.blueprint import Names
from stripe_meter.domain.money import Money
from stripe_meter.domain.periods import day_after, day_before, reset_after, reset_before
from stripe_meter.enforcement.counters import Counter, Counters, Overage, Period, counted
from stripe_meter.enforcement.ledgers import day_and_time
from stripe_meter.enforcement.offers import Limits, Offer, millionths

if TYPE_CHECKING:
    from stripe_meter.domain.account import Account
    from stripe_meter.domain.receipts import Voucher
    from stripe_meter.domain.refusals import Refusal
    from stripe_meter.domain.terms import SpendCap
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
        currency = offer.terms.currency
        cap = None if terms is None or currency is None else terms.amount(currency)
        if terms is None or cap is None or offer.terms.unit_amount == 0:
            return offer
        cap = lower(account, cap)
        now = gateway.connection.clock.now()
        since, until = _bounds(terms, now)
        event_name = self._shelf.names.spend
        counter = await counted(
            self._counters,
            Period(account.customer, event_name, since),
            lambda: gateway.usage.total(self._shelf.meter(event_name), account.customer, since),
            included=0,
            limit=0,
        )
        counter.limit = millionths(cap.minor, 1)
        before = offer.limits or Limits()
        ends = min(before.until, self._monotonic() + (until - now))
        limits = replace(before, cap_event=event_name, until=ends, **_held(offer, before, tool, counter))
        # What the pocket had set aside already is taken once more, beside the money this time.
        before.give_back()
        if limits.take():
            return replace(offer, limits=limits, period_end=min(offer.period_end or until, until))
        shown = f"{cap} a {terms.interval}"
        return refusals.spend_cap(tool.name, self._shelf.quote(tool), shown, day_and_time(until))

    async def give_back(self, gateway: Gateway, voucher: Voucher, billed: int) -> None:
        """A charge was taken back, `billed` units of it cost money: they are not spent any more, here or elsewhere."""
        terms, event_name = self._shelf.offering.cap, Names(gateway.namespace).spend
        is_capped = terms is not None and voucher.currency is not None and terms.amount(voucher.currency) is not None
        spent = millionths(voucher.unit_amount, billed)
        if terms is None or not is_capped or not spent:
            return
        since, _ = _bounds(terms, gateway.connection.clock.now())
        if voucher.charged_at < since:
            return
        from stripe_meter.gateway import spend_caps

        await spend_caps.give_back(gateway.connection, event_name, voucher, spent)
        if counter := self._counters.get(Period(voucher.customer, event_name, since)):
            counter.undo(spent)


def _bounds(terms: SpendCap, now: float) -> tuple[int, int]:
    """When the cap's interval began and when it ends, Unix seconds."""
    if terms.interval == "day":
        return day_before(now), day_after(now)
    return reset_before(now, 1), reset_after(now, 1)


def _held(offer: Offer, limits: Limits, tool: Tool, counter: Counter) -> dict[str, Any]:
    """What one call sets aside: its price, and of a plan what is beyond the included calls of it."""
    terms = offer.terms
    most = terms.rate.quantity(tool.max_units or 1)
    if terms.ledger != "plan":
        return {"cap": counter, "cap_most": millionths(terms.unit_amount, most)}
    assert isinstance(limits.purse, Counter)
    return {"purse": Overage(limits.purse, counter, partial(millionths, terms.unit_amount)), "most": most}


def lower(account: Account, author: Money) -> Money:
    """The cap that holds for a customer: the lower one of the author's and their own."""
    if account.cap is None or account.cap >= author.minor:
        return author
    return Money(Decimal(account.cap), author.currency)
