"""What a metered `def` tool needs of the event loop while it runs in a worker thread.

Owns the way back to the loop. In a thread that is not the framework's there is none, nor on the loop itself, where the
SDK 1.x runs such tools and FastMCP those with `run_in_thread=False`: nothing can be cancelled then, and on the loop
nothing can wait for delivery, which is left to the engine's own shutdown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stripe_meter.enforcement.gate import Admission


def raise_if_cancelled() -> None:
    """Raise the framework's cancellation where the caller of this thread's tool has gone away meanwhile."""
    import anyio.from_thread

    try:
        anyio.from_thread.check_cancelled()
    except RuntimeError:  # not a worker thread of anyio
        return


def in_loop() -> bool:
    """Whether an event loop runs this very code."""
    import asyncio  # here and below, for it takes 30 ms where no framework has loaded it yet

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def is_worker() -> bool:
    """Whether this is a thread of the framework, which runs in a copy of the context of its request."""
    import anyio.from_thread

    try:
        anyio.from_thread.check_cancelled()
    except RuntimeError:
        return False
    except BaseException:  # cancelled, as only such a thread can be
        return True
    return True


def wait_delivered(admission: Admission) -> bool:
    """Wait until Stripe has accepted this call; False on an event loop, which must not be held up."""
    import asyncio

    import anyio.from_thread

    try:
        anyio.from_thread.run(admission.delivered)
    except RuntimeError:  # not a worker thread of anyio
        if in_loop():
            return False
        asyncio.run(admission.delivered())
    return True
