"""However a process ends, its usage arrives: real processes, Stripe reached by name and slow to answer."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stripe_meter.emulator import EmulatorServer
from stripe_meter.enforcement.engine import Engine
from tests.conftest import a_tool, pay

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("ending", "calls", "status"),
    [
        ("exit", 40, 0),
        ("exit, sigterm", 50, -signal.SIGTERM),
        ("exit, sigint", 50, 0),
        ("exception", 40, 1),
        ("sigterm", 40, -signal.SIGTERM),
        ("chained", 40, 0),
        ("undecided", 40, -signal.SIGTERM),
        ("holding locks", 40, -signal.SIGTERM),
        ("sighup", 40, -signal.SIGHUP),
        ("nohup", 40, 0),
        ("loop", 45, -signal.SIGTERM),
        ("loop, twice", 45, -signal.SIGTERM),
        ("fork", 60, 0),
        ("multiprocessing", 50, 0),
        ("thread", 50, 0),
        ("thread outlives main", 50, 0),
        ("close", 40, 0),
        ("closed, sigterm", 40, -signal.SIGTERM),
    ],
)
async def test_every_accepted_call_arrives_once(
    engine: Engine, stripe: EmulatorServer, ending: str, calls: int, status: int
) -> None:
    """Whatever ends a process, at whatever moment: what was served is paid, and the signal still has its effect."""
    caller = await pay(engine, stripe, a_tool())
    before = len(stripe.emulator.requests)
    # A name, not an address: at interpreter exit name look-ups need an executor that still takes work.
    url = stripe.url.replace("127.0.0.1", "localhost")
    stripe.emulator.faults.add(path="/v1/billing/meter_events", kind="slow", seconds=0.3, times=50)
    child = subprocess.Popen(  # noqa: ASYNC220  # the emulator has a thread of its own
        [sys.executable, "-m", "tests.enforcement.ending_child", url, ending, str(caller.api_key)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        out, err = child.communicate(timeout=30)
    finally:
        child.kill()
    stripe.settle()
    events = [record for record in stripe.emulator.requests[before:] if record.path == "/v1/billing/meter_events"]
    delivered = {r.body["identifier"]: int(r.body["payload"]["value"]) for r in events if r.status == 200}
    assert sum(delivered.values()) == calls, err
    assert len(delivered) == len(events), "an identifier was sent twice although Stripe had answered"
    assert child.returncode == status, err
    assert ("the author's handler ran" in out) == (ending == "chained")
    assert "ended with usage" not in err
