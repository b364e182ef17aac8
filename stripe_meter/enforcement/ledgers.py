"""From which pocket a call is paid: one small class for each way to sell, asked in the order of the offering.

Owns turning a route into an `Offer` that the warm path can use without asking anybody, or into the reason why not. Runs
in the Stripe thread. Reads at most one summary for each customer and period; credits are leased elsewhere.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from stripe_meter.domain import refusals
from stripe_meter.domain.offering import Retired
from stripe_meter.domain.periods import reset_after, reset_before
from stripe_meter.domain.plans import Free, Subscription
from stripe_meter.enforcement.counters import Counters, Period, counted
from stripe_meter.enforcement.offers import Limits, Offer, Terms, shared

if TYPE_CHECKING:
    from stripe_meter.domain.account import Account, Item, ItemPrice
    from stripe_meter.domain.offering import Route
    from stripe_meter.domain.refusals import Refusal
    from stripe_meter.domain.tools import Tool
    from stripe_meter.domain.usage import Ledger
    from stripe_meter.enforcement.shelf import Listing, Shelf
    from stripe_meter.gateway.gateway import Gateway

log = logging.getLogger("stripe_meter")


@dataclass(frozen=True, slots=True)
class Spent:
    """A pocket that is empty.

    Attributes:
        what: One sentence for the caller: which limit, and when it starts anew.
        until: Unix seconds of that moment; 0 when time alone does not fill it.
        ledger: Which pocket it is.
        needed: Ledger units that one call needs, of credits.
    """

    what: str
    until: int
    ledger: Ledger = "allowance"
    needed: int = 0

    def after(self, earlier: Spent | None) -> Spent:
        """Both as one: credits can be bought and are all that is said; of allowances, when each starts anew."""
        if earlier is None or self.ledger == "credits":
            return self
        return earlier if earlier.ledger == "credits" else replace(self, what=f"{earlier.what} {self.what}")


class Allowance:
    """Free calls: counted on a meter without a price, by months that begin on the reset day."""

    def __init__(self, shelf: Shelf, counters: Counters, monotonic: Callable[[], float]) -> None:
        self._shelf, self._counters, self._monotonic = shelf, counters, monotonic

    async def offer(self, gateway: Gateway, account: Account, tool: Tool, route: Route) -> Offer | Spent:
        plan = route.plan
        assert isinstance(plan, Free)
        now = gateway.connection.clock.now()
        since, until = reset_before(now, plan.reset_day), reset_after(now, plan.reset_day)
        event_name = self._shelf.names.free
        counter = await counted(
            self._counters,
            Period(account.customer, event_name, since),
            lambda: gateway.usage.total(self._shelf.meter(event_name), account.customer, since),
            included=plan.calls,
            limit=plan.calls,
        )
        most = route.rate.quantity(tool.max_units or 1)
        if not counter.take(most):
            return Spent(f"Your free calls ({plan.calls}) are used until {day_and_time(until)}.", until)
        ends = self._monotonic() + (until - now)
        terms = shared(Terms(event_name, route.rate, ledger="allowance"))
        return Offer(account.customer, terms, Limits(counter, most, until=ends))


class PlanCalls:
    """Calls of a subscription plan: included ones, then overage; or a hard stop.

    Whoever is on a plan that is not offered any more gets what `Retired` says, whichever plans are sold now.
    """

    def __init__(self, shelf: Shelf, counters: Counters, monotonic: Callable[[], float]) -> None:
        self._shelf, self._counters, self._monotonic = shelf, counters, monotonic
        self._warned: set[str] = set()
        # Of a meter that nothing on offer counts on any more; looked up once.
        self._old_meter: str | None = None
        self._has_looked = False

    async def offer(self, gateway: Gateway, account: Account, tool: Tool, route: Route) -> Offer | Spent | None:
        """None when the subscription has no item that counts calls."""
        plan, subscription = route.plan, account.subscription
        assert isinstance(plan, (Subscription, Retired))
        assert subscription is not None
        if isinstance(plan, Retired):
            self._warn(plan)
        event_name = self._shelf.names.calls
        meter = self._shelf.known_meter(event_name)
        if meter is None and isinstance(plan, Retired):
            meter = await self._meter_of_old(gateway, event_name)
        item = None if meter is None else subscription.item(meter)
        if item is None or meter is None:
            return None
        included, unit_amount = _terms(item)
        limit = included if isinstance(plan, Retired) or plan.is_capped else None
        if subscription.is_trial and isinstance(plan, Subscription):
            included = limit = plan.trial_calls or 0
        # A price that takes another one's place in mid-period begins with its included calls anew.
        since = max(subscription.since, item.since)
        counter = await counted(
            self._counters,
            Period(account.customer, event_name, since, (subscription.id, item.price.id, limit)),
            lambda: gateway.usage.total(meter, account.customer, since),
            included=included,
            limit=limit,
        )
        most = route.rate.quantity(tool.max_units or 1) if limit is not None else 0
        if not counter.take(most):
            kind = "calls of your trial" if subscription.is_trial else "calls of your plan"
            return Spent(f"The {kind} ({limit}) are used until {day_and_time(item.period_end)}.", item.period_end)
        left = item.period_end - gateway.connection.clock.now()
        ends = self._monotonic() + left
        terms = shared(Terms(event_name, route.rate, unit_amount, item.price.currency, "plan"))
        return Offer(account.customer, terms, Limits(counter, most, until=ends), item.period_end, ends)

    async def _meter_of_old(self, gateway: Gateway, event_name: str) -> str | None:
        if not self._has_looked:
            self._old_meter, self._has_looked = (await gateway.catalogue.meters()).get(event_name), True
        return self._old_meter

    def _warn(self, plan: Retired) -> None:
        if plan.name not in self._warned:
            self._warned.add(plan.name)
            log.warning(
                "plan %r %s; to see who is on it and what to type, run stripe-meter plan server.py",
                plan.name,
                plan.outcome,
            )


def _terms(item: Item) -> tuple[int, Decimal]:
    """Included calls and the price of a further one: of this customer's price, which may be older than ours."""
    included = next((tier.up_to for tier in item.price.tiers if tier.up_to is not None and tier.unit_amount == 0), 0)
    return included or 0, item.price.tiers[-1].unit_amount if item.price.tiers else Decimal(0)


