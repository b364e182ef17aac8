"""The call in progress, as seen from inside a tool and from around it.

Owns the two context variables of this edge: `active`, the metered call that is running, and `exchange`, the
`tools/call` message that is being answered on an attached server. Decides nothing about money. Contexts are copied
into child tasks, `asyncio.to_thread` and the threads of the frameworks, not into those of an executor; and a copy
outlives its call, so both values say when they are over.
"""

from __future__ import annotations

import logging
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, NamedTuple

from stripe_meter.domain.refusals import Refusal
from stripe_meter.domain.usage import Call, Receipt
from stripe_meter.enforcement.current import override
from stripe_meter.mcp import threads

if TYPE_CHECKING:
    from stripe_meter.domain.tools import Tool
    from stripe_meter.enforcement.engine import Engine
    from stripe_meter.enforcement.gate import Admission
    from stripe_meter.mcp.declared import Declaration

log = logging.getLogger("stripe_meter")

#: The call that `current_call()` returns; whatever runs inside it is plain Python.
active: ContextVar[Call | None] = ContextVar("stripe_meter_active", default=None)

#: The calls that run now, by the identity of the `Context` they came with.
running: Final[dict[int, Call]] = {}

#: What the author was told already.
_told: Final[set[str]] = set()


def current_call() -> Call:
    """The metered call that is running.

    It is seen in child tasks and in `asyncio.to_thread`. Threads of an executor, as of `loop.run_in_executor`, see it
    only when they are given `contextvars.copy_context().run`.

    Outside a call (a unit test, a direct call, after the answer) it is a detached call whose methods work and that
    bills nobody.
    """
    call = active.get()
    if call is not None and not call.ended:
        return call
    if call is not None:
        _tell_once(_TOO_LATE)
    elif running and _is_lost():
        _tell_once(_LOST)
    return Call("")


def _is_lost() -> bool:
    """Whether this is a thread that a tool may have started without its context."""
    if threading.current_thread() is threading.main_thread() or threads.in_loop():
        return False
    return not threads.is_worker()


def _tell_once(sentence: str) -> None:
    if sentence not in _told:
        _told.add(sentence)
        log.warning("%s", sentence)


_LOST: Final = (
    "current_call() was asked in a thread that belongs to no call, so what is counted there is not billed; "
    "start it with asyncio.to_thread(…), or give the executor contextvars.copy_context().run"
)
_TOO_LATE: Final = (
    "current_call() was asked after its call had been answered, so what is counted there is not billed; "
    "count before the tool returns"
)


class Ahead(NamedTuple):
    """The decision on a call, taken before its tool was entered."""

    engine: Engine
    tool: Tool
    verdict: Admission | Refusal


class Refused(NamedTuple):
    """A refusal that the framework could take only as text, and whether the client may still be asked."""

    refusal: Refusal
    may_ask: bool


