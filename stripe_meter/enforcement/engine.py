"""The engine: one seller's tools, callers and usage, from the question "may this call run" to the meter event.

Owns the order of decisions and puts gate, cache, callers, purchases and flusher together. `admit_warm` is the only
thing a warm call touches: no I/O, no await. Everything cold runs in the Stripe thread under one deadline, and every
doubt there becomes a refusal, never an exception in the caller's face.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Final

from stripe_meter.domain import refusals
from stripe_meter.domain.account import Account, Subscription
from stripe_meter.domain.identity import Caller
from stripe_meter.domain.plans import PayAsYouGo
from stripe_meter.domain.rates import Rate
from stripe_meter.domain.refusals import Refusal
from stripe_meter.domain.tools import Tool
from stripe_meter.enforcement.accounts import AHEAD, AccountCache
from stripe_meter.enforcement.callers import Callers
from stripe_meter.enforcement.flusher import endings
from stripe_meter.enforcement.flusher.exposure import Exposure
from stripe_meter.enforcement.flusher.tallies import FlusherStats
from stripe_meter.enforcement.flusher.thread import STDIO_DEADLINE, StripeThread
from stripe_meter.enforcement.gate import Admission, Offer, offer, served_item
from stripe_meter.enforcement.purchases import Completion, Purchases
from stripe_meter.enforcement.shelf import Shelf
from stripe_meter.errors import ConfigurationError, StripeMeterError, StripeUnavailable, TooMany

if TYPE_CHECKING:
    from stripe_meter.gateway.catalogue import Listing
    from stripe_meter.gateway.gateway import Gateway
    from stripe_meter.settings import Settings

log = logging.getLogger("stripe_meter")

LOCAL_KEY: Final = "STRIPE_METER_API_KEY"
#: Seconds a caller is told to wait when Stripe cannot be reached, and when the seller has to mend something.
_RETRY_SOON: Final = 5.0
_RETRY_LATER: Final = 60.0
#: Stripe's bound on the items of one subscription.
_MOST_ITEMS: Final = 20

LocalPages = Callable[["Engine"], Awaitable[str]]


class Engine:
    """Decides and records for one seller."""

    def __init__(self, plans: Sequence[PayAsYouGo] = (PayAsYouGo(),), settings: Settings | None = None) -> None:
        self.plans = tuple(plans)
        self._given = settings
        #: Path under which our pages are mounted.
        self.routes = "/billing"
        #: Serves our pages on loopback for a process that speaks stdio; the composition root sets it.
        self.local_pages: LocalPages | None = None
        #: Create catalogue objects in live mode too; only `stripe-meter apply` says so.
        self.provision = False
        self._free_for_all = False
        self._is_local = False
        self.thread = StripeThread(self._open)
        self._accounts = AccountCache(self._read)
        self._callers = Callers(self._accounts)
        self._shelf = Shelf(self.plans)
        self._purchases = Purchases(self._shelf, lambda: self._accounts.monotonic())
        self._gateway: Gateway | None = None
        self._refreshing: set[str] = set()
        endings.watch(self.thread)

    @property
    def settings(self) -> Settings:
        """Built on first use. Raises `ConfigurationError` when a value cannot be used."""
        if self._given is None:
            from stripe_meter.settings import Settings

            self._given = Settings()
        return self._given

    @cached_property
    def enabled(self) -> bool:
        return self.settings.enabled

    @cached_property
    def _is_sync(self) -> bool:
        return self.settings.durability == "sync"

    @cached_property
    def local_caller(self) -> Caller:
        """Who calls over stdio and in memory: the key in the process's environment, as it is at the first call."""
        return Caller.local(os.environ.get(LOCAL_KEY))

    @property
    def stopping(self) -> bool:
        """True while the process drains: calls wait for their own delivery."""
        return self.thread.stopping

    @property
    def waits(self) -> bool:
        """Whether a call answers only when Stripe has its usage: always under `sync`, else while the process drains."""
        return self.thread.stopping or self._is_sync

    @property
    def tools(self) -> list[Tool]:
        return self._shelf.tools

    def rates(self, tool: Tool) -> tuple[Rate, ...]:
        """What `tool` costs a new caller: Stripe's prices where they are known, else the code's."""
        listing = self._shelf.get(tool)
        return tool.rates if listing is None else listing.rates

    def register(self, tool: Tool) -> None:
        """Make `tool` part of what is sold. Raises `ConfigurationError` when no plan can charge for it."""
        self._shelf.add(tool)

    def admit_warm(self, tool: Tool, caller: Caller) -> Admission | None:
        """Admit a known, solvent caller without asking anybody; None when `admit` has to look closer."""
        if self._free_for_all or tool.is_free:
            return Admission(tool)
        account = self._callers.warm(caller)
        if account is None:
            return None
        offered: Offer | None = account.offers.get(tool.name)
        if offered is None:
            return None
        now = self._accounts.monotonic()
        if now >= account.fresh_until - AHEAD:
            if now >= account.fresh_until:
                return None
            self._refresh_beside(account.customer)
        thread = self.thread
        if thread.exposure.is_tight and thread.exposure.blocks(account.customer):
            return None
        # A snapshot may be older than the end of its period; what is called after that belongs to the next one.
        return Admission(tool, offered, thread, offered.period_end if now < offered.period_ends else 0)

    def keep_time_by(self, monotonic: Callable[[], float], wall: Callable[[], float]) -> None:
        """Count time by other clocks than the machine's; waiting and deadlines still take real time.

        Args:
            monotonic: Seconds; must not lie behind the clock that counted before.
            wall: Unix seconds.
        """
        self._accounts.monotonic = self.thread.tallies.monotonic = monotonic
        self.thread.clock.follow(wall)

    async def admit(self, tool: Tool, caller: Caller) -> Admission | Refusal:
        """Admit or refuse, asking Stripe where needed; answers within the timeout of the settings."""
        try:
            self._look_at(caller)
            endings.watch_again()
            return await self.thread.call(lambda gateway: self._decide(gateway, tool, caller), self.settings.timeout)
        except StripeMeterError as error:
            return self._doubt(tool, error)

    def admit_blocking(self, tool: Tool, caller: Caller) -> Admission | Refusal:
        """`admit` for a thread without a loop."""
        try:
            self._look_at(caller)
            return self.thread.call_blocking(lambda gateway: self._decide(gateway, tool, caller), self.settings.timeout)
        except StripeMeterError as error:
            return self._doubt(tool, error)

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
        priced = [tool for tool in self._shelf.tools if not tool.is_free]
        if len(priced) > _MOST_ITEMS:
            raise ConfigurationError(
                f"{len(priced)} priced tools, but a Stripe subscription holds {_MOST_ITEMS} items; "
                "let tools share a billing identity with name="
            )
        try:
            await self.thread.call(self._stock, 6 * self.settings.timeout)
        except StripeUnavailable as error:
            log.warning("%s; the catalogue is checked again at the first paid call", error)

    async def complete(self, session: str, claim: str | None) -> Completion:
        """A payer came back from Checkout: notice the purchase, and make their key if they came without identity.

        Raises:
            StripeMeterError: It could not be looked up now; the page may be loaded again.
        """

        async def work(gateway: Gateway) -> Completion:
            done = await self._purchases.complete(gateway, session, claim)
            if done.customer is not None:
                await self._accounts.refresh(done.customer)
            return done

        return await self.thread.call(work, self.settings.timeout)

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
        thread.exposure = Exposure(settings.max_unsent_seconds, settings.max_unsent_amount)
        if self._is_sync:
            # Group commit: what arrives while one event is on the way shares the next one.
            thread.window = 0.0
        self._gateway = Gateway(settings, thread.clock)
        return self._gateway

    async def _read(self, customer: str) -> Account:
        assert self._gateway is not None
        return await self._gateway.accounts.read(customer)

    async def _stock(self, gateway: Gateway) -> None:
        await self._shelf.stock(gateway, create=self.provision or self.settings.mode != "live")

    async def _decide(self, gateway: Gateway, tool: Tool, caller: Caller) -> Admission | Refusal:
        if not self.settings.enabled:
            self._free_for_all = True
        if self._free_for_all or tool.is_free:
            return Admission(tool)
        listing = self._shelf.get(tool)
        if listing is None:
            self.register(tool)
            await self._stock(gateway)
            listing = self._shelf.need(tool)
        account = await self._account(gateway, caller)
        if account is None:
            return await self._unknown(gateway, tool, caller)
        subscription = account.subscription
        if subscription is None:
            url = await self._purchases.link(gateway, account.customer, await self._pages(caller))
            return refusals.payment_required(tool.name, self._shelf.quote(tool), url)
        if not subscription.is_solvent:
            return await self._insolvent(gateway, tool, subscription)
        if subscription.item(listing.meter) is None:
            await gateway.accounts.add_item(subscription.id, listing.price)
            account = self._callers.remember(caller, await self._accounts.refresh(account.customer))
        return self._admission(account, tool, listing)

    def _admission(self, account: Account, tool: Tool, listing: Listing) -> Admission | Refusal:
        item = served_item(account, listing)
        if item is None or self.thread.exposure.blocks(account.customer):
            # Either more usage is waiting than may be lost, or the item is not on the subscription yet, and usage
            # without an item is never billed.
            return refusals.billing_unavailable(tool.name, self._shelf.quote(tool), _RETRY_SOON)
        left = item.period_end - self.thread.clock.now()
        offered = offer(account.customer, tool, listing, item, left, self._accounts.monotonic())
        account.offers[tool.name] = offered
        return Admission(tool, offered, self.thread, item.period_end if left > 0 else 0)

    async def _account(self, gateway: Gateway, caller: Caller) -> Account | None:
        account = await self._callers.cold(caller, gateway)
        if account is None:
            customer = None if caller.is_known else await self._purchases.adopted(gateway, caller)
            return None if customer is None else self._adopt(caller, await self._accounts.load(customer))
        unpaid = account.subscription is None or not account.subscription.is_solvent
        if unpaid and self._purchases.is_due(account.customer):
            account = self._callers.remember(caller, await self._accounts.refresh(account.customer))
        if account.subscription is not None:
            self._purchases.paid(account.customer)
        return account

    def _adopt(self, caller: Caller, account: Account) -> Account:
        log.warning(
            "this server now bills %s, who has just paid, until it ends; "
            "for good: stripe-meter keys create %s, and set the key as STRIPE_METER_API_KEY",
            account.customer,
            account.customer,
        )
        return self._callers.remember(caller, account)

    async def _insolvent(self, gateway: Gateway, tool: Tool, subscription: Subscription) -> Refusal:
        if subscription.status != "active" and subscription.latest_invoice is not None:
            url = await gateway.accounts.invoice_url(subscription.latest_invoice)
            if url is not None:
                return refusals.invoice_open(tool.name, self._shelf.quote(tool), url)
        why = f"is {subscription.status}" if subscription.status != "active" else "has no payment method"
        return refusals.subscription_unusable(tool.name, self._shelf.quote(tool), why)

    async def _unknown(self, gateway: Gateway, tool: Tool, caller: Caller) -> Refusal:
        url = await self._purchases.link_for_stranger(gateway, caller, await self._pages(caller))
        if caller.api_key is not None:
            refuse = refusals.key_refused
        else:
            refuse = refusals.identity_required_locally if caller.is_local else refusals.identity_required
        return refuse(tool.name, self._shelf.quote(tool), url)

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
        if caller.is_local and not self._is_local:
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
            return refusals.billing_unavailable(tool.name, price, max(error.retry_after or _RETRY_SOON, pause))
        log.error("%s was refused: %s", tool.name, error)
        return refusals.billing_unavailable(tool.name, price, _RETRY_LATER)
