"""An attached server with several tools: which of them is billed, what the list says, what a call costs Stripe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from mcp import Client
from mcp.server.mcpserver import Context, MCPServer

from stripe_meter.emulator import EmulatorServer
from stripe_meter.enforcement.engine import Engine
from stripe_meter.mcp.attach import attach
from stripe_meter.mcp.decorator import current_call, metered
from tests.mcp.steps import RECEIPT, Billed, summarizer, text_of, tool_of

pytestmark = pytest.mark.anyio


@pytest.mark.usefixtures("local_key")
async def test_a_call_through_the_server_object_is_metered(framework: Any, engine: Engine, billed: Billed) -> None:
    """It reaches no middleware of the SDK, but it is a call of the server, as that of a client is."""
    server = summarizer(framework, engine)

    result = await server.call_tool("summarize", {})
    assert text_of(result) == "done"
    assert billed() == {"summarize": 1}


@pytest.mark.usefixtures("local_key")
async def test_a_draining_process_answers_after_delivery(
    framework: Any, engine: Engine, stripe: EmulatorServer
) -> None:
    """Nothing is answered that a process about to end could still lose."""
    server = framework.server()
    attach(engine, server)

    @tool_of(server)
    @metered("$0.05")
    def summarize() -> str:
        return "done"

    async with framework.client(server) as client:
        await client.call("summarize")
        engine.flush()
        engine.thread.hurry()
        await client.call("summarize")
        assert (engine.stats().accepted, engine.stats().pending) == (2, 0)


@pytest.mark.usefixtures("local_key")
async def test_only_the_outermost_tool_is_charged(framework: Any, engine: Engine, billed: Billed) -> None:
    """A tool that uses another one pays it out of its own price, and does not take over its units."""
    server = framework.server()
    attach(engine, server)

    @tool_of(server)
    @metered("$0.01 per word")
    async def inner() -> str:
        current_call().add(500)
        return "inner"

    @tool_of(server)
    @metered("$1 per row")
    async def outer() -> str:
        current_call().add(2)
        await inner()
        await server.call_tool("inner", {})
        return "outer"

    @tool_of(server)
    async def free() -> str:
        return await inner()

    async with framework.client(server) as client:
        assert (await client.call("outer")).meta[RECEIPT]["quantity"] == 2
        assert RECEIPT not in ((await client.call("free")).meta or {})
    assert billed() == {"outer": 2}


async def test_a_free_tool_passing_its_context_on_gives_nothing_to_pay(engine: Engine) -> None:
    """The client called the free tool, and attach knows that it is free."""
    server = MCPServer("tools")
    attach(engine, server)

    @tool_of(server)
    @metered("$0.05")
    async def inner(ctx: Context) -> str:
        return "inner"

    @tool_of(server)
    async def free(seldom_used: str, ctx: Context) -> str:
        return await inner(ctx=ctx)

    async with Client(server) as client:
        result = await client.call_tool("free", {"seldom_used": ""})
    assert result.is_error is False


@pytest.mark.usefixtures("local_key")
async def test_a_free_price_runs_for_everybody(framework: Any, engine: Engine, billed: Billed) -> None:
    """It is part of what is sold, for nothing."""
    server = framework.server()
    attach(engine, server)

    @tool_of(server)
    @metered("free")
    async def ping() -> str:
        return "pong"

    async with framework.client(server) as client:
        assert (await client.call("ping")).meta[RECEIPT]["charged"] is False
    assert billed() == {}


async def test_billing_switched_off_runs_tools_free(framework: Any, make_engine: Callable[..., Engine]) -> None:
    """No key, no Stripe, no refusal; what a tool adds goes nowhere."""
    server = framework.server()
    attach(make_engine(enabled=False), server)

    @tool_of(server)
    @metered("$0.01 per word")
    def write() -> str:
        current_call().add(3)
        return "text"

    async with framework.client(server) as client:
        assert text_of(await client.call("write")) == "text"


@pytest.mark.usefixtures("local_key")
async def test_the_list_of_tools_shows_prices(framework: Any, engine: Engine) -> None:
    """An agent can compare before it calls; undecorated tools say nothing."""
    server = framework.server()
    attach(engine, server)

    @tool_of(server)
    @metered(("$0.05 per started 10 rows", "€0.04 per started 10 rows"))
    async def query(rows: int) -> str:
        return str(rows)

    @tool_of(server)
    async def free() -> str:
        return ""

    async with framework.client(server) as client:
        tools = await client.tools()
    price = tools["query"].meta["stripe-meter/price"]
    assert price["text"] == "$0.05 per started 10 rows or €0.04 per started 10 rows"
    assert price["rates"][1] == {
        "kind": "money",
        "amount": "4",
        "currency": "eur",
        "per": 10,
        "unit": "row",
        "started": True,
    }
    assert "stripe-meter/price" not in (tools["free"].meta or {})


@pytest.mark.usefixtures("local_key")
async def test_a_warm_call_asks_stripe_nothing(framework: Any, engine: Engine, stripe: EmulatorServer) -> None:
    """Only the first call of a caller costs requests."""
    server = framework.server()
    attach(engine, server)

    @tool_of(server)
    @metered("$0.05")
    def summarize() -> str:
        return ""

    async with framework.client(server) as client:
        await client.call("summarize")
        assert engine.flush()
        before = [r.path for r in stripe.emulator.log.records if r.method == "GET"]
        for _ in range(5):
            await client.call("summarize")
        after = [r.path for r in stripe.emulator.log.records if r.method == "GET"]
    assert after == before


@pytest.mark.usefixtures("local_key")
async def test_the_authors_own_call_says_nothing_of_how_the_server_is_served(
    framework: Any, engine: Engine, billed: Billed
) -> None:
    """A smoke test at the start of an HTTP server must not give it the short deadline of stdio."""
    server = summarizer(framework, engine)

    of_a_server = engine.thread.deadline
    await server.call_tool("summarize", {})
    assert engine.thread.deadline == of_a_server
    async with framework.client(server) as client:
        engine._callers._known.clear()
        await client.call("summarize")
    assert engine.thread.deadline < of_a_server
    assert billed() == {"summarize": 2}
