"""What happens to usage when the machine's clock is set while a server runs."""

from __future__ import annotations

import asyncio
import time

import pytest

from stripe_meter.emulator import EmulatorServer
from stripe_meter.enforcement.engine import Engine
from tests.conftest import a_tool, pay

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("seconds", [3600.0, -7200.0])
async def test_usage_counts_although_the_wall_clock_was_set(
    engine: Engine, stripe: EmulatorServer, seconds: float
) -> None:
    """Stripe says yes to an event of the future and throws it away later, so such usage would be lost silently."""
    set_by = 0.0
    engine.thread.clock.follow(lambda: time.time() + set_by)
    tool = a_tool()
    caller = await pay(engine, stripe, tool)
    set_by = seconds
    for _ in range(100):
        admission = engine.admit_warm(tool, caller) or await engine.admit(tool, caller)
        admission.settle(1)  # type: ignore[union-attr]  # whoever has paid is admitted
    assert await asyncio.to_thread(engine.flush)
    stripe.settle()
    assert list(stripe.emulator.account.meter_errors) == []
    counted = [record for records in stripe.emulator.account.usage._records.values() for record in records]
    assert sum(record.value for record in counted) == 100
    assert all(abs(record.timestamp - stripe.emulator.clock.now()) < 60 for record in counted)
