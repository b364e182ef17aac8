"""One server with one engine: the check before the first call, and what happens when it fails.

Owns the state that `attach` adds to a server. The check runs once, where serving starts if the framework lets us be
there, else with the first message. A server that was started by its own `run()` and cannot bill ends with the sentence
that says why; one that somebody else runs (a test, an ASGI server) gets it as `ConfigurationError`; one that already
serves answers every tool call with a refusal and says why in the log.
"""

from __future__ import annotations

import inspect
import logging
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol

from stripe_meter.domain.refusals import Refusal, billing_unavailable
from stripe_meter.domain.tools import UNPRICED
from stripe_meter.enforcement.current import override
from stripe_meter.errors import ConfigurationError, StripeMeterError
from stripe_meter.mcp import declared, outside
from stripe_meter.mcp.caller import kept
from stripe_meter.mcp.calls import Below, Exchange, exchange
from stripe_meter.mcp.declared import Declaration, Matches, Served

if TYPE_CHECKING:
    import asyncio

    from stripe_meter.domain.rates import Rate
    from stripe_meter.domain.tools import Tool
    from stripe_meter.enforcement.engine import Engine

log = logging.getLogger("stripe_meter")

RECEIPT_KEY: Final = "stripe-meter/receipt"
PRICE_KEY: Final = "stripe-meter/price"
#: A failed check is repeated this often, so that a mended catalogue needs no restart.
_RETRY_SECONDS: Final = 30.0

#: What `listed` finds.
Listed = Matches

#: Stands for a name that nobody listed.
_UNKNOWN: Final = object()


class Lister(Protocol):
    """Asks a framework for the names a server lists, and finds what stands behind them."""

    async def __call__(self, server: Any, /) -> Listed: ...


