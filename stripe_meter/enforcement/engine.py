"""The engine: one seller's tools, callers and usage, from the question "may this call run" to the meter event.

Owns the order of decisions and puts gate, cache, callers, purchases and flusher together. `admit_warm` is the only
thing a warm call touches: no I/O, no await. Everything cold runs in the Stripe thread under one deadline, and every
doubt there becomes a refusal, never an exception in the caller's face.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from stripe_meter.domain import refusals
from stripe_meter.domain.account import Account
from stripe_meter.domain.identity import Caller
from stripe_meter.domain.offering import Offering, on_offer
from stripe_meter.domain.plans import Plan
from stripe_meter.domain.pricelist import PriceList
from stripe_meter.domain.rates import Rate
from stripe_meter.domain.refusals import Refusal
from stripe_meter.domain.tools import Tool
from stripe_meter.enforcement import forks, traces
from stripe_meter.enforcement.accounts import AHEAD, AccountCache
from stripe_meter.enforcement.callers import Callers
from stripe_meter.enforcement.decision import RETRY_SOON, Decision
from stripe_meter.enforcement.desk import Desk
from stripe_meter.enforcement.flusher import endings
from stripe_meter.enforcement.flusher.exposure import Exposure
from stripe_meter.enforcement.flusher.tallies import FlusherStats
from stripe_meter.enforcement.flusher.thread import STDIO_DEADLINE, StripeThread
from stripe_meter.enforcement.gate import Admission
from stripe_meter.enforcement.handover import Handover
from stripe_meter.enforcement.identity.resolving import Identify, Identity
from stripe_meter.enforcement.offers import Offer
from stripe_meter.enforcement.purchases import Purchases
from stripe_meter.enforcement.sales import Sales
from stripe_meter.enforcement.shelf import Shelf
from stripe_meter.enforcement.throttle import Throttle
from stripe_meter.errors import ConfigurationError, StripeMeterError, StripeUnavailable, TooMany
from stripe_meter.gateway.clock import steady

if TYPE_CHECKING:
    from stripe_meter.domain.blueprint import Blueprint
    from stripe_meter.gateway.checkout import Order
    from stripe_meter.gateway.gateway import Gateway
    from stripe_meter.settings import Settings

log = logging.getLogger("stripe_meter")

LOCAL_KEY: Final = "STRIPE_METER_API_KEY"
#: Seconds a caller is told to wait when the seller has to mend something.
_RETRY_LATER: Final = 60.0

LocalPages = Callable[["Engine"], Awaitable[str]]


class Engine:
    """Decides and records for one seller."""

    def __init__(
        self,
        plans: Sequence[Plan] | None = None,
        settings: Settings | None = None,
        *,
        spend_cap: str | tuple[str, ...] | None = None,
        prices: PriceList = PriceList(),  # noqa: B008  # frozen
        identify: Identify | None = None,
    ) -> None:
        self._given = settings
        self._prices = prices
        if plans is not None:
            # What contradicts itself in the code is said at once; what a file adds is read when it is needed.
            plans = Offering(plans, spend_cap).plans
        #: Path under which our pages are mounted.
        self.routes = "/billing"
        #: Serves our pages on loopback for a process that speaks stdio; the composition root sets it.
        self.local_pages: LocalPages | None = None
        self._free_for_all = False
        # No `cached_property` here: it moves an object's attributes to where CPython 3.11 finds them slowly.
        self._all_prices: PriceList | None = None
        #: The `local_caller`, once asked for.
        self.local: Caller | None = None
        self._own: tuple[Caller, Caller] | None = None
        self._is_local = False
        self.thread = StripeThread(self._open)
        self._accounts = AccountCache(self._read)
        #: Who sends a request; every edge reads callers through it.
        self.identity = Identity(lambda: self.settings, identify, lambda: self._accounts.monotonic())
        self._callers = Callers(self._accounts, self.identity)
        self._shelf = Shelf(lambda: on_offer(plans, self.settings.plans, spend_cap, self.settings.spend_cap))
        self._purchases = Purchases(lambda: self._accounts.monotonic())
        self._decision = Decision(
            self._shelf, self._accounts, self._callers, self._purchases, self.thread, lambda caller: self._pages(caller)
        )
        self._decision.throttle = Throttle(self._shelf, self.thread, lambda: self.settings)
        #: What callers and the seller do besides calling tools.
        self.sales = Sales(
            self.thread,
            self._shelf,
            self._accounts,
            self._purchases,
            self._decision,
            self._callers,
            lambda caller: self._pages(caller),
            lambda: self.settings,
        )
        #: What callers may ask and lower themselves.
        self.desk = Desk(self.thread, self._shelf, self._accounts, self._decision.prepaid.scale, lambda: self.settings)
        self._gateway: Gateway | None = None
        self._refreshing: set[str] = set()
        endings.watch(self.thread)
        forks.watch(self)

    def after_fork(self) -> None:
        """Nobody is being read again in a child."""
        self._refreshing.clear()

    @property
    def settings(self) -> Settings:
        """Built on first use. Raises `ConfigurationError` when a value cannot be used."""
        if self._given is None:
            from stripe_meter.settings import Settings

            self._given = Settings()
        return self._given

    @property
    def offering(self) -> Offering:
        """The plans of the code and of the configuration file. Raises `ConfigurationError`."""
        return self._shelf.offering

    def order(self, plan: Plan) -> Order:
        """What a Checkout of `plan` sells, once the catalogue was looked up."""
        return self._shelf.order_of(plan)

    @property
    def prices(self) -> PriceList:
        """Prices by name, of the code and of the configuration file. Raises `ConfigurationError`."""
        if self._all_prices is None:
            self._all_prices = self._prices.over(PriceList.of(self.settings.prices, self.settings.default_price))
        return self._all_prices

    def priced(self, tool: Tool) -> Tool:
        """`tool`, at the price of the list where it names none itself. Raises `ConfigurationError` if nothing does."""
        if tool.rates:
            return tool
        rates = self.prices.rates(*tool.names)
        if rates is None:
            raise ConfigurationError(
                f'tool {tool.name!r} has no price; write @metered("$0.05") above it, or '
                f'StripeMeter(prices={{"{tool.name}": "$0.05"}}), or default_price = "$0.05" in stripe-meter.toml'
            )
        return tool.priced(rates)

    @property
    def enabled(self) -> bool:
        return self.settings.enabled

    def local_caller(self) -> Caller:
        """Who calls over stdio and in memory: the key in the process's environment, as it is at the first call."""
        if self.local is None:
            self.local = Caller.local(os.environ.get(LOCAL_KEY))
        return self.local

    def own_caller(self) -> Caller:
        """The same for the author's own code, which may call the server object wherever it is served."""
        local = self.local or self.local_caller()
        if self._own is None or self._own[0] is not local:
            self._own = local, replace(local, is_own=True)
        return self._own[1]

    @property
    def stopping(self) -> bool:
        """True while the process drains: calls wait for their own delivery."""
        return self.thread.stopping

    @property
    def tools(self) -> list[Tool]:
        return self._shelf.tools

    def rates(self, tool: Tool) -> tuple[Rate, ...]:
        """What `tool` costs a new caller: Stripe's prices where they are known, else the code's."""
        listing = self._shelf.get(tool)
        return tool.rates if listing is None else listing.rates

    def register(self, tool: Tool) -> Tool:
        """Make `tool` part of what is sold, and return it with its price.

        Raises:
            ConfigurationError: Nothing gives it a price, or no plan can charge for it.
        """
        sold = self.priced(tool)
        self._shelf.add(sold)
        return sold

    def admit_warm(self, tool: Tool, caller: Caller) -> Admission | None:
        """Admit a known, solvent caller without asking anybody; None when `admit` has to look closer."""
        if self._free_for_all or tool.is_free:
            return Admission(tool)
        verified, accounts = self._callers.verified, self._accounts
        account = verified(caller.credential)
        if account is None:
            return None
        # A newer snapshot may have lost the key, so the credential has to be verified again.
        current, monotonic = accounts.get, accounts.monotonic
        if current(account.customer) is not account:
            return None
        name = tool.name
        offered: Offer
        for offered in account.offers:
            if offered.tool == name:
                break
        else:
            return None
        now = monotonic()
        if now >= account.fresh_until - AHEAD:
            if now >= account.fresh_until:
                return None
            self._refresh_beside(account.customer)
        thread = self.thread
        if thread.exposure.is_tight and thread.exposure.blocks(account.customer):
            return None
        # After the end of its period the snapshot is old, and the plan may be another one.
        if now >= offered.period_ends:
            return None
        limits = offered.limits
        if limits is not None and (now >= limits.until or not limits.take()):
            return None
        return Admission(tool, offered, thread, offered.period_end)

    def keep_time_by(self, monotonic: Callable[[], float], wall: Callable[[], float]) -> None:
        """Count time by other clocks than the machine's; waiting and deadlines still take real time.

        Args:
            monotonic: Seconds; must not lie behind the clock that counted before.
            wall: Unix seconds. Unless it is the machine's own, nobody sets it but by hand, and what it says is so.
        """
        self._accounts.monotonic = self.thread.tallies.monotonic = monotonic
        self.thread.clock.follow(wall, steady if wall is time.time else wall)

    async def admit(self, tool: Tool, caller: Caller) -> Admission | Refusal:
        """Admit or refuse, asking Stripe where needed; answers within the timeout of the settings."""
        handover = Handover()
        try:
            if caller.headers is not None:
                caller = await self.identity.asked(caller)
                return self.admit_warm(tool, caller) or await self.admit(tool, caller)
            self._look_at(caller)
            endings.watch_again()
            return await self.thread.call(
                lambda gateway: handover.make(self._decide(gateway, tool, caller)), self.settings.timeout
            )
        except StripeMeterError as error:
            handover.give_up()
            return traces.noted(tool, self._doubt(tool, error), None, 0.0)
        except BaseException:
            handover.give_up()
            raise

    def admit_blocking(self, tool: Tool, caller: Caller) -> Admission | Refusal:
        """`admit` for a thread without a loop."""
        handover = Handover()
        try:
            if caller.headers is not None:
                caller = self.identity.asked_blocking(caller)
                return self.admit_warm(tool, caller) or self.admit_blocking(tool, caller)
            self._look_at(caller)
            endings.watch_again()
            return self.thread.call_blocking(
                lambda gateway: handover.make(self._decide(gateway, tool, caller)), self.settings.timeout
            )
        except StripeMeterError as error:
            handover.give_up()
            return traces.noted(tool, self._doubt(tool, error), None, 0.0)

    async def prepare(self, tools: Iterable[Tool]) -> None:
        """Check the key and the catalogue before the first call, so that it is warm.

        Raises:
            ConfigurationError: The server could not bill; the message is the sentence to show.
        """
        endings.watch_again()
        for tool in tools:
            self.register(tool)
        if not self.settings.enabled:
            self._free_for_all = True
            log.warning("STRIPE_METER_ENABLED is false: every tool is served free and nothing is billed")
            return
        self.settings.key()
        self.blueprint()
        try:
            await self.thread.call(self._stock, 6 * self.settings.timeout)
            self.thread.beside(self.sales.catch_up)
        except StripeUnavailable as error:
            log.warning("%s; the catalogue is checked again at the first paid call", error)

    def blueprint(self) -> Blueprint:
        """What has to exist in Stripe for everything registered. Raises `ConfigurationError`."""
        return self._shelf.blueprint(self.settings.namespace)

    def stats(self) -> FlusherStats:
        """Calls by fate: `accepted == delivered + pending + rejected`."""
        return self.thread.stats()

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until Stripe has all usage, at most `timeout` seconds; whether it has."""
        return self.thread.flush(timeout)

    def close(self) -> None:
        """Deliver what is pending within the deadline and end the Stripe thread."""
        self.thread.close()

    # Cold, in the Stripe thread.

    def _open(self, thread: StripeThread) -> Gateway:
        from stripe_meter.gateway.gateway import Gateway

        settings = self.settings
        traces.begin(self, self._callers, self._accounts)
        thread.exposure = Exposure(settings.max_unsent_seconds, settings.max_unsent_amount)
        if settings.durability == "sync":
            # Group commit: what arrives while one event is on the way shares the next one.
            thread.is_sync = thread.waits = True
            thread.window = 0.0
        self._gateway = Gateway(settings, thread.clock)
        return self._gateway

    async def _read(self, customer: str) -> Account:
        assert self._gateway is not None
        return await self._gateway.accounts.read(customer)

    async def _stock(self, gateway: Gateway) -> None:
        await self._shelf.stock(gateway, create=self.settings.mode != "live")

    async def _decide(self, gateway: Gateway, tool: Tool, caller: Caller) -> Admission | Refusal:
        if not self.settings.enabled:
            self._free_for_all = True
        if self._free_for_all or tool.is_free:
            return Admission(tool)
        if not self._shelf.is_stocked(tool):
            self.register(tool)
            await self._stock(gateway)
        return await self._decision.decide(gateway, tool, caller)

    async def _pages(self, caller: Caller) -> str:
        """Where the caller's browser finds our pages; never taken from what the caller says."""
        base = self.settings.public_url or caller.base_url
        if base is not None:
            return base + self.routes
        if caller.is_local and self.local_pages is not None:
            return await self.local_pages(self)
        raise ConfigurationError(
            "callers cannot be sent to Checkout, because this server does not know its own address; "
            "set STRIPE_METER_PUBLIC_URL=https://… to where browsers reach it"
        )

    def _refresh_beside(self, customer: str) -> None:
        if customer in self._refreshing:
            return
        self._refreshing.add(customer)

        async def work(gateway: Gateway) -> None:
            try:
                await self._accounts.refresh(customer)
            except StripeMeterError as error:
                log.info("%s is served from the last snapshot: %s", customer, error)
            finally:
                self._refreshing.discard(customer)

        self.thread.beside(work)

    def _look_at(self, caller: Caller) -> None:
        """What a cold call of a local caller tells about this process."""
        if caller.is_local and not caller.is_own and not self._is_local:
            self._is_local = True
            # An MCP client on stdio kills its server seconds after closing it.
            self.thread.deadline = STDIO_DEADLINE
            if self.enabled and self.settings.mode != "emulator":
                log.warning(
                    "this server speaks stdio and holds your Stripe secret key: run it only where you would keep the "
                    "key, never on a caller's machine; for callers elsewhere serve HTTP"
                )

    def _doubt(self, tool: Tool, error: StripeMeterError) -> Refusal:
        price = self._shelf.quote(tool)
        if isinstance(error, TooMany):
            return refusals.rate_limited(tool.name, price, str(error), error.retry_after)
        if isinstance(error, StripeUnavailable):
            log.warning("%s was refused: %s", tool.name, error)
            pause = self._gateway.connection.limiter.paused_for if self._gateway is not None else 0.0
            return refusals.billing_unavailable(tool.name, price, max(error.retry_after or RETRY_SOON, pause))
        log.error("%s was refused: %s", tool.name, error)
        return refusals.billing_unavailable(tool.name, price, _RETRY_LATER)
