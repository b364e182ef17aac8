"""The shop window: what somebody may choose from, under which link, and who signs up without paying.

Owns the signed links to our pages, what a chooser page offers to whom, and the name over the door. Sells nothing
itself: a Checkout session is made when something was chosen, by `Sales`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from stripe_meter.domain.identity import ApiKey, Caller
from stripe_meter.domain.money import Money
from stripe_meter.domain.plans import CreditPack, Credits, Free, PayAsYouGo, Plan
from stripe_meter.enforcement import audit, claims
from stripe_meter.enforcement.tickets import LOCAL, Page, Ticket, Tickets
from stripe_meter.errors import ConfigurationError, NotForSale, StripeMeterError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from stripe_meter.domain.account import Account
    from stripe_meter.domain.tools import Tool
    from stripe_meter.enforcement.accounts import AccountCache
    from stripe_meter.enforcement.changes import Changes
    from stripe_meter.enforcement.flusher.thread import StripeThread
    from stripe_meter.enforcement.purchases import Purchases
    from stripe_meter.enforcement.shelf import Shelf
    from stripe_meter.gateway.checkout import Order
    from stripe_meter.gateway.gateway import Gateway
    from stripe_meter.settings import KeyMode, Settings

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Shop:
    """What every page says of the seller.

    Attributes:
        merchant: Their name at Stripe, or None.
        mode: Whose money moves: nobody's, unless it is `live`.
    """

    merchant: str | None
    mode: KeyMode


@dataclass(frozen=True, slots=True)
class Ware:
    """One thing that can be chosen.

    Attributes:
        plan: Name of the plan.
        title: For people.
        terms: What it costs and gives, line by line; the amount first.
        pack: Which credits, by the pack's key, or None.
    """

    plan: str
    title: str
    terms: tuple[str, ...]
    pack: str | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """What one visitor sees.

    Attributes:
        wares: What they can buy.
        free: What they get without paying, or None; only who is not known yet signs up.
    """

    wares: tuple[Ware, ...]
    free: str | None = None


class Shopfront:
    """Makes the links to our pages and knows what is behind them.

    Args:
        settings: Read when something is done, for a server can be imported without any.
    """

    def __init__(
        self,
        thread: StripeThread,
        shelf: Shelf,
        accounts: AccountCache,
        changes: Changes,
        purchases: Purchases,
        settings: Callable[[], Settings],
    ) -> None:
        self._thread, self._shelf, self._accounts = thread, shelf, accounts
        self._changes, self._purchases, self._settings = changes, purchases, settings
        #: Whether a server serves our pages beside its tools.
        self.is_mounted = False
        #: What the server calls itself; shown where Stripe tells no name of the seller.
        self.name: str | None = None
        self._shop: Shop | None = None

    def open(self, name: str | None = None) -> None:
        """From now on our pages are served; `name` is what the server calls itself."""
        self.is_mounted, self.name = True, name or self.name

    @cached_property
    def _tickets(self) -> Tickets:
        return Tickets(self._settings().key())

    def token(self, page: Page, who: str = "", about: str = "") -> str:
        """What lets a browser act on one page for an hour."""
        return self._tickets.seal(Ticket(page, who, about), self._thread.clock.now())

    def read(self, token: str, page: Page) -> Ticket | None:
        """Who shows this token, or None when it is not ours, for another page, or too old."""
        return self._tickets.read(token, page, self._thread.clock.now())

    def choice(self, account: Account | None, caller: Caller, tool: Tool, pages: str) -> str | None:
        """Link to the page on which this caller chooses how to pay for `tool`; None where there is no choice."""
        if not self.is_mounted:
            return None
        window = self._window(tool, account)
        if len(window.wares) + (window.free is not None) < 2:
            return None
        who = account.customer if account is not None else LOCAL if caller.is_local else ""
        return f"{pages}/plans?token={self.token('plans', who, tool.name)}"

    def signup(self, pages: str) -> str | None:
        """Link to where a stranger gets a key without paying; None where there is none."""
        return f"{pages}/signup" if self.is_mounted and self._free() is not None else None

    async def window(self, customer: str | None, tool: str = "") -> Window:
        """What a customer, or a stranger, may choose from to call the tool of that name, or anything at all.

        Raises:
            StripeMeterError: Stripe could not be asked now.
        """

        async def work(gateway: Gateway) -> Window:
            await self._shelf.stock(gateway, create=self._settings().mode != "live")
            account = None if customer is None else await self._accounts.load(customer)
            return self._window(next((sold for sold in self._shelf.tools if sold.name == tool), None), account)

        return await self._call(work)

    async def shop(self) -> Shop:
        """The name over the door, asked for once. Raises nothing: what it stands over may be shown only once."""
        if self._shop is None:
            from stripe_meter.gateway.merchant import merchant

            try:
                name = await self._call(lambda gateway: merchant(gateway.connection))
            except StripeMeterError:
                return Shop(self.name, self._settings().mode)
            self._shop = Shop(name or self.name, self._settings().mode)
        return self._shop

    async def buy_locally(self, plan: str | None, pack: str | None, pages: str) -> str:
        """The Checkout link of the one caller of this process, who is recognised by paying."""

        async def work(gateway: Gateway) -> str:
            await self._shelf.stock(gateway, create=self._settings().mode != "live")
            order = self._order(plan, pack)
            return await self._purchases.link_for_stranger(gateway, Caller.local(None), order, pages)

        return await self._call(work)

    async def sign_up(self, occasion: str) -> ApiKey | None:
        """A customer of the free plan and their API key; None when this occasion has shown its key before."""
        from stripe_meter.gateway.signups import sign_up

        async def work(gateway: Gateway) -> ApiKey | None:
            began = time.monotonic()
            issued = await sign_up(gateway.connection, gateway.issuing, gateway.namespace, occasion)
            if issued is None:
                return None
            audit.record("key", action="made", customer=issued.key.customer, key=issued.key.id)
            await claims.mark(self._thread, gateway, issued, began, self._settings().timeout)
            return issued.key

        return await self._call(work)

    def _order(self, plan: str | None, pack: str | None) -> Order:
        offering = self._shelf.offering
        try:
            if pack is not None and offering.credits is not None:
                return self._shelf.order_of(offering.credits, offering.credits.pack(pack))
            chosen = offering.named(plan or "")
        except ConfigurationError as error:
            raise NotForSale(str(error)) from None
        if isinstance(chosen, Free):
            raise NotForSale(f"plan {chosen.name!r} is free, so there is nothing to pay for")
        return self._shelf.order_of(chosen)

    def free(self) -> str | None:
        """What the free plan gives to who signs up, in words; None where nobody has to."""
        plan = self._free()
        return None if plan is None else f"{plan.calls} free call{'' if plan.calls == 1 else 's'} a month"

    def _free(self) -> Free | None:
        plan = self._shelf.offering.free
        return plan if plan is not None and plan.calls else None

    def _window(self, tool: Tool | None, account: Account | None) -> Window:
        offering, has_plan = self._shelf.offering, account is not None and account.subscription is not None
        plans = list(offering.plans) if tool is None else offering.sold_by(tool)
        wares = tuple(ware for plan in plans if not has_plan or isinstance(plan, Credits) for ware in self._wares(plan))
        helps = self._free() if tool is None or self._serves(tool) else None
        return Window(wares, self.free() if account is None and helps is not None else None)

    def _serves(self, tool: Tool) -> bool:
        plan = self._free()
        return plan is not None and self._shelf.offering.rate(tool, plan) is not None

    def _wares(self, plan: Plan) -> list[Ware]:
        if isinstance(plan, Free) or (isinstance(plan, PayAsYouGo) and not self._shelf.listings()):
            return []
        if isinstance(plan, Credits):
            return [self._pack(plan, pack) for pack in plan.packs]
        terms = self._changes.terms(plan, self._shelf.order_of(plan).currency)
        if isinstance(plan, PayAsYouGo):
            return [Ware(plan.name, plan.name, ("Nothing now; each month what you used", *terms))]
        if plan.trial_days is not None:
            terms = (*terms, f"the first {plan.trial_days} days free, with {plan.trial_calls} calls")
        return [Ware(plan.name, plan.name, terms)]

    def _pack(self, plan: Credits, pack: CreditPack) -> Ware:
        price = self._shelf.price(self._shelf.names.pack(pack.key)).unit_amounts[plan.currency]
        count = f"{pack.credits} credit{'' if pack.credits == 1 else 's'}"
        return Ware(plan.name, pack.name, (f"{Money(price, plan.currency)} once", count), pack.key)

    async def _call(self, work: Callable[[Gateway], Awaitable[T]]) -> T:
        return await self._thread.call(work, self._settings().timeout)
