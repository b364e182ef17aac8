"""Changing plans: who may be sent to our confirm page, what it offers them, and the change itself.

Owns the signed link. It names the customer, the subscription, the plan that would help and when the link ends; its
signature comes from the seller's Stripe key, so it needs no session and nobody else can make one. A change begins with
the next period, whichever way it goes: inside a period it would hand out the included calls twice.

A trial has no link: whoever has not paid yet waits for its end.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final, TypeAlias

from stripe_meter.domain.money import Money
from stripe_meter.domain.offering import Retired
from stripe_meter.domain.plans import PayAsYouGo, Subscription

if TYPE_CHECKING:
    from stripe_meter.domain.account import Account
    from stripe_meter.domain.terms import Interval
    from stripe_meter.domain.tools import Tool
    from stripe_meter.enforcement.accounts import AccountCache
    from stripe_meter.enforcement.ledgers import Spent
    from stripe_meter.enforcement.shelf import Shelf
    from stripe_meter.gateway.gateway import Gateway

log = logging.getLogger("stripe_meter")

#: A link to the confirm page works this long, in seconds.
LINK_FOR: Final = 3600

Recurring: TypeAlias = Subscription | PayAsYouGo


@dataclass(frozen=True, slots=True)
class Choice:
    """One plan on the confirm page: its name and, line by line, what it costs and gives."""

    name: str
    terms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Proposal:
    """What the confirm page shows.

    Attributes:
        token: The signed link's.
        plan: The plan that runs now; None where the subscription does not say.
        choices: Plans that can be had in the subscription's currency; the running one among them if still offered.
        preferred: The plan to propose first.
        begins: Unix seconds at which a change takes effect.
        next_plan: The plan that was chosen already, or None.
        ends: The subscription was cancelled and ends at `begins` unless a plan is chosen.
        done: The change was just made.
        retired: What became of the plan that runs now, where it is not sold any more.
    """

    token: str
    plan: str | None
    choices: tuple[Choice, ...]
    preferred: str
    begins: int
    next_plan: str | None = None
    ends: bool = False
    done: bool = False
    retired: str | None = None


class Changes:
    """Makes links to the confirm page, and what comes of them."""

    def __init__(self, shelf: Shelf, accounts: AccountCache) -> None:
        self._shelf, self._accounts = shelf, accounts

    def helping(self, account: Account, tool: Tool, spent: Spent | None) -> str | None:
        """Name of the first plan on offer that would serve `tool` to this subscriber, or None.

        Args:
            spent: The running plan serves the tool, but its calls are used up; then the plan has to give more.
        """
        subscription = account.subscription
        if subscription is None or subscription.status != "active" or not subscription.items:
            return None
        currency, now = (
            subscription.items[0].price.currency,
            self._shelf.offering.subscriptions.get(subscription.plan or ""),
        )
        for plan in self._shelf.offering.sold_by(tool):
            if not isinstance(plan, (Subscription, PayAsYouGo)) or plan.name == subscription.plan:
                continue
            gives_more = not (isinstance(plan, Subscription) and plan.is_capped) or (
                plan.included > (0 if now is None else now.included)
            )
            if (spent is None or gives_more) and self._is_sold_in(plan, currency):
                return plan.name
        return None

    def link(self, gateway: Gateway, account: Account, plan: str, pages: str) -> str:
        """The confirm page for one plan; works for an hour."""
        assert account.subscription is not None
        ends = int(gateway.connection.clock.now()) + LINK_FOR
        text = f"{account.customer}.{account.subscription.id}.{plan}.{ends}"
        return f"{pages}/change?token={text}.{_sign(text, gateway)}"

    async def propose(self, gateway: Gateway, token: str, chosen: str | None = None) -> Proposal | None:
        """What the page of a link shows; with `chosen` that plan is ordered first.

        Returns:
            None when the link is not ours, too old, or its subscription cannot be changed any more.

        Raises:
            StripeMeterError: Stripe could not be asked; the page may be loaded again.
        """
        text, _, signature = token.rpartition(".")
        parts = text.split(".")
        if not hmac.compare_digest(signature, _sign(text, gateway)) or len(parts) != 4:
            return None
        customer, subscription, preferred, ends = parts
        if int(ends) <= gateway.connection.clock.now():
            return None
        standing = await gateway.plan_changes.read(subscription)
        if standing is None or standing.customer != customer:
            await self._forget(customer, subscription)
            return None
        offered = {plan.name: plan for plan in self._recurring() if self._is_sold_in(plan, standing.currency)}
        choices = tuple(Choice(name, self.terms(plan, standing.currency)) for name, plan in offered.items())
        running = standing.plan or (pay.name if (pay := self._shelf.offering.pay_as_you_go) is not None else None)
        done = chosen is not None and chosen in offered
        upcoming = standing.next_plan
        if chosen is not None and done:
            if chosen == running:
                await gateway.plan_changes.keep(standing)
                upcoming = None
            else:
                order = self._shelf.order_of(offered[chosen])
                await gateway.plan_changes.at_period_end(standing, order, _interval(offered[chosen]))
                upcoming = chosen
            log.info("%s chose plan %s, from the end of the running period", customer, chosen)
        is_ending = standing.ends and upcoming is None
        is_gone = running is not None and not self._shelf.offering.has(running)
        retired = Retired(running).outcome if running is not None and is_gone else None
        return Proposal(token, running, choices, preferred, standing.period_end, upcoming, is_ending, done, retired)

    async def _forget(self, customer: str, subscription: str) -> None:
        """It has ended and nobody told us: the next refusal must not lead here again."""
        known = self._accounts.get(customer)
        if known is not None and known.subscription is not None and known.subscription.id == subscription:
            await self._accounts.refresh(customer)

    def _recurring(self) -> list[Recurring]:
        return [plan for plan in self._shelf.offering.plans if isinstance(plan, (Subscription, PayAsYouGo))]

    def _is_sold_in(self, plan: Recurring, currency: str) -> bool:
        """A subscription stays in its currency, so every price of the plan has to have it."""
        if isinstance(plan, PayAsYouGo):
            listings = self._shelf.listings()
            return bool(listings) and all(currency in listing.price.amounts for listing in listings)
        names = self._shelf.names
        return all(currency in self._shelf.price(key).amounts for key in (names.fee(plan), names.plan_calls(plan)))

    def terms(self, plan: Recurring, currency: str) -> tuple[str, ...]:
        """Stripe's prices, in words."""
        if isinstance(plan, PayAsYouGo):
            rates = [(row.tool.name, rate) for row in self._shelf.listings() for rate in row.rates]
            return tuple(f"{name}: {rate}" for name, rate in rates if rate.currency == currency)
        fee = self._shelf.price(self._shelf.names.fee(plan)).amounts[currency][-1].unit_amount
        *included, last = self._shelf.price(self._shelf.names.plan_calls(plan)).amounts[currency]
        count = included[0].up_to if included else 0
        beyond = "no further ones" if plan.is_capped else f"then {Money(last.unit_amount, currency)} each"
        calls = f"{count} call{'' if count == 1 else 's'} included, {beyond}"
        terms = [f"{Money(Decimal(fee), currency)} a {plan.fee.interval}", calls]
        return (*terms, f"unlocks {', '.join(plan.features)}") if plan.features else tuple(terms)


def _sign(text: str, gateway: Gateway) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16, key=gateway.plan_changes.signing_key).hexdigest()


def _interval(plan: Recurring) -> Interval:
    return plan.fee.interval if isinstance(plan, Subscription) else "month"
