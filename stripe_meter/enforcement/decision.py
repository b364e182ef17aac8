"""The cold half of an admission: who is it, which pocket pays, and if none does, what would help.

Owns the order of these questions and turns every empty pocket into one refusal with the link that mends it. Runs in the
Stripe thread; what it decides is kept as an `Offer`, so that the next call of the same kind is warm.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Final

from stripe_meter.domain import refusals
from stripe_meter.domain.offering import Retired
from stripe_meter.domain.plans import Credits, Free, PayAsYouGo
from stripe_meter.domain.refusals import Refusal
from stripe_meter.enforcement import traces
from stripe_meter.enforcement.caps import Caps
from stripe_meter.enforcement.changes import Changes
from stripe_meter.enforcement.counters import Counters
from stripe_meter.enforcement.credits.prepaid import Prepaid
from stripe_meter.enforcement.credits.refills import Refills
from stripe_meter.enforcement.gate import Admission
from stripe_meter.enforcement.identity.anonymous import Anonymous
from stripe_meter.enforcement.ledgers import Allowance, Metered, PlanCalls, Spent, day_and_time
from stripe_meter.enforcement.offers import Limits, Offer
from stripe_meter.enforcement.overdue import Overdue
from stripe_meter.enforcement.refunds import Refunds
from stripe_meter.enforcement.unnoticed import Unnoticed
from stripe_meter.enforcement.unpaid import Unpaid
from stripe_meter.errors import StripeMeterError

if TYPE_CHECKING:
    from stripe_meter.domain.account import Account
    from stripe_meter.domain.identity import Caller
    from stripe_meter.domain.offering import Route
    from stripe_meter.domain.plans import Plan
    from stripe_meter.domain.refusals import Reason
    from stripe_meter.domain.tools import Tool
    from stripe_meter.enforcement.accounts import AccountCache
    from stripe_meter.enforcement.callers import Callers
    from stripe_meter.enforcement.flusher.thread import StripeThread
    from stripe_meter.enforcement.purchases import Purchases
    from stripe_meter.enforcement.shelf import Shelf
    from stripe_meter.enforcement.shopfront import Shopfront
    from stripe_meter.enforcement.throttle import Throttle
    from stripe_meter.gateway.checkout import Order
    from stripe_meter.gateway.gateway import Gateway

log = logging.getLogger("stripe_meter")

#: Seconds a caller is told to wait when the next try may go better by itself.
RETRY_SOON: Final = 5.0
#: How often one call is decided anew because what is known of its customer has changed while it was decided.
_ROUNDS: Final = 8
#: How often one call waits for its wallet to be filled: others may have taken what was bought.
_REFILLS: Final = 3


class Decision:
    """Decides on cold calls.

    Args:
        pages: Finds the base URL of our pages for a caller.
    """

    def __init__(
        self,
        shelf: Shelf,
        accounts: AccountCache,
        callers: Callers,
        purchases: Purchases,
        thread: StripeThread,
        pages: Callable[[Caller], Awaitable[str]],
    ) -> None:
        self._shelf, self._accounts, self._callers = shelf, accounts, callers
        self._purchases, self._thread, self._pages = purchases, thread, pages
        counters = Counters()

        def monotonic() -> float:
            return accounts.monotonic()  # a test may give the accounts another clock

        self._allowance = Allowance(shelf, counters, monotonic)
        self._plan_calls = PlanCalls(shelf, counters, monotonic)
        self._metered = Metered(monotonic)
        self._caps = Caps(shelf, counters, monotonic)
        self._unpaid = Unpaid(shelf, accounts)
        self._unnoticed = Unnoticed(accounts)
        self._overdue = Overdue(shelf, accounts)
        self._anonymous = Anonymous()
        self.changes = Changes(shelf, accounts)
        #: Links to our own pages, once there is a counter to serve them.
        self.front: Shopfront | None = None
        #: Rate limits; the engine sets it.
        self.throttle: Throttle | None = None
        self.prepaid = thread.holdings = Prepaid(shelf, thread, monotonic)
        self._refills = Refills(shelf, monotonic)
        #: Takes charges back.
        self.refunds = Refunds(accounts, counters, self._caps, self.prepaid)

    async def decide(self, gateway: Gateway, tool: Tool, caller: Caller) -> Admission | Refusal:
        """Admit or refuse a tool that is stocked. Raises `StripeMeterError` where Stripe could not be asked."""
        caller = await self._callers.proved(caller)
        for _ in range(_ROUNDS):
            account = await self._account(gateway, caller)
            if account is None:
                verdict = await self._unknown(gateway, tool, caller)
            else:
                judged = await self._judge(gateway, account, tool, caller)
                if judged is None:
                    continue
                verdict = judged
            return traces.noted(tool, verdict, account, self._accounts.monotonic())
        return refusals.billing_unavailable(tool.name, self._shelf.quote(tool), RETRY_SOON)

    async def _judge(
        self, gateway: Gateway, account: Account, tool: Tool, caller: Caller
    ) -> Admission | Refusal | None:
        """The verdict on one snapshot; None when another one took its place meanwhile, which may say otherwise."""
        if account.is_paused:
            return refusals.disputed(tool.name, self._shelf.quote(tool))
        if self._thread.exposure.blocks(account.customer):
            # More usage is waiting than may be lost.
            return refusals.billing_unavailable(tool.name, self._shelf.quote(tool), RETRY_SOON)
        plan, quote = self._plan_of(account), self._shelf.quote(tool)
        gauge = None if self.throttle is None else await self.throttle.gauge(account.customer, plan)
        if gauge is not None and gauge.is_shut:
            return gauge.refusal(tool, quote)
        spent: Spent | None = None
        is_overdue, refilled = False, inf
        for route in self._shelf.offering.routes(tool, plan):
            if route.rate.kind == "free":
                return Admission(tool)
            if _is_insolvent(account, route.plan):
                is_overdue = True  # credits that were paid for serve all the same
                continue
            found = await self._ask(gateway, account, tool, route)
            if isinstance(found, Refusal):
                return found
            if isinstance(found, Offer):
                bounded = await self._caps.bound(gateway, account, tool, found)
                if isinstance(bounded, Refusal):
                    return bounded
                limits = bounded.limits
                if not self._accounts.is_newest(account):
                    if limits is not None:
                        limits.give_back()
                    return None
                if gauge is not None:
                    limits = replace(limits or Limits(), gauge=gauge)
                    if not gauge.take():
                        limits.give_back()
                        return gauge.refusal(tool, quote)
                # An empty pocket that comes before this one is full again at that moment.
                ends = min(bounded.period_ends, refilled)
                found = replace(bounded, tool=tool.name, limits=limits, period_ends=ends)
                account.keep(found)
                return Admission(tool, found, self._thread, found.period_end if self._is_running(found) else 0)
            if found is not None and found.until:
                left = found.until - gateway.connection.clock.now()
                refilled = min(refilled, self._accounts.monotonic() + left)
            if found is not None:
                spent = found.after(spent)
        newer = await self._overdue.look(gateway, account) if is_overdue else None
        if newer is not None or await self._noticed(gateway, account):
            return None
        if is_overdue:
            return self._overdue.refusal(tool, account)
        return await self._refuse(gateway, account, caller, tool, spent)

    async def _noticed(self, gateway: Gateway, account: Account) -> bool:
        """Whether there was a purchase that this process was not told of."""
        offering = self._shelf.offering
        has_packs = offering.credits is not None
        if not has_packs and all(isinstance(plan, Free) for plan in offering.plans):
            return False
        noticed = await self._unnoticed.look(gateway, account, has_packs=has_packs)
        if noticed is not None and noticed.wallet is not None:
            self.prepaid.granted(noticed.wallet)
        return noticed is not None

    def _is_running(self, offer: Offer) -> bool:
        return self._accounts.monotonic() < offer.period_ends

    def _plan_of(self, account: Account) -> str | None:
        """Which plan the account is subscribed to; a subscription that names none was bought as pay-as-you-go."""
        if account.subscription is None:
            return None
        fallback = self._shelf.offering.pay_as_you_go
        return account.subscription.plan or (None if fallback is None else fallback.name)

    async def _ask(
        self, gateway: Gateway, account: Account, tool: Tool, route: Route
    ) -> Offer | Spent | Refusal | None:
        """One pocket: an offer, why it is empty, a refusal that ends the search, or None where there is none."""
        if isinstance(route.plan, Free):
            return await self._allowance.offer(gateway, account, tool, route)
        if isinstance(route.plan, Credits):
            return await self._credits(gateway, account, tool, route)
        subscription = account.subscription
        assert subscription is not None
        if not isinstance(route.plan, PayAsYouGo):
            return await self._plan_calls.offer(gateway, account, tool, route)
        offered = await self._usage(gateway, account, tool)
        if isinstance(offered, Refusal):
            return offered
        current = self._accounts.get(account.customer) or account
        return await self._unpaid.bound(gateway, current, tool, route.plan, offered)

    async def _credits(self, gateway: Gateway, account: Account, tool: Tool, route: Route) -> Offer | Spent | None:
        """From the wallet, filled anew where its owner agreed to that."""
        found = await self.prepaid.offer(gateway, account, tool, route)
        for _ in range(_REFILLS):
            if not isinstance(found, Spent) or account.wallet is None or not isinstance(route.plan, Credits):
                return found
            refill = await self._refills.fill(gateway, account, route.plan, found.needed)
            if not refill.is_worth_a_try:
                return replace(found, what=f"{found.what} {refill.why}".rstrip())
            self.prepaid.granted(account.wallet)
            found = await self.prepaid.offer(gateway, account, tool, route)
        return found

    async def _usage(self, gateway: Gateway, account: Account, tool: Tool) -> Offer | Refusal:
        listing = self._shelf.get(tool)
        assert listing is not None
        offered = self._metered.offer(gateway, account, tool, listing)
        if offered is None:
            assert account.subscription is not None
            await gateway.accounts.add_item(account.subscription.id, listing.price.id)
            account = await self._accounts.refresh(account.customer)
            if account.subscription is not None:
                offered = self._metered.offer(gateway, account, tool, listing)
        return offered or refusals.billing_unavailable(tool.name, self._shelf.quote(tool), RETRY_SOON)

    async def _account(self, gateway: Gateway, caller: Caller) -> Account | None:
        account = await self._callers.cold(caller, gateway)
        if account is None:
            customer = None if caller.is_known else await self._purchases.adopted(gateway, caller)
            return None if customer is None else self._adopt(caller, await self._accounts.load(customer))
        if await self._brought_up_to_date(gateway, account) is account:
            return account
        # What was read meanwhile may have lost the key.
        return await self._callers.cold(caller, gateway)

    async def _brought_up_to_date(self, gateway: Gateway, account: Account) -> Account:
        """The account with what became of it at the end of a period, at Checkout, or in a second tab."""
        if _is_behind(account, gateway):
            account = await self._accounts.renew(account, gateway.connection.clock.now())
        unpaid = account.subscription is None or not account.subscription.is_solvent
        if self._purchases.is_due(account.customer, only_packs=not unpaid):
            wallet = await self._purchases.granted(gateway, account.customer)
            if wallet is not None:
                self.prepaid.granted(wallet)
            if unpaid or wallet is not None:
                account = await self._accounts.refresh(account.customer)
        if account.subscription is not None:
            self._purchases.subscribed(account.customer)
        return await self.once(gateway, account) if account.second else account

    async def once(self, gateway: Gateway, account: Account) -> Account:
        """The account with one subscription: one that was just bought in a second tab is ended and given back."""
        for second in account.second:
            try:
                refunded = await gateway.plan_changes.take_back(second)
            except StripeMeterError as error:
                # They are served by the first one; the next cold call tries again.
                log.error("%s bought twice; %s is not taken back yet: %s", account.customer, second, error)
                return account
            log.warning(
                "%s bought %s while %s was live: cancelled, and %d minor units refunded",
                account.customer,
                second,
                None if account.subscription is None else account.subscription.id,
                refunded,
            )
        return self._accounts.put(replace(account, second=())) if account.second else account

    def _adopt(self, caller: Caller, account: Account) -> Account:
        log.warning(
            "this server now bills %s, who has just paid, until it ends; "
            "for good: stripe-meter keys create %s, and set the key as STRIPE_METER_API_KEY",
            account.customer,
            account.customer,
        )
        return self._callers.remember(caller, account)

    async def _refuse(
        self, gateway: Gateway, account: Account, caller: Caller, tool: Tool, spent: Spent | None
    ) -> Refusal:
        quote = self._shelf.quote(tool)
        plan, url = self._shelf.offering.credits, None
        if spent is not None and spent.ledger == "credits" and plan is not None:
            # Who is topped up by themselves pays for the same pack when that fails.
            order: Order | None = self._shelf.order_of(plan, plan.refill if account.top_up is not None else None)
        else:
            order = self._shelf.order(tool, has_subscription=account.subscription is not None)
        if order is None and (change := await self._change(gateway, account, caller, tool, spent)) is not None:
            return change
        if order is not None:
            pages = await self._pages(caller)
            url = self._choice(account, caller, tool, pages) or await self._purchases.link(
                # Whoever reads the refusal may pay, and agrees to nothing for this customer.
                gateway,
                account.customer,
                replace(order, consent=None),
                pages,
            )
        if spent is not None and spent.ledger == "credits":
            return refusals.credits_exhausted(tool.name, quote, spent.what, url)
        if spent is not None:
            return refusals.allowance_used(tool.name, quote, spent.what, url)
        if tool.feature is not None:
            plans = " or ".join(p.name for p in self._shelf.offering.sold_by(tool))
            return refusals.feature_locked(tool.name, quote, tool.feature, plans, url)
        if url is None:
            return refusals.subscription_unusable(tool.name, quote, "does not cover it")
        return refusals.payment_required(tool.name, quote, url)

    def _choice(self, account: Account | None, caller: Caller, tool: Tool, pages: str) -> str | None:
        return None if self.front is None else self.front.choice(account, caller, tool, pages)

    def _signup(self, pages: str) -> str | None:
        return None if self.front is None else self.front.signup(pages)

    async def _change(
        self, gateway: Gateway, account: Account, caller: Caller, tool: Tool, spent: Spent | None
    ) -> Refusal | None:
        """A subscriber is never sent to a second Checkout, but to a page that changes what they have."""
        subscription, quote = account.subscription, self._shelf.quote(tool)
        if subscription is None:
            return None
        why = f"{tool.name} costs {quote}, which your plan does not cover." if spent is None else spent.what
        if spent is None and tool.feature is not None:
            plans = " or ".join(plan.name for plan in self._shelf.offering.sold_by(tool))
            why = f"{tool.name} needs {tool.feature!r}, which {plans} unlocks."
        plan = self._plan_of(account)
        is_gone = plan is not None and not self._shelf.offering.has(plan)
        if is_gone:
            why = f"Your plan {plan!r} {Retired(str(plan)).outcome}. {why}"
        helping = self.changes.helping(account, tool, spent)
        if helping is None:
            return refusals.plan_gone(tool.name, quote, why) if is_gone else None
        url = self.changes.link(gateway, account, helping, await self._pages(caller))
        later = day_and_time(max(item.period_end for item in subscription.items))
        reason: Reason = "allowance_used" if spent is not None else "payment_required"
        if spent is None and tool.feature is not None:
            reason = "feature_locked"
        return refusals.change_needed(tool.name, quote, reason, why, later, url)

    async def _unknown(self, gateway: Gateway, tool: Tool, caller: Caller) -> Admission | Refusal:
        free = self._shelf.offering.free
        rate = None if free is None else self._shelf.offering.rate(tool, free)
        if rate is not None and rate.kind == "free":
            return Admission(tool)
        if free is not None and rate is not None and free.anonymous_calls and not caller.showed_something:
            allowed = self._anonymous.admit(free, tool, rate, caller.client, gateway.connection.clock.now())
            if allowed is not None:
                return allowed
        quote = self._shelf.quote(tool)
        order = self._shelf.order(tool, has_subscription=False)
        pages = await self._pages(caller) if order is not None or self._signup("") is not None else ""
        if order is None:
            url = self._signup(pages)
            if caller.refused is not None:
                return refusals.token_refused(tool.name, quote, caller.refused, url)
            if url is None:
                return refusals.identity_unknown(tool.name, quote)
            return refusals.sign_up(tool.name, quote, url)
        url = self._choice(None, caller, tool, pages) or await self._purchases.link_for_stranger(
            gateway, caller, order, pages
        )
        if caller.refused is not None:
            return refusals.token_refused(tool.name, quote, caller.refused, url)
        if caller.api_key is not None:
            refuse = refusals.key_refused
        else:
            refuse = refusals.identity_required_locally if caller.is_local else refusals.identity_required
        return refuse(tool.name, quote, url)


def _is_behind(account: Account, gateway: Gateway) -> bool:
    """Whether the snapshot shows a period that is over: since then the plan may be another one."""
    subscription, now = account.subscription, gateway.connection.clock.now()
    return subscription is not None and any(0 < item.period_end <= now for item in subscription.items)


def _is_insolvent(account: Account, plan: Plan | Retired) -> bool:
    """Whether it is a plan of their subscription, which pays nothing now. A trial pays for its own calls alone."""
    subscription = account.subscription
    if subscription is None or isinstance(plan, (Free, Credits)) or subscription.is_solvent:
        return False
    return isinstance(plan, PayAsYouGo) or not subscription.is_trial
