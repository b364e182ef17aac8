"""The fixtures that authors get, and a server as an author would write it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import fastmcp
import pytest
from mcp import Client
from mcp.server.mcpserver import MCPServer

from stripe_meter import StripeMeter, metered
from stripe_meter.testing.plugin import stripe_billing, stripe_clock, stripe_emulator

__all__ = ["stripe_billing", "stripe_clock", "stripe_emulator"]


def shop(kind: Any = MCPServer, priced: Callable[[str], Callable[[Any], Any]] = metered) -> Any:
    """A server with an `async def` tool for $0.60 and a `def` tool for $0.50."""
    server = kind("Research tools")

    async def summarize(url: str) -> str:
        if url == "bad":
            raise ValueError("bad url")
        return url

    def translate(text: str) -> str:
        return text

    server.tool()(priced("$0.60")(summarize))
    server.tool()(priced("$0.50")(translate))
    return server


def client_of(server: Any) -> Any:
    """An in-memory client of either framework."""
    return Client(server) if isinstance(server, MCPServer) else fastmcp.Client(server)


async def call(client: Any, tool: str = "summarize", **arguments: str) -> Any:
    """What the client sees of one call."""
    given = arguments or ({"url": "u"} if tool == "summarize" else {"text": "t"})
    more = {} if isinstance(client, Client) else {"raise_on_error": False}
    return await client.call_tool(tool, given, **more)


@pytest.fixture
def make_billing() -> Iterator[Callable[..., StripeMeter]]:
    """StripeMeters, closed at the end."""
    made: list[StripeMeter] = []

    def make(**options: Any) -> StripeMeter:
        made.append(StripeMeter(**options))
        return made[-1]

    yield make
    for billing in made:
        billing.close()


@pytest.fixture(autouse=True)
def _quiet(quiet_frameworks: None) -> None:
    """Every test here has tools that fail."""
