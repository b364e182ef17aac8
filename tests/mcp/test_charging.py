"""Calls through a real client, an attached server and the emulator: what is charged, and what the client is told."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
from mcp import Client
from mcp.server.mcpserver import MCPServer
from mcp.types import CallToolResult, TextContent

from stripe_meter.domain.usage import Call
from stripe_meter.enforcement.engine import Engine
from stripe_meter.mcp.attach import attach
from stripe_meter.mcp.decorator import current_call, metered
from tests.mcp.steps import RECEIPT, Billed, text_of, tool_of

pytestmark = pytest.mark.anyio


@pytest.mark.usefixtures("local_key")
async def test_a_successful_call_is_charged_and_has_a_receipt(framework: Any, engine: Engine, billed: Billed) -> None:
    """The receipt says what Stripe is told."""
    server = framework.server()
    attach(engine, server)

    @tool_of(server)
    @metered("$0.05")
    async def summarize(url: str) -> str:
        return url.upper()

    async with framework.client(server) as client:
        result = await client.call("summarize", url="u")
    assert text_of(result) == "U"
    receipt = result.meta[RECEIPT]
    assert receipt["charged"] is True
    assert (receipt["quantity"], receipt["amount"], receipt["currency"]) == (1, "5", "usd")
    assert billed() == {"summarize": 1}


@pytest.mark.usefixtures("local_key")
async def test_a_sync_tool_is_charged_like_an_async_one(framework: Any, engine: Engine, billed: Billed) -> None:
    """Its cold admission happens in the framework's worker thread."""
    server = framework.server()
    attach(engine, server)

    @tool_of(server)
    @metered("$0.01 per word", units=lambda call: len(call.result.split()), max_units=4)
    def write(text: str) -> str:
        return text

    async with framework.client(server) as client:
        assert (await client.call("write", text="a b c")).meta[RECEIPT]["quantity"] == 3
        assert (await client.call("write", text="a b c d e f")).meta[RECEIPT]["quantity"] == 4
    assert billed() == {"write": 7}


async def test_an_unpaid_call_is_refused_with_price_and_link(framework: Any, engine: Engine, billed: Billed) -> None:
    """Text for people, data for agents, and no structured content that a strict client would choke on."""
    server = framework.server()
    attach(engine, server)

    @tool_of(server)
    @metered("$0.05")
    async def summarize(url: str) -> str:
        raise AssertionError("a refused tool does not run")

    async with framework.client(server) as client:
        result = await client.call("summarize", url="u")
    data = result.meta["stripe-meter/payment-required"]
    assert result.is_error is True
    assert result.structured_content is None
    assert data["checkout_url"] in text_of(result)
    assert "$0.05 a call" in text_of(result)
    assert RECEIPT not in result.meta
    assert billed() == {}


async def test_a_bare_decorator_refuses_too(framework: Any, engine: Engine) -> None:
    """Without attach there are no receipts and no prices in the list, but nothing is given away."""
    server = framework.server()

    class Billing:
        def __init__(self, engine: Engine) -> None:
            self.engine = engine

    @tool_of(server)
    @metered("$0.05", billing=Billing(engine))
    def summarize(url: str) -> str:
        raise AssertionError("a refused tool does not run")

    async with framework.client(server) as client:
        result = await client.call("summarize", url="u")
    assert result.is_error is True
    assert "stripe-meter/payment-required" in result.meta


@pytest.mark.usefixtures("local_key")
async def test_work_that_failed_is_free(framework: Any, engine: Engine, billed: Billed) -> None:
    """Exceptions, error results, cancelled charges and answers that the framework could not deliver."""
    server = framework.server()
    attach(engine, server)

    @tool_of(server)
    @metered("$0.05")
    async def raises() -> str:
        raise ValueError("secret")

    @tool_of(server)
    @metered("$0.05")
    def raises_in_thread() -> str:
        raise ValueError("secret")

    @tool_of(server)
    @metered("$0.05")
    async def says_error() -> CallToolResult:
        return CallToolResult(content=[TextContent(type="text", text="no")], is_error=True)

    @tool_of(server)
    @metered("$0.05")
    async def lets_go() -> str:
        current_call().cancel()
        return "on the house"

    async with framework.client(server) as client:
        for name in ("raises", "raises_in_thread", "says_error"):
            assert (await client.call(name)).is_error is True
        free = await client.call("lets_go")
    assert free.meta[RECEIPT] == {"tool": "lets_go", "charged": False}
    assert billed() == {}


