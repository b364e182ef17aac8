"""URL elicitation: only where the client declares it, never in a loop, and the link is never lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from mcp import Client
from mcp.server.mcpserver import MCPServer
from mcp.types import ElicitRequestURLParams, ElicitResult

from stripe_meter.enforcement.engine import Engine
from stripe_meter.mcp.attach import attach
from stripe_meter.mcp.decorator import metered

pytestmark = pytest.mark.anyio

REQUIRED = "stripe-meter/payment-required"


def priced_server(engine: Engine) -> MCPServer:
    server = MCPServer("tools")
    attach(engine, server)

    @server.tool()
    @metered("$0.05")
    async def summarize() -> str:
        return "done"

    @server.tool()
    @metered("$0.05")
    def summarize_in_thread() -> str:
        return "done"

    return server


class Person:
    """Answers each question in the same way and remembers what was asked."""

    def __init__(self, answer: Callable[[], ElicitResult]) -> None:
        self.asked: list[str] = []
        self._answer = answer

    async def __call__(self, context: Any, params: Any) -> ElicitResult:
        assert isinstance(params, ElicitRequestURLParams)
        self.asked.append(params.url)
        return self._answer()


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize("tool", ["summarize", "summarize_in_thread"])
@pytest.mark.parametrize("action", ["accept", "decline", "cancel"])
async def test_the_link_is_offered_once_and_arrives_as_text(engine: Engine, mode: str, tool: str, action: Any) -> None:
    """Accepting means that the link is being opened, not that it was paid: the retry gets the text."""
    person = Person(lambda: ElicitResult(action=action))
    async with Client(priced_server(engine), mode=mode, elicitation_callback=person) as client:
        refused = await client.call_tool(tool, {})
    assert refused.meta is not None
    assert person.asked == [refused.meta[REQUIRED]["checkout_url"]]
    assert refused.is_error is True


async def test_a_session_is_not_asked_twice_for_the_same_link(engine: Engine) -> None:
    """An agent that retries would otherwise open a window each time."""
    person = Person(lambda: ElicitResult(action="decline"))
    async with Client(priced_server(engine), mode="legacy", elicitation_callback=person) as client:
        for _ in range(3):
            assert (await client.call_tool("summarize", {})).is_error is True
    assert len(person.asked) == 1


async def test_a_client_that_fails_while_asked_still_gets_the_text(engine: Engine) -> None:
    """Whatever goes wrong on the way, the caller is told where to pay."""

    def fail() -> ElicitResult:
        raise RuntimeError("no browser here")

    async with Client(priced_server(engine), mode="legacy", elicitation_callback=Person(fail)) as client:
        refused = await client.call_tool("summarize", {})
    assert refused.meta is not None
    assert "checkout_url" in refused.meta[REQUIRED]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_client_without_the_capability_is_not_asked(engine: Engine, mode: str) -> None:
    """The specification forbids it, and the question would replace the link by an error."""
    async with Client(priced_server(engine), mode=mode) as client:
        refused = await client.call_tool("summarize", {})
    assert refused.is_error is True
    assert refused.meta is not None
    assert REQUIRED in refused.meta


async def test_fastmcp_asks_too(engine: Engine) -> None:
    """Its clients declare the capability when they can be asked."""
    import fastmcp

    server = fastmcp.FastMCP("tools")
    attach(engine, server)

    @server.tool()
    @metered("$0.05")
    async def summarize() -> str:
        return "done"

    person = Person(lambda: ElicitResult(action="accept"))
    async with Client(server._mcp_server, elicitation_callback=person) as client:
        refused = await client.call_tool("summarize", {})
    assert len(person.asked) == 1
    assert refused.meta is not None
    assert REQUIRED in refused.meta
