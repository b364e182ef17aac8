"""How much a pay-as-you-go customer may owe: a billing threshold in Stripe, and a count of our own beside it.

Owns `PayAsYouGo(max_unpaid=…)`. Checkout cannot set a threshold, so it is set once on the subscription; Stripe then
bills in mid-period, and who does not pay is past due and not served. Between two invoices this process lets a customer
call for twice the amount, then looks whether a newer invoice stands; it needs no read of its own.

What is not bounded: what other processes serve, and what this one served before it was started, so n processes
may let n times as much run up. An invoice counts as soon as it stands, for Stripe may take an hour to charge it. In the
last day of a period and in trials Stripe's threshold sleeps; the count here does not. Volume discounts are not counted.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from stripe_meter.domain import refusals
from stripe_meter.domain.money import Money
from stripe_meter.enforcement.counters import Counter, Counters
from stripe_meter.enforcement.offers import Limits, Offer, millionths
from stripe_meter.errors import StripeMeterError

if TYPE_CHECKING:
    from stripe_meter.domain.account import Account
    from stripe_meter.domain.plans import PayAsYouGo
    from stripe_meter.domain.refusals import Refusal
    from stripe_meter.domain.tools import Tool
    from stripe_meter.enforcement.accounts import AccountCache
    from stripe_meter.enforcement.shelf import Shelf
    from stripe_meter.gateway.gateway import Gateway

log = logging.getLogger("stripe_meter")

#: How many times `max_unpaid` may be owed here: one that Stripe is about to bill, one until we hear of it.
_TIMES = 2
_RETRY = 60.0


@dataclass(frozen=True, slots=True)
class Tab:
    """A purse that counts money instead of units: `counter` in millionths of a minor unit."""

    counter: Counter
    unit_amount: Decimal

    def take(self, most: int) -> bool:
        return self.counter.take(millionths(self.unit_amount, most))

    def settle(self, taken: int, used: int, tool: str) -> int:
        """Everything on a tab costs money."""
        self.counter.settle(millionths(self.unit_amount, taken), millionths(self.unit_amount, used), tool)
        return used

    def give_back(self, taken: int) -> None:
        self.counter.give_back(millionths(self.unit_amount, taken))


class Unpaid:
    """Bounds pay-as-you-go offers by what may be owed."""

    def __init__(self, shelf: Shelf, accounts: AccountCache) -> None:
        self._shelf, self._accounts, self._counters = shelf, accounts, Counters()

    async def bound(
        self, gateway: Gateway, account: Account, tool: Tool, plan: PayAsYouGo, offer: Offer
    ) -> Offer | Refusal:
        """The same offer on the customer's tab; what one call may cost is set aside."""
        allowed = next((amount for amount in plan.unpaid if amount.currency == offer.terms.currency), None)
        if allowed is None:
            return offer
        account = await self._with_threshold(gateway, account, allowed)
        most = offer.terms.rate.quantity(tool.max_units or 1)
        tab = self._tab(account, allowed, offer)
        if not tab.take(most):
            account = await self._accounts.renew(account, gateway.connection.clock.now())
            tab = self._tab(account, allowed, offer)
            if not tab.take(most):
                shown = str(Money(allowed.minor * _TIMES, allowed.currency))
                return refusals.too_much_unpaid(tool.name, self._shelf.quote(tool), shown, _RETRY)
        return replace(offer, limits=Limits(tab, most))

    def _tab(self, account: Account, allowed: Money, offer: Offer) -> Tab:
        """The running tab: a new one begins with each invoice."""
        assert account.subscription is not None
        key = (account.customer, account.subscription.id, account.subscription.latest_invoice)
        counter = self._counters.get(key) or self._counters.put(key, Counter(0, 0, millionths(allowed.minor, _TIMES)))
        return Tab(counter, offer.terms.unit_amount)

    async def _with_threshold(self, gateway: Gateway, account: Account, allowed: Money) -> Account:
        """Set the threshold where there is none; one that the seller set in Stripe stays."""
        subscription = account.subscription
        assert subscription is not None
        if subscription.threshold is not None:
            return account
        try:
            await gateway.plan_changes.set_threshold(subscription.id, int(allowed.minor))
        except StripeMeterError as error:
            log.warning("%s: Stripe has no billing threshold of %s yet: %s", subscription.id, allowed, error)
            return account
        # What we wrote ourselves needs no read.
        return self._accounts.put(replace(account, subscription=replace(subscription, threshold=int(allowed.minor))))
