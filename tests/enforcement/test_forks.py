"""A process that forks while its threads are busy: the child serves on its own."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from stripe_meter.domain.identity import Caller
from stripe_meter.domain.plans import Free, PayAsYouGo
from stripe_meter.domain.tools import Tool
from stripe_meter.emulator import EmulatorServer
from stripe_meter.enforcement.counters import Counter
from stripe_meter.enforcement.engine import Engine
from stripe_meter.enforcement.gate import Admission
from tests.conftest import a_tool, pay, stranger, with_key

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
]


async def in_child(work: Callable[[], bool]) -> bool:
    """What `work` returns in a forked child, which ends with it."""
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            os._exit(0 if work() else 1)
        except BaseException:
            traceback.print_exc()
            os._exit(2)
    _, status = await asyncio.to_thread(os.waitpid, child, 0)
    return os.waitstatus_to_exitcode(status) == 0


async def not_read_yet(make_engine: Callable[..., Engine], stripe: EmulatorServer) -> tuple[Tool, Caller, Engine]:
    """A tool, somebody who pays for it, and an engine that serves it and does not know them yet."""
    tool = a_tool()
    caller = await pay(make_engine(), stripe, tool)
    engine = make_engine()
    await engine.admit(tool, stranger())
    return tool, caller, engine


async def until(is_so: Callable[[], Any]) -> None:
    for _ in range(2000):
        if is_so():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never came to that")


async def test_a_customer_who_is_being_read_is_served_in_the_child(
    make_engine: Callable[..., Engine], stripe: EmulatorServer
) -> None:
    """The read belongs to a loop that the child has not, so waiting for it would fail all calls of that customer."""
    tool, caller, engine = await not_read_yet(make_engine, stripe)
    stripe.emulator.faults.add(path="/v1/customers", kind="slow", seconds=1.0, times=1)
    reading = asyncio.create_task(engine.admit(tool, caller))
    await until(lambda: engine._accounts._reading)

    def served() -> bool:
        return all(isinstance(engine.admit_blocking(tool, caller), Admission) for _ in range(2))

    assert await in_child(served)
    assert isinstance(await reading, Admission)


async def test_a_key_that_is_being_looked_up_is_served_in_the_child(
    make_engine: Callable[..., Engine], stripe: EmulatorServer
) -> None:
    """Unknown keys are looked up a few at a time; those of the parent must not take the child's turns."""
    tool, caller, engine = await not_read_yet(make_engine, stripe)
    stripe.emulator.faults.add(path="/v1/customers", kind="slow", seconds=1.0, times=5)
    wrong = [with_key(f"smk_cus_{'0' * 13}{n}_{'x' * 40}") for n in range(5)]
    looking = [asyncio.create_task(engine.admit(tool, one)) for one in wrong]
    await until(lambda: len(engine._callers._looking) == 5)
    assert await in_child(lambda: isinstance(engine.admit_blocking(tool, caller), Admission))
    await asyncio.gather(*looking)


async def test_a_counter_that_another_thread_holds_does_not_hang_the_child(
    make_engine: Callable[..., Engine], stripe: EmulatorServer
) -> None:
    """That thread is not in the child, so nobody there would ever let go of it."""
    engine = make_engine(PayAsYouGo(), Free(10), rate_limit="100/minute")
    tool = a_tool()
    caller = await pay(engine, stripe, tool)
    assert isinstance(await engine.admit(tool, caller), Admission)
    counters: list[Counter] = list(engine._decision._caps._counters._counters.values())
    held, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        for counter in counters:
            counter._lock.acquire()
        held.set()
        go_on.wait(20)
        for counter in counters:
            counter._lock.release()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(20)
    try:
        assert counters
        assert await in_child(lambda: engine.admit_warm(tool, caller) is not None)
    finally:
        go_on.set()
        thread.join()
