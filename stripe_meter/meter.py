"""StripeMeter: what an author writes once, and the composition root of the library.

Owns putting engine, MCP edge and pages together; nothing else constructs them. No I/O and no key needed to build one,
so importing a server always works.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, ParamSpec, TypeVar, overload

from stripe_meter.domain.identity import KEY_PREFIX, Caller, Principal, credential
from stripe_meter.domain.plans import Plan
from stripe_meter.domain.pricelist import Price, PriceList
from stripe_meter.domain.usage import Call
from stripe_meter.enforcement import current
from stripe_meter.errors import ConfigurationError, NotForSale
from stripe_meter.mcp.decorator import metered

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from stripe_meter.enforcement.engine import Engine
    from stripe_meter.enforcement.flusher.tallies import FlusherStats
    from stripe_meter.enforcement.identity.resolving import Identify
    from stripe_meter.enforcement.sales import Sales
    from stripe_meter.enforcement.selling import Bought
    from stripe_meter.gateway.portal import Flow
    from stripe_meter.gateway.setup import SetupIntent
    from stripe_meter.settings import Settings

__all__ = ["StripeMeter", "metered"]

P = ParamSpec("P")
R = TypeVar("R")

#: The form of a customer id; whether there is one, Stripe says.
CUSTOMER: Final = re.compile(r"cus_[A-Za-z0-9_]{1,120}")
_NO_PRICES: Final[Mapping[str, Price]] = MappingProxyType({})
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


async def _local_pages(engine: Engine) -> str:
    from stripe_meter.web.local import serve_pages

    return await serve_pages(engine)


def _default_engine() -> Engine:
    # Not at the top: a module that only decorates tools needs neither asyncio nor threads.
    from stripe_meter.enforcement.engine import Engine

    engine = Engine()
    engine.local_pages = _local_pages
    return engine


current.build_default_with(_default_engine)


def _path(routes: str) -> str:
    if not re.fullmatch(r"(/[A-Za-z0-9_.~-]+)+/?", routes):
        raise ConfigurationError(f'routes={routes!r} is no path; write for example routes="/billing"')
    return routes.rstrip("/")


class StripeMeter:
    """One seller's billing.

    Args:
        plans: What is on offer, in the order of offer; pay-as-you-go unless given. Plans of a configuration file come
            after them; one that stands in both places is the code's.
        prices: Price of a tool by its name or by a glob. The exact name goes before every glob, then the glob with the
            most literal characters, then the one written first. On an attached server they put a price on tools
            without `@metered` as well, by the name that the server lists.
        default_price: Of tools with `@metered` that nothing else prices; it never touches tools without.
        spend_cap: The most that one customer may spend in a UTC day or month, such as `"$50/month"`; a tuple gives
            several currencies. Else `STRIPE_METER_SPEND_CAP`, or `spend_cap` of a configuration file.
        identify: Says who sent a request, from its headers (names in lower case): a `Principal`, or None to leave it to
            tokens and keys. May be `async def`; asked for every call, so keep what takes long. What it raises refuses
            the call.
        settings: In place of the environment and configuration files.

    Raises:
        ConfigurationError: A price cannot be read, or two plans contradict each other.

    Example:
        >>> from stripe_meter import StripeMeter
        >>> billing = StripeMeter()
    """

    def __init__(
        self,
        plans: Sequence[Plan] | None = None,
        *,
        prices: Mapping[str, Price] = _NO_PRICES,
        default_price: Price | None = None,
        spend_cap: str | tuple[str, ...] | None = None,
        identify: Identify | None = None,
        settings: Settings | None = None,
    ) -> None:
        from stripe_meter.enforcement.engine import Engine

        self.engine = Engine(
            plans, settings, spend_cap=spend_cap, prices=PriceList.of(prices, default_price), identify=identify
        )
        self.engine.local_pages = _local_pages
        current.configured()

    @overload
    def metered(self, price: Callable[P, R], /) -> Callable[P, R]: ...

    @overload
    def metered(
        self,
        price: Price | None = None,
        *,
        name: str | None = None,
        units: Callable[[Call], int] | None = None,
        max_units: int | None = None,
        feature: str | None = None,
        charge_on: Literal["success", "always"] = "success",
    ) -> Callable[[Callable[P, R]], Callable[P, R]]: ...

    def metered(self, price: Any = None, **options: Any) -> Any:
        """`@metered`, tied to this StripeMeter; it takes the same arguments."""
        return metered(**options, billing=self)(price) if callable(price) else metered(price, **options, billing=self)

    def attach(self, server: Any, *, routes: str = "/billing", agent_tools: bool = False) -> None:
        """Give `server` what a decorator alone cannot.

        Checks key, catalogue and decorators before the first call; puts receipts and prices into `_meta`; mounts the
        success and cancel pages under `routes`.

        Args:
            server: An `MCPServer` of the MCP SDK or a `FastMCP`.
            routes: Path prefix of our pages.
            agent_tools: Whether callers' agents get free tools for their own billing: `billing_status`, `choose_plan`,
                `buy_credits`, `manage_billing` and `set_spend_cap`, which only lowers it.

        Raises:
            ConfigurationError: The server is of no known kind, another StripeMeter is attached to it, or `routes` is
                no path.
        """
        from stripe_meter.mcp.attach import attach
        from stripe_meter.web.routes import mount

        self.engine.routes = _path(routes)
        self.engine.identity.has_pages = True
        self.engine.sales.front.open(getattr(server, "name", None))
        attach(self.engine, server, mount=lambda add: mount(self.engine, add), agent_tools=agent_tools)

    def lifespan(self, inner: Any = None) -> Callable[[Any], AbstractAsyncContextManager[Any]]:
        """A lifespan for the server that delivers all usage before it ends; `inner` is your own, if you have one."""

        import anyio.to_thread

        @asynccontextmanager
        async def lifespan(server: Any) -> AsyncIterator[Any]:
            try:
                if inner is None:
                    yield {}
                else:
                    async with inner(server) as state:
                        yield state
            finally:
                # In a thread: the server's loop goes on meanwhile.
                await anyio.to_thread.run_sync((current.override.engine or self.engine).flush)

        return lifespan

    def asgi(self, *, routes: str | None = None) -> ASGIApp:
        """Our routes as an ASGI app, for a server that is not attached, or for another app beside it.

        Args:
            routes: Path at which you mount it, as browsers see it; that of `attach`, or `/billing`, unless given.

        Raises:
            ConfigurationError: `routes` is no path.
        """
        from stripe_meter.web.routes import app

        if routes is not None:
            self.engine.routes = _path(routes)
        self.engine.sales.front.open()
        return app(self.engine)

    async def checkout(
        self,
        who: Principal | str | None = None,
        plan: str | None = None,
        *,
        pack: str | None = None,
        metadata: Mapping[str, str] = _NOTHING,
    ) -> str:
        """Link to a page on which a plan or a credit pack is bought.

        A second subscription would bill the same calls twice, so whoever has one is led to the page that changes it.
        Asked again, the link is the same while nobody has paid by it.

        Args:
            who: A `Principal`, who becomes a customer at first sight; an API key; a customer id (`cus_…`) that your own
                code vouches for; or None for a stranger, who gets an API key after paying.
            plan: Name of a plan on offer; the first one unless given.
            pack: Name of a credit pack, in place of a plan.
            metadata: Yours, for the session and what comes of it; at most 40 keys of 40 characters, values of 500.

        Raises:
            NotForSale: It is not on offer, or not to this customer as they stand.
            ConfigurationError: The metadata is over Stripe's limits, or this server's address is not known.
            StripeMeterError: Stripe could not be asked; try again.
        """
        customer = None if who is None else await self.customer(who)
        pages = await self._sales.pages()
        return await self._sales.checkout(customer, plan, pack=pack, pages=pages, metadata=metadata)

    async def portal(self, who: Principal | str, *, return_url: str | None = None, flow: Flow | None = None) -> str:
        """Link to Stripe's portal for a customer, good for some minutes: card, invoices, cancelling at period end.

        Args:
            who: As for `checkout`.
            return_url: Where it leads back to, an address of yours; our own plain page `/done` unless given.
            flow: `"payment_method_update"` or `"subscription_cancel"` opens that one page.

        Raises:
            NotForSale: There is no subscription to cancel.
        """
        back = return_url or f"{await self._sales.pages()}/done"
        return await self._sales.portal(await self.customer(who), return_url=back, flow=flow)

    async def save_card(self, who: Principal | str) -> str:
        """Link to a page on which a customer saves a card, to be charged from then on.

        Where credits are topped up by themselves, the page asks for that consent.
        """
        return await self._sales.setup(await self.customer(who), pages=await self._sales.pages())

    async def setup_intent(self, who: Principal | str, *, consent: bool = False) -> SetupIntent:
        """A SetupIntent for a page of your own; tell `card_saved` when Stripe's scripts are done.

        Args:
            consent: Your page asks the customer whether packs may be bought with the card by themselves, in the words
                of the intent's `consent`.

        Raises:
            NotForSale: With *consent*, where no pack is bought by itself.
        """
        return await self._sales.setup_intent(await self.customer(who), consent=consent)

    async def card_saved(self, intent: str) -> str | None:
        """A SetupIntent (`seti_…`) is done: charge its card from now on. Returns whose it is, or None if it is not."""
        return await self._sales.complete_setup(intent)

    async def payment_link(self, pack: str, who: Principal | str | None = None) -> str:
        """The lasting Payment Link of a credit pack; `who` gets the credits, whoever pays. The same each time."""
        return await self._sales.payment_link(pack, None if who is None else await self.customer(who))

    async def buy(self, who: Principal | str, pack: str, *, once: str) -> Bought:
        """Charge the saved card of a customer who asks for a pack now.

        Args:
            once: Names the occasion, such as your order number: the same one charges once.

        Returns:
            The payment, or the link by which they can pay for the same pack: without a saved card, when it is declined,
            and when its bank wants to see its owner (3-D Secure). Nothing was taken then.
        """
        pages = await self._sales.pages()
        return await self._sales.buy(await self.customer(who), pack, once=once, pages=pages)

    async def stop_top_up(self, who: Principal | str) -> None:
        """Buy this customer nothing by itself any more, until they agree anew."""
        await self._sales.stop_top_up(await self.customer(who))

    async def customer(self, who: Principal | str) -> str:
        """The customer (`cus_…`) behind a `Principal`, made at first sight, or behind an API key.

        Raises:
            NotForSale: The key is nobody's.
        """
        if isinstance(who, Principal):
            return await self._sales.customer_of(who)
        if who.startswith(KEY_PREFIX):
            found = await self._sales.identify(Caller(credential("k", who), who))
            if found is None:
                raise NotForSale("this API key is nobody's; it was revoked, or mistyped")
            return found
        if not CUSTOMER.fullmatch(who):
            raise ConfigurationError("who is no customer id, API key or Principal; write for example cus_…")
        return who

    async def refund(self, receipt: str | Mapping[str, Any]) -> str:
        """Take one charge back, whoever asks for it again and again.

        Usage of an open period is taken off the meter; of a billed one it is credited on the invoice line.

        Args:
            receipt: The `id` of a receipt, or the whole receipt that the client got in `_meta["stripe-meter/receipt"]`.

        Returns:
            `evt` for usage taken off, else the id of what Stripe made, such as a credit note `cn_…`.

        Raises:
            ConfigurationError: It is no receipt of this seller, or nothing is left to undo.
            StripeMeterError: Stripe could not be asked; try again.
        """
        return await self._sales.refund(str(receipt.get("id") if isinstance(receipt, Mapping) else receipt))

    @property
    def _sales(self) -> Sales:
        return (current.override.engine or self.engine).sales

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until Stripe has all usage, at most `timeout` seconds; whether it has."""
        return self.engine.flush(timeout)

    def stats(self) -> FlusherStats:
        """Calls by fate: `accepted == delivered + pending + rejected`."""
        return self.engine.stats()

    def close(self) -> None:
        """Deliver what is pending and end the background thread; the interpreter does this at exit by itself."""
        self.engine.close()
