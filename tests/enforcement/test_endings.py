"""However a process ends, its usage arrives: real processes, Stripe reached by name and slow to answer."""

from __future__ import annotations

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
    ("ending", "calls"),
    [
        ("exit", 40),
        ("exception", 40),
        ("sigterm", 40),
        ("chained", 40),
        ("loop", 45),
        ("fork", 60),
        ("multiprocessing", 50),
        ("thread", 50),
        ("close", 40),
    ],
)
async def test_every_accepted_call_arrives_once(
    engine: Engine, stripe: EmulatorServer, ending: str, calls: int
) -> None:
    """Normal exit, exception, SIGTERM (also chained to the author's handler, also with tools running), fork."""
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
    assert ("the author's handler ran" in out) == (ending == "chained")
    assert "ended with usage" not in err
