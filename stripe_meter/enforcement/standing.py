"""How a customer stands: what they have left, and which pocket would pay a call of a tool, or why none does.

Owns the answers to `billing_status` and to `stripe-meter explain`. Asks the same pockets as a decision does, in the
same order, and changes nothing: no credits are set aside, no item is added, no Checkout is made. What only a running
server knows, such as calls of the last minute, is not seen from here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from stripe_meter.domain.offering import ONE_CALL, Retired, Route
from stripe_meter.domain.plans import Credits, Free, PayAsYouGo
from stripe_meter.domain.rates import Rate
from stripe_meter.domain.refusals import Refusal
from stripe_meter.domain.tools import Tool
from stripe_meter.enforcement.caps import Caps
from stripe_meter.enforcement.counters import Counter, Counters
from stripe_meter.enforcement.credits.prepaid import credits as in_credits
from stripe_meter.enforcement.credits.recovery import survey
from stripe_meter.enforcement.credits.refills import agreement, hindrance
from stripe_meter.enforcement.credits.steps import Policy
from stripe_meter.enforcement.ledgers import Allowance, Metered, PlanCalls, Spent
from stripe_meter.enforcement.offers import Offer
from stripe_meter.enforcement.throttle import limits_of

if TYPE_CHECKING:
    from stripe_meter.domain.account import Account
    from stripe_meter.domain.plans import Plan
    from stripe_meter.enforcement.shelf import Shelf
    from stripe_meter.gateway.gateway import Gateway
    from stripe_meter.settings import Settings


_ONE_CREDIT: Final = Rate("credits", Decimal(1))


@dataclass(frozen=True, slots=True)
class Pocket:
    """One way to pay, in the order in which they are asked.

    Attributes:
        name: For people, such as `plan pro`.
        pays: Whether it would pay the next call.
        why: One sentence.
        remedy: What would fill it, for the seller; empty where it pays.
        is_overdue: Where no pocket pays, a decision refuses for this one's sake.
    """

    name: str
    pays: bool
    why: str
    remedy: str = ""
    is_overdue: bool = False


@dataclass(frozen=True, slots=True)
class Explanation:
    """What would become of the next call of one tool.

    Attributes:
        price: Of the tool, for people.
        pockets: As far as they are asked.
        stop: What refuses the call although a pocket would pay, as one sentence, or None.
        remedy: What to do, for the seller; empty when the call is served.
        limits: Rate limits over it, such as `60 calls a minute`; only a running server knows how far they are used.
    """

    customer: str
    tool: str
    price: str
    pockets: tuple[Pocket, ...] = ()
    stop: str | None = None
    remedy: str = ""
    limits: tuple[str, ...] = ()

    @property
    def paying(self) -> Pocket | None:
        """The pocket that pays, or None when the call is refused."""
        return None if self.stop is not None else next((pocket for pocket in self.pockets if pocket.pays), None)


class Standings:
    """Reads how customers stand; in the Stripe thread, with the catalogue known.

    Args:
        scale: Ledger units of one credit.
        settings: Read when something is explained.
    """

    def __init__(
        self,
        shelf: Shelf,
        monotonic: Callable[[], float],
        scale: Callable[[Credits], int],
        settings: Callable[[], Settings],
    ) -> None:
        self._shelf, self._monotonic, self._scale, self._settings = shelf, monotonic, scale, settings

    async def explain(self, gateway: Gateway, customer: str, tool: Tool) -> Explanation:
        """Which pocket would pay the next call of `tool`. Reads Stripe, never a snapshot of ours."""
        account, price = await gateway.accounts.read(customer), self._shelf.quote(tool)
        if account.deleted:
            why = f"There is no customer {customer} in this account, or it was deleted."
            return Explanation(customer, tool.name, price, (), why, "Look it up in the Dashboard, in the same mode.")
        if account.is_paused:
            why = "A payment of theirs is disputed."
            return Explanation(customer, tool.name, price, (), why, "Answer the dispute in the Dashboard.")
        pockets: list[Pocket] = []
        stop, remedy = None, ""
        for plan, route in self._asked(account, tool):
            if route is None:
                pockets.append(self._passed_over(plan, tool))
                continue
            pocket, offer = await self._ask(gateway, account, tool, route)
            pockets.append(pocket)
            if pocket.pays:
                stop = await self._stop(gateway, account, tool, offer)
                remedy = "" if stop is None else self._remedy_of_cap(account)
                break
        if not any(pocket.pays for pocket in pockets):
            asked = [*(pocket for pocket in pockets if pocket.is_overdue), *reversed(pockets)]
            remedy = next((p.remedy for p in asked if p.remedy), "") or self._remedy(account, tool)
        limits = limits_of(self.plan_of(account), self._shelf, self._settings())
        said = tuple(str(limit) for limit in limits)
        return Explanation(customer, tool.name, price, tuple(pockets), stop, remedy, said)

    def _asked(self, account: Account, tool: Tool) -> list[tuple[Plan | Retired, Route | None]]:
        """Every plan in the order in which a decision asks them, those that it passes over without a route."""
        offering, subscribed = self._shelf.offering, self.plan_of(account)
        routes = {route.plan.name: route for route in offering.routes(tool, subscribed)}
        plans: list[Plan | Retired | None] = [offering.free]
        if subscribed is not None and not offering.has(subscribed):
            plans.append(Retired(subscribed))
        plans += [*offering.subscriptions.values(), offering.credits, offering.pay_as_you_go]
        return [(plan, routes.get(plan.name)) for plan in plans if plan is not None]

    def _passed_over(self, plan: Plan | Retired, tool: Tool) -> Pocket:
        """Why a decision does not even look into this pocket."""
        offering = self._shelf.offering
        name = {Free: "free calls", Credits: "credits"}.get(type(plan), f"plan {plan.name}")
        if offering.rate(tool, plan) is not None:
            return Pocket(name, pays=False, why="They are not subscribed to it.")
        if tool.feature is not None:
            unlocking = " or ".join(sold.name for sold in offering.sold_by(tool))
            return Pocket(name, pays=False, why=f"{tool.name} needs {tool.feature!r}, which {unlocking} unlocks.")
        if isinstance(plan, Free):
            return Pocket(name, pays=False, why=f"It gives its free tools alone, and {tool.name} is none of them.")
        return Pocket(name, pays=False, why=f"{tool.name} has no price that it could charge.")

    async def left(self, gateway: Gateway, account: Account) -> tuple[Pocket, ...]:
        """What an account has, whatever it calls: each pocket as one call that takes one of everything finds it."""
        some = Tool("any", (ONE_CALL, _ONE_CREDIT))
        offering, found = self._shelf.offering, []
        subscribed = None if account.subscription is None else self.plan_of(account)
        plans: list[Plan | Retired | None] = [offering.free if offering.free and offering.free.calls else None]
        if subscribed is not None:
            pay = offering.pay_as_you_go
            is_metered = pay is not None and pay.name == subscribed
            plans.append(pay if is_metered else offering.subscriptions.get(subscribed) or Retired(subscribed))
        plans.append(offering.credits if account.wallet is not None else None)
        for plan in plans:
            if plan is not None:
                rate = _ONE_CREDIT if isinstance(plan, Credits) else ONE_CALL
                found.append((await self._ask(gateway, account, some, Route(plan, rate)))[0])
        return tuple(found)

    async def _ask(self, gateway: Gateway, account: Account, tool: Tool, route: Route) -> tuple[Pocket, Offer | None]:
        plan, fresh = route.plan, Counters()
        if route.rate.kind == "free":
            return Pocket("free tool", pays=True, why="It costs nothing."), None
        if isinstance(plan, Free):
            found = await Allowance(self._shelf, fresh, self._monotonic).offer(gateway, account, tool, route)
            return self._counted("free calls", found, plan.calls), _offer(found)
        if isinstance(plan, Credits):
            return await self._credits(gateway, account, tool, route, plan), None
        subscription = account.subscription
        assert subscription is not None
        name = f"plan {plan.name}"
        is_trial = subscription.is_trial and not isinstance(plan, PayAsYouGo)
        if not subscription.is_solvent and not is_trial:
            return await self._insolvent(gateway, account, name), None
        if isinstance(plan, PayAsYouGo):
            return self._metered(gateway, account, tool, name)
        calls = await PlanCalls(self._shelf, fresh, self._monotonic).offer(gateway, account, tool, route)
        if calls is None:
            why = f"{subscription.id} has no item that counts calls."
            return Pocket(name, pays=False, why=why, remedy="See `stripe-meter doctor`."), None
        if isinstance(plan, Retired) and isinstance(calls, Offer):
            return Pocket(name, pays=True, why=f"It {plan.outcome}."), calls
        return self._counted(name, calls, None), _offer(calls)

    def _counted(self, name: str, found: Offer | Spent, limit: int | None) -> Pocket:
        if isinstance(found, Spent):
            later = "Wait until then, or sell them more."
            return Pocket(name, pays=False, why=found.what, remedy=later)
        limits = found.limits
        counter = None if limits is None else limits.purse
        if limits is None or not isinstance(counter, Counter):
            return Pocket(name, pays=True, why="Nothing bounds it.")
        # What was set aside for the call in question is not used.
        used, most = counter.used - limits.most, limit if limit is not None else counter.limit or counter.included
        return Pocket(name, pays=True, why=f"{used} of {most} calls of this period are used.")

    async def _credits(self, gateway: Gateway, account: Account, tool: Tool, route: Route, plan: Credits) -> Pocket:
        grant = f"They buy a pack, or you give some: `stripe-meter credits grant {account.customer} 100`."
        if account.wallet is None:
            return Pocket("credits", pays=False, why="No credits were ever bought.", remedy=grant)
        balance, _ = await gateway.wallets.look(account.wallet)
        scale = self._scale(plan)
        most, left = route.rate.quantity(tool.max_units or 1, scale), max(0, -balance)
        needs = f"A call needs {in_credits(most, scale)} and"
        why = f"{needs} {in_credits(left, scale, 'left')}"
        if left >= most:
            return Pocket("credits", pays=True, why=f"{why}.")
        # Calls that run may have taken more than there was for a moment, which is no debt.
        if balance > 0 and (owed := await self._owed(gateway, account.wallet, plan)):
            why = f"{needs} {in_credits(owed, scale, 'owed')} of a payment that went back"
        else:
            why = f"{why}, beside what is set aside for running calls"
        if account.top_up is not None:
            return await self._topped_up(gateway, account, plan, most + balance, f"{why}.", grant)
        return Pocket("credits", pays=False, why=f"{why}.", remedy=grant)

    async def _topped_up(
        self, gateway: Gateway, account: Account, plan: Credits, missing: int, why: str, remedy: str
    ) -> Pocket:
        """An empty wallet whose owner agreed to automatic top-ups."""
        state = await agreement(gateway, account.customer)
        against = await hindrance(gateway, self._shelf, account.customer, state, plan, missing)
        if against is None and plan.refill is not None:
            return Pocket("credits", pays=True, why=f"{why} The next call buys {plan.refill.name} for them.")
        return Pocket("credits", pays=False, why=f"{why} {against or ''}".rstrip(), remedy=remedy)

    async def _owed(self, gateway: Gateway, wallet: str, plan: Credits) -> int:
        return (await survey(gateway.wallets, wallet, plan.currency, Policy(), mend=False)).owed

    async def _insolvent(self, gateway: Gateway, account: Account, name: str) -> Pocket:
        subscription = account.subscription
        assert subscription is not None
        if subscription.status == "active":
            why, remedy = f"{subscription.id} has no payment method.", "They add a card, for example in the portal."
        else:
            why, remedy = f"{subscription.id} is {subscription.status}.", "See it in the Dashboard."
            if subscription.latest_invoice is not None:
                url = await gateway.accounts.invoice_url(subscription.latest_invoice)
                remedy = remedy if url is None else f"They pay their open invoice: {url}"
        return Pocket(name, pays=False, why=why, remedy=remedy, is_overdue=True)

    def _metered(self, gateway: Gateway, account: Account, tool: Tool, name: str) -> tuple[Pocket, Offer | None]:
        listing = self._shelf.get(tool)
        if listing is None:
            return Pocket(name, pays=True, why="The subscription is active and has a card."), None
        offer = Metered(self._monotonic).offer(gateway, account, tool, listing)
        if isinstance(offer, Refusal):
            why = "The subscription has an older price, paid for what the tool does not count now."
            return Pocket(name, pays=False, why=why, remedy="Move them: `stripe-meter apply --subscriptions`."), None
        if offer is None:
            why = "The subscription has no item for this tool yet; the next call adds it."
            return Pocket(name, pays=True, why=why), None
        return Pocket(name, pays=True, why="The subscription is active and has a card."), offer

    async def _stop(self, gateway: Gateway, account: Account, tool: Tool, offer: Offer | None) -> str | None:
        """The spend cap, where it is reached."""
        if offer is None or offer.terms.currency is None:
            return None
        bounded = await Caps(self._shelf, Counters(), self._monotonic).bound(gateway, account, tool, offer)
        return None if isinstance(bounded, Offer) else bounded.text

    def _remedy_of_cap(self, account: Account) -> str:
        if account.cap is None:
            return "Wait until then, or raise spend_cap= in your code."
        return (
            "Wait until then. They may have set a lower limit themselves: only you can raise it, in the Dashboard, as "
            f"stripe_meter_spend_cap in the metadata of {account.customer}."
        )

    def _remedy(self, account: Account, tool: Tool) -> str:
        sold = " or ".join(plan.name for plan in self._shelf.offering.sold_by(tool))
        if account.subscription is not None:
            return f"Their plan does not cover it; {sold} would." if sold else "No plan on sale covers it."
        return (
            f"They have bought nothing that covers it; a refused call links to {sold}." if sold else "Nothing sells it."
        )

    def plan_of(self, account: Account) -> str | None:
        if account.subscription is None:
            return None
        fallback = self._shelf.offering.pay_as_you_go
        return account.subscription.plan or (None if fallback is None else fallback.name)


def _offer(found: Offer | Spent) -> Offer | None:
    return found if isinstance(found, Offer) else None