class Attachment:
    """What an attached server knows about its billing."""

    def __init__(self, engine: Engine, server: object, listed: Lister) -> None:
        self.engine = engine
        self._server = weakref.ref(server)
        self._listed = listed
        #: What the server listed at the last look.
        self.names = Matches()
        self._matched_at = -1
        #: True once everything was in order; then there is no failure to ask for.
        self.is_checked = False
        #: A test's engine that was in order, and the engine that was not.
        self._checked_instead: Engine | None = None
        self._failed: Engine | None = None
        self._failure: str | None = None
        self._failed_at = 0.0
        self._checking: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()

    @property
    def _biller(self) -> Engine:
        return override.engine or self.engine

    async def check(self) -> None:
        """Look at key, catalogue and decorators; once, however many messages arrive together.

        Raises:
            ConfigurationError: The server could not bill; the message is the sentence to show.
        """
        if self.is_checked:
            return
        import asyncio  # on the loop the framework has loaded it anyway

        from stripe_meter.domain.unused import unused

        # One for each loop: a lock that a second thread's loop waits for is never handed over to it. Two loops at once
        # both look, which does no harm, for what they find is the same.
        async with self._checking.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            engine = self._biller
            if self.is_checked or self._checked_instead is engine:
                return
            names = await self._match()
            self._notice_unused(names)
            sold = [d for d in names.values() if d is not None and self._sells(d)]
            tools = [self._priced(declaration) for declaration in sold]
            await engine.prepare(tools)
            for said in unused(engine.offering, tools):
                log.warning("%s", said)
            if engine.enabled:
                for declaration, tool in zip(sold, tools, strict=True):
                    declaration.served = Served(engine, tool)
            if engine is self.engine:
                self.is_checked = True
            else:
                self._checked_instead = engine

    async def check_at_start(self, entry_points: frozenset[CodeType], end: Callable[[str], NoReturn]) -> None:
        """`check`, where serving starts; ends the process when one of `entry_points` is what started it."""
        try:
            await self.check()
        except StripeMeterError as error:
            if threading.current_thread() is threading.main_thread() and _is_on_the_stack(entry_points):
                end(f"stripe-meter: {error}")
            raise

    async def failure(self) -> str | None:
        """What keeps this server from billing, found out with the first message if not before; None when nothing."""
        if self.is_checked:
            return None
        engine = self._biller
        is_news = self._failure is None or self._failed is not engine
        if is_news or time.monotonic() - self._failed_at > _RETRY_SECONDS:
            try:
                await self.check()
            except StripeMeterError as error:
                self._failure, self._failed, self._failed_at = str(error), engine, time.monotonic()
                log.error("No tool of this server can be called: %s", error)  # one sentence is enough
            else:
                self._failure = None
        return self._failure

    def exchange(self, tool: str) -> Exchange | Below:
        """Begins before the framework's work on one `tools/call`; to be told whether it was `answered`, and closed.

        Args:
            tool: The name that was called; of the `names` of the last look, or `look_for` was awaited before.
        """
        found = self.names.get(tool, _UNKNOWN)
        sold = found if isinstance(found, Declaration) and found.is_outside else None
        around = exchange.get()
        if around is not None and not around.is_closed:  # by another tool, or mounted below another attached server
            return Below(tool, self.engine, sold, around)
        return Exchange(tool, self.engine, found is None and self._matched_at == declared.latest, sold)

    async def look_for(self, tool: str) -> None:
        """Look again for a name that was not listed at the last look, if the price list would put it on sale."""
        if self.engine.prices.named(tool) is not None:
            await self._match()

    def receipt(self, mine: Exchange | Below) -> dict[str, Any] | None:
        """What the answer of a finished exchange carries in `_meta`, or None."""
        if not mine.entered and mine.answered:
            self._notice_unmetered(mine.tool)
        if mine.receipt is None:
            return None
        said = (mine.receipt.said or mine.receipt.say())[0]
        if not mine.charged:
            return dict(said)
        charge = mine.charged[-1].charge
        if charge is None:
            return {**said, "status": mine.status}
        return {**said, "id": mine.engine.sales.sealer.seal(mine.receipt, charge), "status": mine.status}

    def declaration(self, name: str) -> Declaration | None:
        """What is sold under a name, as far as it was listed at the last look."""
        return self.names.get(name)

    async def prices(self) -> dict[str, dict[str, Any]]:
        """What `tools/list` says about prices, by the name of the tool."""
        try:
            names = await self._match()
        except ConfigurationError as error:  # a tool that was added while serving
            log.error("%s", error)
            return {}
        priced = {name: self._rates(found) for name, found in names.items() if found is not None}
        return {name: declared.price_meta(rates) for name, rates in priced.items() if rates}

    async def on_sale(self) -> Matches:
        """What the server lists now, and the declarations behind it. Raises `ConfigurationError`."""
        return await self._match()

    async def outside(self, name: str) -> Declaration | None:
        """The tool of that name, if it has no decorator and the price list puts it on sale."""
        if name not in self.names:
            await self.look_for(name)
        found = self.names.get(name)
        return found if found is not None and found.is_outside else None

    def refusal(self, tool: str) -> Refusal:
        """What callers hear while the check fails: nothing that only the author should know."""
        declaration = self.names.get(tool)
        price = UNPRICED if declaration is None else declaration.tool.price
        return billing_unavailable(tool, price, _RETRY_SECONDS)

    async def _match(self) -> Matches:
        latest = declared.latest
        self.names = outside.on_sale(await self._listed(self._server()), self.engine.prices, self.names)
        for declaration in self.names.values():
            if declaration is not None:
                declaration.claimed_by = self._server
        self._matched_at = latest
        return self.names

    def _sells(self, declaration: Declaration) -> bool:
        engine = self._biller
        return engine is not self.engine or declaration.billing is None or declaration.billing.engine is engine

    def _priced(self, declaration: Declaration) -> Tool:
        """By the list of who was configured, although a test may let another one bill. Raises `ConfigurationError`."""
        engine = self.engine if declaration.billing is None else declaration.billing.engine
        return engine.priced(declaration.tool)

    def _rates(self, declaration: Declaration) -> tuple[Rate, ...]:
        try:
            return self._biller.rates(self._priced(declaration))
        except ConfigurationError as error:  # a tool that was added while serving
            log.error("%s", error)
            return ()

    def _notice_unused(self, names: Matches) -> None:
        known = {*names, *names.unsure, *(d.tool.name for d in names.values() if d is not None)}
        if unused := self.engine.prices.unused(known):
            log.warning("prices name %s, which this server does not list; look for a typing error", ", ".join(unused))

    def _notice_unmetered(self, tool: str) -> None:
        declaration = self.names.get(tool)
        if declaration is not None and not declaration.is_outside and declaration.first_time("unmetered"):
            log.error("A call of %r was free: %s", tool, declared.wrong_order(tool))


#: The attachment of each attached server.
attachments: Final[weakref.WeakKeyDictionary[Any, Attachment]] = weakref.WeakKeyDictionary()


def engine_of(ctx: Any) -> Engine | None:
    """The engine attached to the server that handed out `ctx`, for calls that reach no middleware."""
    try:
        server = kept(ctx, "_mcp_server") or getattr(ctx, "mcp_server", None) or getattr(ctx, "fastmcp", None)
    except (ValueError, RuntimeError):  # a context without a server
        return None
    attachment = None if server is None else attachments.get(server)
    return None if attachment is None else attachment.engine


def codes(kind: type, *methods: str) -> frozenset[CodeType]:
    """The code of those public methods of `kind` and its bases that start a server."""
    found = (vars(base).get(method) for base in kind.__mro__ for method in methods)
    return frozenset(function.__code__ for function in found if inspect.isfunction(function))


def end_by_exit(sentence: str) -> NoReturn:
    """End the process in order, for frameworks that start serving in their main task."""
    raise SystemExit(sentence)


def end_at_once(sentence: str) -> NoReturn:
    """End the process where an orderly end would hang on a thread that waits for stdin, or be swallowed."""
    sys.stderr.write(sentence + "\n")
    sys.stderr.flush()
    sys.stdout.flush()
    os._exit(1)


def _is_on_the_stack(wanted: frozenset[CodeType]) -> bool:
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code in wanted:
            return True
        frame = frame.f_back
    return False
