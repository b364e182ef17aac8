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

from stripe_meter.domain.plans import Plan
from stripe_meter.domain.pricelist import Price, PriceList
from stripe_meter.domain.usage import Call
from stripe_meter.enforcement import current
from stripe_meter.errors import ConfigurationError
from stripe_meter.mcp.decorator import metered

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from stripe_meter.enforcement.engine import Engine
    from stripe_meter.enforcement.flusher.tallies import FlusherStats
    from stripe_meter.settings import Settings

__all__ = ["StripeMeter", "metered"]

P = ParamSpec("P")
R = TypeVar("R")

_NO_PRICES: Final[Mapping[str, Price]] = MappingProxyType({})


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
            several currencies.
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
        settings: Settings | None = None,
    ) -> None:
        from stripe_meter.enforcement.engine import Engine

        self.engine = Engine(plans, settings, spend_cap=spend_cap, prices=PriceList.of(prices, default_price))
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

    def attach(self, server: Any, *, routes: str = "/billing") -> None:
        """Give `server` what a decorator alone cannot.

        Checks key, catalogue and decorators before the first call; puts receipts and prices into `_meta`; mounts the
        success and cancel pages under `routes`.

        Args:
            server: An `MCPServer` of the MCP SDK or a `FastMCP`.
            routes: Path prefix of our pages.

        Raises:
            ConfigurationError: The server is of no known kind, another StripeMeter is attached to it, or `routes` is
                no path.
        """
        from stripe_meter.mcp.attach import attach
        from stripe_meter.web.routes import mount

        if not re.fullmatch(r"(/[A-Za-z0-9_.~-]+)+/?", routes):
            raise ConfigurationError(f'routes={routes!r} is no path; write for example routes="/billing"')
        self.engine.routes = routes.rstrip("/")
        attach(self.engine, server, mount=lambda add: mount(self.engine, add))

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

    def asgi(self) -> ASGIApp:
        """Our pages as an ASGI app, to mount at `routes` of another one."""
        from stripe_meter.web.routes import app

        return app(self.engine)

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
        return await self.engine.sales.refund(receipt if isinstance(receipt, str) else str(receipt.get("id")))

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until Stripe has all usage, at most `timeout` seconds; whether it has."""
        return self.engine.flush(timeout)

    def stats(self) -> FlusherStats:
        """Calls by fate: `accepted == delivered + pending + rejected`."""
        return self.engine.stats()

    def close(self) -> None:
        """Deliver what is pending and end the background thread; the interpreter does this at exit by itself."""
        self.engine.close()
