"""The call in progress, as seen from inside a tool and from around it.

Owns the two context variables of this edge: `active`, the metered call that is running, and `exchange`, the
`tools/call` message that is being answered on an attached server. Decides nothing about money. Contexts are copied
into worker threads and child tasks, so both are seen wherever the tool's code runs.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stripe_meter.domain.usage import Call, Receipt

if TYPE_CHECKING:
    from stripe_meter.enforcement.gate import Admission

#: The call that `current_call()` returns; whatever runs inside it is plain Python.
active: ContextVar[Call | None] = ContextVar("stripe_meter_active", default=None)


def current_call() -> Call:
    """The metered call that is running.

    Outside one (a unit test, a direct call) it is a detached call whose methods work and that bills nobody.
    """
    return active.get() or Call("")


@dataclass(slots=True)
class Exchange:
    """One `tools/call` message from its arrival to its answer.

    The charge is held here until the framework has made an answer of what the tool returned: an answer that the
    client sees as an error is never charged.

    Attributes:
        tool: The name the client called.
        is_free: True when that tool is known to be sold for nothing, so nothing below it is charged.
        entered: True once a metered tool has taken this exchange as its own.
        receipt: What the client is told, once the exchange is closed.
    """

    tool: str
    is_free: bool = False
    entered: bool = False
    receipt: Receipt | None = None
    _held: list[tuple[Admission, int | None]] = field(default_factory=list)
    _is_closed: bool = False

    def hold(self, admission: Admission, units: int | None) -> None:
        """Keep a finished call until its answer is known; `units` is None when it is free."""
        if self._is_closed:  # a thread outlived its request, whose caller has been told that the call failed
            admission.release()
        else:
            self._held.append((admission, units))

    def close(self, *, answered: bool) -> list[Admission]:
        """Charge what is held if the client gets an answer without error; returns what was charged.

        More than one call is held only where an undecorated tool passed its `Context` on to several metered ones.
        """
        self._is_closed = True
        charged = []
        for admission, units in self._held:
            if answered and units is not None:
                self.receipt = admission.settle(units)
                charged.append(admission)
            else:
                free = admission.release()
                self.receipt = self.receipt or free
        return charged


#: The message being answered on an attached server, or None elsewhere.
exchange: ContextVar[Exchange | None] = ContextVar("stripe_meter_exchange", default=None)
