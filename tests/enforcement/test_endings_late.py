"""What an end says and refuses: the books over what is left, calls that come late, a process that lives on."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from stripe_meter.domain.plans import CreditPack, Credits
from stripe_meter.domain.refusals import Refusal
from stripe_meter.emulator import EmulatorServer
from stripe_meter.enforcement.engine import Engine
from stripe_meter.enforcement.flusher import thread as stripe_thread
from stripe_meter.enforcement.gate import Admission
from stripe_meter.errors import StripeUnavailable
from tests.conftest import a_tool, pay
from tests.enforcement.test_engine import admitted

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]
EVENTS = "/v1/billing/meter_events"


def left(log: str) -> dict[str, int]:
    """Units by customer, from all lines that say what a process ended without; nobody may be named twice."""
    found = re.findall(r"(\d+) on mcp\.summarize of (cus_\w+)", log)
    assert max(Counter(customer for _, customer in found).values(), default=1) == 1, log
    return {customer: int(units) for units, customer in found}


@pytest.mark.parametrize("ending", ["exit", "sigterm", "sigterm, exit", "sigterm, again"])
async def test_what_a_deadline_leaves_is_logged_to_the_unit(stripe: EmulatorServer, ending: str) -> None:
    """Who has to bill by hand what Stripe never took needs every customer, of all engines, at every ending, once."""
    stripe.emulator.faults.add(path=EVENTS, kind="slow", seconds=60, times=1000)
    child = [sys.executable, "-m", "tests.enforcement.unheard_child", stripe.url, ending]
    done = await asyncio.to_thread(subprocess.run, child, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert left(done.stderr) == {f"cus_{number}": 1 + number for number in range(3 * 70)}, done.stderr
    assert done.returncode == 0, done.stderr
    seconds, of_all = (float(part) for part in done.stdout.split())
    assert seconds < of_all, "several engines, or a signal and what follows it, waited one after the other"


async def test_a_name_that_is_looked_up_for_long_holds_no_ending(
    make_engine: Callable[..., Engine], stripe: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resolver that is down answers after half a minute, and whoever sent SIGTERM kills long before that."""
    engine = make_engine(emulator=stripe.url.replace("127.0.0.1", "localhost"))
    asked, may_answer, told, look_up = threading.Event(), threading.Event(), threading.Event(), socket.getaddrinfo

    def slowly(*args: Any, **kwargs: Any) -> Any:
        asked.set()
        may_answer.wait(60.0)
        return look_up(*args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", slowly)
    try:
        engine.thread.add("cus_1", "mcp.summarize", 1, Decimal(5))
        assert await asyncio.to_thread(asked.wait, 30.0)
        engine.thread.see_off(time.monotonic() + 0.2, told.set)
        assert await asyncio.to_thread(told.wait, 30.0)
        assert engine.stats().pending == 1
    finally:
        may_answer.set()


async def test_nobody_is_served_after_close(
    engine: Engine, stripe: EmulatorServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A call that nobody can bill any more is refused at once, also one that memory alone would have let in."""
    tool = a_tool()
    caller = await pay(engine, stripe, tool)
    assert isinstance(await engine.admit(tool, caller), Admission)
    assert engine.admit_warm(tool, caller) is not None
    engine.close()
    assert engine.admit_warm(tool, caller) is None
    assert isinstance(await engine.admit(tool, caller), Refusal)
    assert isinstance(await asyncio.to_thread(engine.admit_blocking, tool, caller), Refusal)
    assert caplog.text.count("this server is shutting down") == 2
    assert "did not answer in time" not in caplog.text


async def test_an_engine_that_never_started_refuses_after_close(
    engine: Engine,
) -> None:
    """The first call of a server that is going down must not wait for a thread that nobody starts any more."""
    engine.close()
    with pytest.raises(StripeUnavailable, match="shutting down"):
        await engine.thread.call(lambda _: anyio.lowlevel.checkpoint(), 30.0)


async def test_a_call_that_ends_after_close_is_logged(
    engine: Engine, stripe: EmulatorServer, caplog: pytest.LogCaptureFixture
) -> None:
    """It was served and nobody can send it: to the unit and at once, for the process may be killed next."""
    tool = a_tool()
    caller = await pay(engine, stripe, tool)
    running = [await engine.admit(tool, caller) for _ in range(2)]
    engine.close()
    for admission, units in zip(running, (2, 3), strict=True):
        assert isinstance(admission, Admission)
        admission.settle(units)
    engine.close()
    said = [int(units) for units in re.findall(r"entries 1 to 1 of 1: (\d+) on mcp", caplog.text)]
    assert said == [2, 3]
    assert engine.stats().pending == 2


async def seen_off(engine: Engine) -> None:
    """SIGTERM came, and whoever heard it before us has let the process live."""
    told = threading.Event()
    engine.thread.see_off(time.monotonic() + 30.0, told.set)
    assert await asyncio.to_thread(told.wait, 60.0)


async def lives_on(engine: Engine) -> None:
    async with asyncio.timeout(60.0):
        while engine.stopping:  # noqa: ASYNC110  # another thread makes it false
            await asyncio.sleep(0.02)


async def test_a_process_that_lives_on_merges_again(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """An author's handler may swallow SIGTERM; then every call of that server would wait for Stripe for ever."""
    monkeypatch.setattr(stripe_thread, "AFTERLIFE", 0.5)
    await engine.thread.call(lambda _: anyio.lowlevel.checkpoint(), 30.0)
    await seen_off(engine)
    assert engine.stopping
    assert engine.thread.waits
    await lives_on(engine)
    assert not engine.thread.waits


async def test_a_process_that_lives_on_takes_credits_again(
    make_engine: Callable[..., Engine], stripe: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was held went back before the end that did not come; its customers are served after it, too."""
    engine, tool = make_engine(Credits([CreditPack(100, "$9.99", "Starter")])), a_tool(price="1 credit")
    caller = await pay(engine, stripe, tool)
    (await admitted(engine, tool, caller)).settle(1)
    monkeypatch.setattr(stripe_thread, "AFTERLIFE", 1.0)
    await seen_off(engine)
    await lives_on(engine)
    (await admitted(engine, tool, caller)).settle(1)


async def test_an_engine_of_a_thread_alone_says_what_sigterm_will_cost() -> None:
    """Python lets only the main thread hear signals; where nothing of ours ran there, the author has to know."""
    script = (
        "import threading\n"
        "from stripe_meter import StripeMeter\n"
        "thread = threading.Thread(target=lambda: [StripeMeter().engine for _ in range(2)])\n"
        "thread.start(); thread.join()\n"
    )
    child = [sys.executable, "-c", script]
    done = await asyncio.to_thread(subprocess.run, child, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stderr.count("will be lost on SIGTERM") == 1, done.stderr
    assert done.returncode == 0