class Metered:
    """Pay-as-you-go: the tool's own meter, at the price of this customer's item and by its unit.

    Whoever is on another price than the code's is billed by what theirs is paid for. Where that is nothing that the
    tool counts now, nobody can tell what a call would cost them, so it is refused.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._warned: set[tuple[str, str]] = set()

    def offer(self, gateway: Gateway, account: Account, tool: Tool, listing: Listing) -> Offer | Refusal | None:
        """None while no item of the subscription bills the meter: usage without an item is never billed."""
        assert account.subscription is not None
        assert listing.price.meter is not None
        item = account.subscription.item(listing.price.meter)
        if item is None:
            return None
        price = item.price
        if not price.tiers or price.unit is None or not price.unit.is_counted_by(tool):
            self._warn(tool, price)
            quote = " or ".join(str(rate) for rate in listing.rates)
            return refusals.subscription_unusable(tool.name, quote, "has a price by which it cannot be billed")
        unit_amount = price.tiers[0].unit_amount
        rate = price.unit.rate(tool, unit_amount, price.currency)
        ends = self._monotonic() + item.period_end - gateway.connection.clock.now()
        terms = shared(Terms(listing.event_name, rate, unit_amount, price.currency))
        return Offer(account.customer, terms, None, item.period_end, ends)

    def _warn(self, tool: Tool, price: ItemPrice) -> None:
        if (tool.name, price.id) not in self._warned:
            self._warned.add((tool.name, price.id))
            log.error(
                "calls of %r are refused to whoever is billed by %s: that price is paid per %s, which the tool does "
                "not count now; move them with stripe-meter apply --subscriptions, or give the tool a new meter with "
                "name=…",
                tool.name,
                price.id,
                price.unit or "something it does not say",
            )


def day_and_time(moment: int) -> str:
    """A moment for people, in UTC."""
    at = datetime.fromtimestamp(moment, UTC)
    return f"{at:%d %B %Y %H:%M} UTC"
