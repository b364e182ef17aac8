"""What a finished call is charged: whether it succeeded, or is charged always, and for how many units.

Owns that decision and nothing else; the engine settles it. Doubt is settled for the customer: whatever cannot be
counted is free, the result is delivered all the same, and the author reads why in the log, once for each tool.
"""

from __future__ import annotations

import logging
import operator
from collections.abc import Hashable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, cast

from stripe_meter.mcp.calls import Exchange

if TYPE_CHECKING:
    from stripe_meter.domain.tools import Tool
    from stripe_meter.domain.usage import Call
    from stripe_meter.enforcement.gate import Admission
    from stripe_meter.mcp.declared import Declaration

#: What cannot say that a call failed; most tools return one of these.
PLAIN: Final = frozenset({str, int, float, bool, bytes, dict, list, tuple, type(None)})

log = logging.getLogger("stripe_meter")


def billable_units(declaration: Declaration, tool: Tool, call: Call, result: Any) -> int | None:
    """The units to charge for a call that returned `result`, or None when it is free."""
    if call.cancelled or (type(result) not in PLAIN and _is_free(tool, result)):
        return None
    if call.added is None and not tool.is_dynamic:
        return 1
    call.result = result
    return _units(declaration, tool, call)


def units_of_failure(declaration: Declaration, tool: Tool, call: Call, error: BaseException) -> int | None:
    """The units to charge for a call that raised or was cut off; None, unless the author charges always.

    A tool that raises a question to the client has not begun yet, so it is asked to be called again, not charged.
    """
    if not tool.charges_always or call.cancelled or "ElicitationRequired" in type(error).__name__:
        return None
    return _units(declaration, tool, call)


def _units(declaration: Declaration, tool: Tool, call: Call) -> int | None:
    if tool.units is not None:
        units = _counted(declaration, tool, call)
    elif call.added is not None:
        units = call.added
    elif tool.is_dynamic:
        if declaration.first_time("uncounted"):
            log.warning(
                "Tool %r costs %s but counted nothing, so its calls are free; call current_call().add(…) inside it "
                "or write units=lambda call: … in @metered.",
                tool.name,
                tool.price,
            )
        return None
    else:
        return 1
    if units is not None and tool.max_units is not None:
        return min(units, tool.max_units)
    return units


def _counted(declaration: Declaration, tool: Tool, call: Call) -> int | None:
    assert tool.units is not None
    try:
        counted: Any = tool.units(call)
        units = -1 if isinstance(counted, bool) else operator.index(counted)
    except Exception:
        if declaration.first_time("units"):
            log.exception("units= of tool %r failed, so the call is free; return a whole number.", tool.name)
        return None
    if units < 0:
        if declaration.first_time("units"):
            log.error("units= of tool %r returned %r, so the call is free; return 0 or more.", tool.name, counted)
        return None
    return units


def _is_free(tool: Tool, result: Any) -> bool:
    """Whether `result` is a question to the client, or the error of a tool that charges for success only."""
    if not _is_answer(cast("Hashable", type(result))):
        return False
    return "InputRequired" in type(result).__name__ or (_is_error(result) and not tool.charges_always)


def _is_error(result: Any) -> bool:
    said = getattr(result, "is_error", None)
    return bool(getattr(result, "isError", False) if said is None else said)  # the SDK 1.x spells it as the wire does


@lru_cache(maxsize=512)
def _is_answer(kind: Any) -> bool:
    """True for the frameworks' own result classes, which can say that the call failed or needs input."""
    return any(
        base.__name__ in {"CallToolResult", "ToolResult", "InputRequiredResult"}
        and base.__module__.partition(".")[0] in {"mcp", "mcp_types", "fastmcp"}
        for base in kind.__mro__
    )


def finish(exchange: Exchange | None, admission: Admission, units: int | None) -> None:
    """Settle or release; on an attached server only once the framework's answer is known."""
    if exchange is not None:
        exchange.hold(admission, units)
    elif units is None:
        admission.release()
    else:
        admission.settle(units)


def say_unkept(declaration: Declaration) -> None:
    """Say once for each tool that it cannot answer after delivery, although `durability` says so."""
    if declaration.first_time("unkept"):
        log.warning(
            'durability="sync" is not kept for tool %r: it is a def that runs on the event loop, which must not wait '
            "for Stripe; write it as async def, or attach the server",
            declaration.tool.name,
        )
