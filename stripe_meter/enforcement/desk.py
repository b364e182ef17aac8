"""The desk at which callers ask about themselves: what they have left, and a lower spending limit.

Owns what a caller's own agent may learn and change without anybody paying. Who asks was verified before; nothing here
takes a customer from what an agent says. An answer is kept for ten minutes, or until something of the customer changes,
because agents ask often and Stripe rations reads.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeVar

from stripe_meter.domain.money import Money
from stripe_meter.domain.periods import day_before, reset_before
from stripe_meter.domain.terms import parse_amounts
from stripe_meter.enforcement.caps import lower
from stripe_meter.enforcement.standing import Explanation, Pocket, Standings
from stripe_meter.errors import ConfigurationError, NotForSale

if TYPE_CHECKING:
    from stripe_meter.domain.account import Account
    from stripe_meter.domain.plans import Credits
    from stripe_meter.domain.tools import Tool
    from stripe_meter.enforcement.accounts import AccountCache
    from stripe_meter.enforcement.flusher.thread import StripeThread
    from stripe_meter.enforcement.shelf import Shelf
    from stripe_meter.gateway.gateway import Gateway
    from stripe_meter.settings import Settings

T = TypeVar("T")

_KEPT: Final = 600.0
_MOST: Final = 10_000


@dataclass(frozen=True, slots=True)
class Cap:
    """A spending limit, and how much of it is gone; amounts in words."""

    limit: str
    spent: str


@dataclass(frozen=True, slots=True)
class Status:
    """What a caller has.

    Attributes:
        customer: `cus_…`.
        plan: What they are subscribed to, or None.
        status: Of that subscription, in Stripe's word.
        has_card: Whether a payment method is on file for it.
        pockets: What can pay their calls.
        cap: Their spending limit, or None.
    """

    customer: str
    plan: str | None
    status: str | None
    has_card: bool
    pockets: tuple[Pocket, ...]
    cap: Cap | None = None


class Desk:
    """Answers callers; every method may be called from any thread's loop.

    Args:
        scale: Ledger units of one credit.
        settings: Read when something is asked, for a server can be imported without any.
    """

    def __init__(
        self,
        thread: StripeThread,
        shelf: Shelf,
        accounts: AccountCache,
        scale: Callable[[Credits], int],
        settings: Callable[[], Settings],
    ) -> None:
        self._thread, self._shelf, self._accounts, self._settings = thread, shelf, accounts, settings
        self._standings = Standings(shelf, lambda: accounts.monotonic(), scale, settings)
        self._answers: dict[str, tuple[Account, float, Status]] = {}

    def now(self) -> float:
        """On the clock by which answers grow old."""
        return self._accounts.monotonic()

    async def status(self, customer: str) -> Status:
        """What `customer` has left. Raises `StripeMeterError`."""

        async def work(gateway: Gateway) -> Status:
            account, now = await self._accounts.load(customer), self._accounts.monotonic()
            known = self._answers.get(customer)
            if known is not None and known[0] is account and now < known[1]:
                return known[2]
            status = await self._look(gateway, account)
            while len(self._answers) >= _MOST:
                self._answers.pop(next(iter(self._answers)))
            self._answers[customer] = account, now + _KEPT, status
            return status

        return await self._call(work)

    async def limit(self, customer: str, amount: str) -> str:
        """Lower the spending limit of `customer`; returns the one that holds now.

        Raises:
            NotForSale: It is no amount, not lower than the limit that holds, or the seller keeps none.
            StripeMeterError: Stripe could not be asked.
        """
        terms = self._shelf.offering.cap
        if terms is None:
            raise NotForSale("This seller keeps no spending limits.")
        try:
            (wanted,) = parse_amounts(amount, "amount")
        except ConfigurationError as error:
            raise NotForSale(str(error)) from None
        author = terms.amount(wanted.currency)

        async def work(gateway: Gateway) -> str:
            from stripe_meter.gateway import spend_caps

            # Another process may have lowered it since.
            account = await self._accounts.refresh(customer)
            currency = _currency(account) or (terms.amounts[0].currency if len(terms.amounts) == 1 else None)
            if author is None or currency not in (None, wanted.currency):
                known = (currency or terms.amounts[0].currency).upper()
                raise NotForSale(f"Your limit is kept in {known}; name an amount in {known}.")
            if currency is None:
                raise NotForSale("You can set a limit once you are subscribed; until then nothing is billed.")
            holds = lower(account, author)
            if wanted.minor > holds.minor:
                raise NotForSale(f"Your limit is {holds} a {terms.interval}; only the seller can raise it. Ask them.")
            if wanted.minor < holds.minor:
                await spend_caps.write(gateway.connection, customer, int(wanted.minor))
                await self._accounts.refresh(customer)
            return f"{wanted} a {terms.interval}"

        return await self._call(work)

    async def explain(self, gateway: Gateway, customer: str, tool: Tool) -> Explanation:
        """Which pocket would pay the next call; in the Stripe thread, and only with what is set up already."""
        await self._shelf.stock(gateway, create=False)
        return await self._standings.explain(gateway, customer, tool)

    async def _look(self, gateway: Gateway, account: Account) -> Status:
        subscription = account.subscription
        status = Status(
            account.customer,
            None if subscription is None else self._standings.plan_of(account),
            None if subscription is None else subscription.status,
            subscription is not None and subscription.has_payment_method,
            tuple(replace(pocket, remedy="") for pocket in await self._standings.left(gateway, account)),
        )
        return replace(status, cap=await self._cap(gateway, account))

    async def _cap(self, gateway: Gateway, account: Account) -> Cap | None:
        terms, currency = self._shelf.offering.cap, _currency(account)
        author = None if terms is None or currency is None else terms.amount(currency)
        if terms is None or author is None:
            return None
        now = gateway.connection.clock.now()
        since = day_before(now) if terms.interval == "day" else reset_before(now, 1)
        spent = await gateway.usage.total(self._shelf.meter(self._shelf.names.spend), account.customer, since)
        shown = Money(type(author.minor)(spent) / 1_000_000, author.currency)
        return Cap(f"{lower(account, author)} a {terms.interval}", str(shown))

    async def _call(self, work: Callable[[Gateway], Awaitable[T]]) -> T:
        async def stocked(gateway: Gateway) -> T:
            await self._shelf.stock(gateway, create=self._settings().mode != "live")
            return await work(gateway)

        return await self._thread.call(stocked, 6 * self._settings().timeout)


def _currency(account: Account) -> str | None:
    subscription = account.subscription
    return subscription.items[0].price.currency if subscription is not None and subscription.items else None
