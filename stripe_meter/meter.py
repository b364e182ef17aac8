"""StripeMeter: what an author writes once, and the composition root of the library.

Owns putting engine, MCP edge and pages together; nothing else constructs them. No I/O and no key needed to build one,
so importing a server always works.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from stripe_meter.domain.plans import PayAsYouGo
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
        plans: What is on offer, in the order of offer.
        settings: In place of the environment and configuration files.

    Example:
        >>> from stripe_meter import StripeMeter
        >>> billing = StripeMeter()
    """

    def __init__(self, plans: Sequence[PayAsYouGo] = (PayAsYouGo(),), *, settings: Settings | None = None) -> None:
        from stripe_meter.enforcement.engine import Engine

        self.engine = Engine(plans, settings)
        self.engine.local_pages = _local_pages
        current.configured()

    def metered(
        self,
        price: str | tuple[str, ...],
        *,
        name: str | None = None,
        units: Callable[[Call], int] | None = None,
        max_units: int | None = None,
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """`@metered`, tied to this StripeMeter."""
        return metered(price, name=name, units=units, max_units=max_units, billing=self)

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

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until Stripe has all usage, at most `timeout` seconds; whether it has."""
        return self.engine.flush(timeout)

    def stats(self) -> FlusherStats:
        """Calls by fate: `accepted == delivered + pending + rejected`."""
        return self.engine.stats()

    def close(self) -> None:
        """Deliver what is pending and end the background thread; the interpreter does this at exit by itself."""
        self.engine.close()