class Exchange:
    """One `tools/call` message from its arrival, when it is made, to its answer, when it is to be closed.

    The charge is held here until the framework has made an answer of what the tool returned: an answer that the
    client sees as an error is never charged.

    Attributes:
        tool: The name the client called.
        engine: Whose server is answering, or the one that bills in its place in a test.
        biller: The engine that bills whatever was last served by it; None where somebody has to look who bills.
        sold: The tool without decorator that the price list sells under this name, or None.
        answered: Set to True once there is an answer that the client will not see as an error or as a question.
        is_free: True when that tool is known to be sold for nothing, so nothing below it is charged.
        entered: True once a metered tool has taken this exchange as its own.
        receipt: What the client is told, once the exchange is closed.
        charged: What was charged, once the exchange is closed.
        status: Whether Stripe has it, `pending` or `delivered`.
        ahead: The decision on this call, where a framework leaves no time for it inside the tool.
        refused: What the tool raised as text, for the adapter that can say more.
        is_closed: True once it was answered; what goes on in a copy of its context is no part of it.
    """

    # Slots, not defaults of the class: CPython 3.11 looks those up slowly, and every call reads a dozen of them.
    __slots__ = (
        "_held",
        "_token",
        "ahead",
        "answered",
        "biller",
        "charged",
        "engine",
        "entered",
        "is_closed",
        "is_free",
        "receipt",
        "refused",
        "sold",
        "status",
        "tool",
    )

    def __init__(self, tool: str, engine: Engine, is_free: bool = False, sold: Declaration | None = None) -> None:
        self.tool = tool
        self.engine = engine
        self.biller = None if override.engine is not None else engine
        self.is_free = is_free
        self.sold = sold
        self.answered = False
        self.entered = False
        self.receipt: Receipt | None = None
        self.ahead: Ahead | None = None
        self.refused: Refused | None = None
        self.charged: tuple[Admission, ...] = ()
        self.status = "pending"
        self._held: tuple[tuple[Admission, int | None], ...] = ()
        self.is_closed = False
        self._token = exchange.set(self)

    def close(self) -> None:
        """Charge what is held if the client gets an answer without error, or the author charges always.

        More than one call is held only where an undecorated tool passed its `Context` on to several metered ones.
        """
        exchange.reset(self._token)
        self.is_closed = True
        if self.ahead is not None and not isinstance(self.ahead.verdict, Refusal):
            self.ahead.verdict.release()
        for admission, units in self._held:
            if units is not None and (self.answered or admission.tool.charges_always):
                self.receipt = admission.settle(units)
                self.charged += (admission,)
            else:
                free = admission.release()
                self.receipt = self.receipt or free

    async def delivered(self) -> None:
        """Wait, within the flusher's deadline, until Stripe has what was charged."""
        if all([await admission.delivered() for admission in self.charged]):
            self.status = "delivered"

    def bill_by(self, engine: Engine) -> None:
        """Let a test's engine answer: its Checkout leads to the pages of this server."""
        if self.engine is not engine:
            engine.routes, self.engine = self.engine.routes, engine

    def prepare(self, engine: Engine, tool: Tool, verdict: Admission | Refusal) -> None:
        """Keep a decision until the tool is entered, or until it turns out that it never was."""
        self.ahead = Ahead(engine, tool, verdict)

    def decided(self, engine: Engine, tool: Tool) -> Admission | Refusal | None:
        """The decision on this very tool, once; None when there is none."""
        ahead = self.ahead
        if ahead is None or ahead.engine is not engine or ahead.tool is not tool:
            return None
        self.ahead = None
        return ahead.verdict

    def hold(self, admission: Admission, units: int | None) -> None:
        """Keep a finished call until its answer is known; `units` is None when it is free."""
        if self.is_closed:  # a thread outlived its request, whose caller has been told that the call failed
            if units is not None and admission.tool.charges_always:
                admission.settle(units)
            else:
                admission.release()
        else:
            self._held += ((admission, units),)


class Below:
    """A `tools/call` that another attached server hands down to a mounted one, within its own exchange."""

    __slots__ = ("_token", "answered", "around", "engine", "sold", "tool")

    receipt: Receipt | None = None  # the exchange around it has one
    charged: tuple[Admission, ...] = ()
    entered = True
    status = "pending"

    def __init__(self, tool: str, engine: Engine, sold: Declaration | None, around: Exchange) -> None:
        self.tool = tool
        self.engine = engine
        self.sold = sold
        self.answered = False
        self.around = around
        around.biller = None
        self._token = below.set(self)

    def close(self) -> None:
        below.reset(self._token)

    async def delivered(self) -> None:
        """Nothing was charged here."""


#: How the mounted server was called that runs the tool, where it is not the one that answers the client.
below: ContextVar[Below | None] = ContextVar("stripe_meter_below", default=None)

#: The message being answered on an attached server, or None elsewhere.
exchange: ContextVar[Exchange | None] = ContextVar("stripe_meter_exchange", default=None)
