"""What a metered `def` tool needs of the event loop while it runs in a worker thread.

Owns the way back to the loop. In a thread that is not the framework's there is none, nor on the loop itself, where the
SDK 1.x runs such tools and FastMCP those with `run_in_thread=False`: nothing can be cancelled then, and delivery is
left to the engine's own shutdown.
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


def wait_delivered(admission: Admission) -> None:
    """Wait, while the process drains, until Stripe has accepted this call."""
    import anyio.from_thread

    try:
        anyio.from_thread.run(admission.delivered)
    except RuntimeError:  # not a worker thread of anyio: the engine's shutdown delivers it
        return
