"""Copies of a call's context: what a tool starts outlives it, and threads of an executor have none."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import fastmcp
import pytest
from mcp.server.mcpserver import Context

from stripe_meter.emulator import EmulatorServer
from stripe_meter.enforcement.engine import Engine
from stripe_meter.mcp import calls, nesting
from stripe_meter.mcp.attach import attach
from stripe_meter.mcp.decorator import current_call, metered
from tests.mcp.steps import Billed, Make, sent, tool_of

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("local_key")]

both_ways = pytest.mark.parametrize("is_attached", [True, False], ids=["attached", "bare"])


class Billing:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage()[:41] for record in caplog.records if record.name == "stripe_meter"]


def context_of(framework: Any) -> Any:
    return fastmcp.Context if framework.name == "fastmcp" else Context


@both_ways
@pytest.mark.parametrize("is_sold_outside", [False, True], ids=["decorated", "outside"])
async def test_a_server_that_a_tool_has_started_bills_its_callers(
    framework: Any, make: Make, stripe: EmulatorServer, is_attached: bool, is_sold_outside: bool
) -> None:
    """It inherits the context of a call that is long over, and its callers are strangers to that call."""
    if is_sold_outside and not is_attached:
        pytest.skip("only an attached server sells tools without decorator")
    billing = make(prices={"dear": "$5"})
    first, second = framework.server(), framework.server()
    billing.attach(first)
    if is_attached:
        billing.attach(second)
    inherited: list[contextvars.Context] = []

    @tool_of(first)
    @metered("$0.05", billing=billing)
    async def start() -> str:
        inherited.append(contextvars.copy_context())
        return "started"

    async def dear() -> str:
        return "dear"

    tool_of(second)(dear if is_sold_outside else metered("$5", billing=billing)(dear))

    async def serve() -> bool:
        async with framework.client(second) as client:
            return not (await client.call("dear")).is_error

    async with framework.client(first) as client:
        await client.call("start")
    assert await asyncio.create_task(serve(), context=inherited[0])
    assert sent(stripe, billing) == {"start": 1, "dear": 1}


@both_ways
async def test_a_job_that_goes_on_after_its_call_costs_nothing_more(
    framework: Any, engine: Engine, billed: Billed, is_attached: bool
) -> None:
    """It was begun by a call that is paid; whether it is done before the answer must not change the price."""
    server = framework.server()
    billing = Billing(engine)
    if is_attached:
        attach(engine, server)
    go_on, jobs = asyncio.Event(), []
    kind = context_of(framework)

    async def step_of_a_job(ctx: Any) -> str:
        return "step"

    step_of_a_job.__annotations__["ctx"] = kind
    paid_step = metered("$0.05", billing=billing)(step_of_a_job)

    async def start(ctx: Any) -> str:
        async def job() -> str:
            await go_on.wait()
            return await paid_step(ctx=ctx)

        jobs.append(asyncio.create_task(job()))
        return "started"

    start.__annotations__["ctx"] = kind
    tool_of(server)(metered("$1", billing=billing)(start))
    async with framework.client(server) as client:
        await client.call("start")
        go_on.set()
        assert await jobs[0] == "step"
    assert billed() == {"start": 1}


@pytest.mark.parametrize("how", ["attached", "bare", "outside"])
async def test_a_tool_called_in_an_executor_by_another_one_costs_nothing_more(
    framework: Any, make: Make, stripe: EmulatorServer, how: str
) -> None:
    """Such a thread has no context, so it is the request that tells that the call is paid already."""
    server = framework.server()
    billing = make(prices={"outer": "$1"})
    if how != "bare":
        billing.attach(server)
    kind = context_of(framework)

    def in_a_thread(ctx: Any) -> str:
        return "inner"

    in_a_thread.__annotations__["ctx"] = kind
    paid_inner = metered("$0.05", billing=billing)(in_a_thread)

    def outer(ctx: Any) -> str:
        with ThreadPoolExecutor(1) as pool:
            return str(pool.submit(paid_inner, ctx=ctx).result())

    outer.__annotations__["ctx"] = kind
    tool_of(server)(outer if how == "outside" else metered("$1", billing=billing)(outer))
    async with framework.client(server) as client:
        assert not (await client.call("outer")).is_error
    assert calls.running == {}
    assert sent(stripe, billing) == {"outer": 1}


async def test_tools_that_a_free_one_calls_side_by_side_are_charged_each(
    framework: Any, engine: Engine, billed: Billed
) -> None:
    """They share a request, but neither was called by the other."""
    server = framework.server()
    billing = Billing(engine)
    kind = context_of(framework)
    together = asyncio.Barrier(2)

    def sold(name: str) -> Any:
        async def sold_beside(ctx: Any) -> str:
            await together.wait()
            return name

        sold_beside.__annotations__["ctx"] = kind
        return metered("$0.05", name=name, billing=billing)(sold_beside)

    one, other = sold("one"), sold("other")

    async def both(ctx: Any) -> str:
        return "".join(await asyncio.gather(one(ctx=ctx), other(ctx=ctx)))

    both.__annotations__["ctx"] = kind
    tool_of(server)(both)
    async with framework.client(server) as client:
        assert not (await client.call("both")).is_error
    assert billed() == {"one": 1, "other": 1}


async def test_counting_in_a_thread_without_a_context_is_told_once(
    framework: Any, engine: Engine, billed: Billed, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts for nobody, so the author has to hear of it; with its context it is billed."""
    monkeypatch.setattr(calls, "_told", set())
    server = framework.server()
    billing = Billing(engine)

    def count() -> None:
        current_call().add(10)

    @tool_of(server)
    @metered("$0.01 per word", billing=billing)
    async def words(is_copied: bool) -> str:
        current_call().add(1)
        work = contextvars.copy_context().run if is_copied else lambda work: work()
        await asyncio.get_running_loop().run_in_executor(None, work, count)
        return "done"

    with caplog.at_level(logging.WARNING, "stripe_meter"):
        async with framework.client(server) as client:
            for is_copied in (True, False, False):
                await client.call("words", is_copied=is_copied)
    assert billed() == {"words": 13}
    assert told(caplog) == ["current_call() was asked in a thread that"]


async def test_a_unit_test_of_a_tool_is_told_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Outside a server nothing is lost when nobody is billed, whichever thread it is."""
    thread = threading.Thread(target=lambda: current_call().add(1))
    thread.start()
    thread.join()
    assert told(caplog) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
async def test_a_process_that_a_tool_has_forked_begins_outside_of_its_call(
    framework: Any, engine: Engine, billed: Billed
) -> None:
    """What the child serves would be free for ever, for the call it has a copy of never ends there."""
    server = framework.server()
    attach(engine, server)

    @tool_of(server)
    @metered("$0.05")
    async def fork() -> int:
        child = os.fork()
        if child == 0:
            within = calls.exchange.get()
            is_outside = nesting.call_around(None) is None and within is not None and within.is_closed
            os._exit(0 if is_outside and not calls.running else 1)
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        return os.waitstatus_to_exitcode(status)

    async with framework.client(server) as client:
        assert str((await client.call("fork")).content[0].text) == "0"
    assert billed() == {"fork": 1}
