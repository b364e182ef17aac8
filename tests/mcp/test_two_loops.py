"""One server object that two threads serve, each with a loop of its own, as some test runners and notebooks do."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import Any

import pytest

from stripe_meter.emulator import EmulatorServer
from stripe_meter.enforcement.engine import Engine
from tests.mcp.steps import Billed, summarizer, text_of

pytestmark = pytest.mark.anyio

LOOPS = 3


@pytest.mark.usefixtures("local_key")
async def test_the_first_check_is_made_in_every_loop(
    framework: Any, engine: Engine, stripe: EmulatorServer, billed: Billed
) -> None:
    """All first messages come while Stripe is slow: none waits for what only another thread's loop could tell it."""
    server = summarizer(framework, engine)

    async def called() -> str:
        async with asyncio.timeout(30), framework.client(server) as client:
            return text_of(await client.call("summarize"))

    together = threading.Barrier(LOOPS)
    answers: list[Future[str]] = [Future() for _ in range(LOOPS)]

    def serve(answer: Future[str]) -> None:
        together.wait()
        try:
            answer.set_result(asyncio.run(called()))
        except BaseException as error:
            answer.set_exception(error)

    stripe.emulator.faults.add(kind="slow", path="/v1", seconds=0.5, times=3)
    for answer in answers:
        threading.Thread(target=serve, args=(answer,), daemon=True).start()
    assert [await asyncio.wrap_future(answer) for answer in answers] == ["done"] * LOOPS
    assert billed() == {"summarize": LOOPS}
