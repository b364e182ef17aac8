"""Whether a call of a metered tool is one of its own, or part of another one that is answered already by its charge.

Owns what counts of a context that was copied. Whatever a tool starts inherits its context and keeps it after the tool
has ended: a job that goes on, or a whole server, whose callers are strangers. So a call that has ended counts for its
own request only. And threads of an executor have no context at all, so there the request tells.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from stripe_meter.mcp import threads
from stripe_meter.mcp.caller import kept
from stripe_meter.mcp.calls import active, exchange, running

if TYPE_CHECKING:
    from stripe_meter.domain.usage import Call


def call_around(ctx: Any) -> Call | None:
    """The call that a context was copied from, as far as it counts for a tool that is called with `ctx`, or None."""
    around = active.get()
    if around is not None and around.ended and not _is_one_request(ctx, around.origin):
        return None
    return around


def keys_of(ctx: Any) -> tuple[int, ...]:
    """Under what a call is `running` that knows its request by another `Context` than its tool does."""
    # FastMCP's contexts of one request have only their state in common.
    shared = _request_of(ctx) or getattr(ctx, "_request_state", None)
    return (id(ctx),) if shared is None else (id(ctx), id(shared))


def call_left(ctx: Any) -> Call | None:
    """The running call that passed `ctx` on to a thread without a context, or None."""
    found = [running[key] for key in keys_of(ctx) if key in running]
    # In a loop, and in the framework's threads, contexts are copied: there it is called beside the other one.
    return found[0] if found and not threads.in_loop() and not threads.is_worker() else None


def _is_one_request(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return False
    request = _request_of(one)
    return one is other or (request is not None and request is _request_of(other))


def _request_of(ctx: Any) -> Any:
    """What all contexts of one request have in common, in the SDK's; FastMCP's property tells of the request of now."""
    return kept(ctx, "_request_context")


def _forked() -> None:
    """In a forked child nothing runs that its parent has begun, also if it was forked inside a tool."""
    for call in (*running.values(), active.get()):
        if call is not None:
            call.ended = True
    running.clear()
    within = exchange.get()
    if within is not None:
        within.is_closed = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
