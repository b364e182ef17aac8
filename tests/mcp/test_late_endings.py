"""Calls that end after their tool was entered in another way than by returning: timeouts, and coroutines of `def`."""

from __future__ import annotations

import logging
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import fastmcp
import pytest

from stripe_meter.enforcement.engine import Engine
from stripe_meter.mcp.attach import attach
from stripe_meter.mcp.decorator import current_call, metered
from tests.mcp.steps import Billed

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("local_key")]


class Billing:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine


def how_billed(how: str, engine: Engine, server: Any) -> Billing | None:
    """Attached to the server, or named at the decorator."""
    if how == "bare":
        return Billing(engine)
    attach(engine, server)
    return None


@pytest.mark.parametrize("how", ["attached", "bare"])
async def test_a_call_that_ran_out_of_time_costs_nothing(how: str, engine: Engine, billed: Billed) -> None:
    """FastMCP gives up on a tool after its `timeout=`, and the client sees an error."""
    server = fastmcp.FastMCP("tools")
    billing = how_billed(how, engine, server)

    @server.tool(timeout=0.3)
    @metered("$0.05", billing=billing)
    async def slow(seconds: float) -> str:
        await anyio.sleep(seconds)
        return "done"

    async with fastmcp.Client(server) as client:
        assert not (await client.call_tool("slow", {"seconds": 0}, raise_on_error=False)).is_error
        assert (await client.call_tool("slow", {"seconds": 60}, raise_on_error=False)).is_error
    assert billed() == {"slow": 1}


@pytest.mark.parametrize("how", ["attached", "bare"])
async def test_a_thread_that_outlived_its_time_costs_nothing(how: str, engine: Engine, billed: Billed) -> None:
    """A thread cannot be ended; it returns a result that nobody gets."""
    server = fastmcp.FastMCP("tools")
    billing = how_billed(how, engine, server)
    go_on, returned = threading.Event(), threading.Event()

    @server.tool(timeout=0.3)
    @metered("$0.05", billing=billing)
    def slow() -> str:
        try:
            go_on.wait(10)
            return "done"
        finally:
            returned.set()

    async with fastmcp.Client(server) as client, anyio.create_task_group() as group:

        async def call() -> None:
            assert (await client.call_tool("slow", {}, raise_on_error=False)).is_error

        async def release() -> None:
            await anyio.sleep(0.5)  # longer than the tool may take
            go_on.set()

        group.start_soon(call)
        group.start_soon(release)
    assert await anyio.to_thread.run_sync(returned.wait, 10)
    assert billed() == {}


@pytest.mark.parametrize("how", ["attached", "bare"])
async def test_a_def_tool_that_returns_a_coroutine_is_charged_for_its_result(
    how: str, engine: Engine, billed: Billed
) -> None:
    """FastMCP awaits it; what it adds and whether it fails is known only then."""
    server = fastmcp.FastMCP("tools")
    billing = how_billed(how, engine, server)

    async def work(fails: bool) -> str:
        current_call().add(3)
        if fails:
            raise RuntimeError("out of order")
        return "done"

    @server.tool()
    @metered("$0.01 per word", billing=billing)
    def later(fails: bool) -> Awaitable[str]:
        return work(fails)

    async with fastmcp.Client(server) as client:
        assert not (await client.call_tool("later", {"fails": False}, raise_on_error=False)).is_error
        assert (await client.call_tool("later", {"fails": True}, raise_on_error=False)).is_error
    assert billed() == {"later": 3}


async def test_a_draining_process_answers_such_a_call_after_delivery(engine: Engine) -> None:
    """As it does any other."""
    server = fastmcp.FastMCP("tools")

    async def work() -> str:
        return "done"

    @server.tool()
    @metered("$0.05", billing=Billing(engine))
    def later() -> Awaitable[str]:
        return work()

    async with fastmcp.Client(server) as client:
        await client.call_tool("later", {})
        engine.flush()
        engine.thread.hurry()
        await client.call_tool("later", {})
        assert (engine.stats().accepted, engine.stats().pending) == (2, 0)


async def test_a_tool_that_cannot_wait_for_delivery_says_so_once(
    make_engine: Callable[..., Engine], api_key: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Under `sync` the author counts on it that an answered call is delivered."""
    engine = make_engine(durability="sync")
    server = fastmcp.FastMCP("tools")

    @server.tool(run_in_thread=False)
    @metered("$0.05", billing=Billing(engine))
    def quick() -> str:
        return "done"

    with caplog.at_level(logging.WARNING, "stripe_meter"):
        async with fastmcp.Client(server) as client:
            for _ in range(3):
                await client.call_tool("quick", {})
    assert ["is not kept for tool 'quick'" in record.getMessage() for record in caplog.records].count(True) == 1