@pytest.mark.usefixtures("local_key")
async def test_a_result_that_the_sdk_cannot_deliver_is_free(engine: Engine, billed: Billed) -> None:
    """The tool returned, but the client was told that it failed."""
    server = MCPServer("tools")
    attach(engine, server)

    @tool_of(server)
    @metered("$0.05")
    async def count() -> int:
        return "not a number"  # type: ignore[return-value]  # the mistake under test

    async with Client(server) as client:
        result = await client.call_tool("count", {})
    assert result.is_error is True
    assert result.meta is not None
    assert result.meta[RECEIPT] == {"tool": "count", "charged": False}
    assert billed() == {}


@pytest.mark.usefixtures("local_key")
async def test_a_cancelled_call_is_free(framework: Any, engine: Engine, billed: Billed) -> None:
    """The client went away before there was a result."""
    server = framework.server()
    attach(engine, server)
    started, ended = anyio.Event(), anyio.Event()

    @tool_of(server)
    @metered("$0.05")
    async def slow() -> str:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()
        return ""

    async with framework.client(server) as client:
        with anyio.move_on_after(10) as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(client.call, "slow")
                await started.wait()
                group.cancel_scope.cancel()
        assert not scope.cancelled_caught
        with anyio.fail_after(5):
            await ended.wait()
    assert billed() == {}


@pytest.mark.usefixtures("local_key")
async def test_a_cancelled_call_of_a_sync_tool_is_free(framework: Any, engine: Engine, billed: Billed) -> None:
    """Its thread cannot be stopped, but nobody is left to take the result."""
    server = framework.server()
    attach(engine, server)
    started, never, ended = anyio.Event(), threading.Event(), threading.Event()

    @tool_of(server)
    @metered("$0.05")
    def slow() -> str:
        anyio.from_thread.run_sync(started.set)
        for _ in range(1000):
            try:
                anyio.from_thread.check_cancelled()
            except asyncio.CancelledError:
                ended.set()
                break
            never.wait(0.01)
        return "done"

    async with framework.client(server) as client:
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(client.call, "slow")
                await started.wait()
                group.cancel_scope.cancel()
            assert await anyio.to_thread.run_sync(ended.wait, 5)
    assert billed() == {}


@pytest.mark.usefixtures("local_key")
async def test_a_tool_counts_its_units_while_it_runs(framework: Any, engine: Engine, billed: Billed) -> None:
    """`current_call()` reaches sync and async tools alike."""
    server = framework.server()
    attach(engine, server)

    @tool_of(server)
    @metered("$0.01 per row")
    async def query(rows: int) -> str:
        for _ in range(rows):
            current_call().add()
        return "done"

    @tool_of(server)
    @metered("$1 per started 1000 rows")
    def export(rows: int) -> str:
        call = current_call()
        assert call.arguments == {"rows": rows}
        call.add(rows)
        return "done"

    async with framework.client(server) as client:
        assert (await client.call("query", rows=3)).meta[RECEIPT]["text"] == "$0.03"
        assert (await client.call("export", rows=1001)).meta[RECEIPT]["text"] == "$2.00"
        assert (await client.call("query", rows=0)).meta[RECEIPT]["charged"] is False
    assert billed() == {"query": 3, "export": 2}


def broken(call: Call) -> int:
    raise KeyError(call.tool)


def never_whole(call: Call) -> int:
    return 1.5  # type: ignore[return-value]  # the mistake under test


@pytest.mark.usefixtures("local_key")
@pytest.mark.parametrize(
    "units",
    [broken, never_whole, lambda call: -1, lambda call: True, None],
    ids=["raises", "not whole", "negative", "a bool", "nothing counted"],
)
async def test_what_cannot_be_counted_is_free_and_said_once(
    framework: Any, engine: Engine, billed: Billed, caplog: pytest.LogCaptureFixture, units: Any
) -> None:
    """Doubt is settled for the customer; the result is delivered; the author reads why."""
    server = framework.server()
    attach(engine, server)

    @tool_of(server)
    @metered("$0.01 per word", units=units)
    async def write() -> str:
        return "text"

    with caplog.at_level(logging.WARNING, logger="stripe_meter"):
        async with framework.client(server) as client:
            assert text_of(await client.call("write")) == "text"
            assert text_of(await client.call("write")) == "text"
    assert [record.name for record in caplog.records if "'write'" in record.getMessage()] == ["stripe_meter"]
    assert billed() == {}
