"""Servers and clients of every supported framework, and a caller who has paid on the emulator."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import fastmcp
import pytest
from mcp import Client
from mcp.server.mcpserver import MCPServer

from stripe_meter import StripeMeter
from stripe_meter.domain.identity import Caller
from stripe_meter.domain.rates import parse_price
from stripe_meter.domain.refusals import Refusal
from stripe_meter.domain.tools import Tool
from stripe_meter.emulator import EmulatorServer
from stripe_meter.enforcement.engine import Engine
from stripe_meter.settings import Settings
from tests.conftest import PAGES, a_tool, pay
from tests.mcp.steps import Make


class Session:
    """A connected client; the same few verbs whatever the framework."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def call(self, name: str, **arguments: Any) -> Any:
        if isinstance(self._client, fastmcp.Client):
            return await self._client.call_tool(name, arguments, raise_on_error=False)
        return await self._client.call_tool(name, arguments)

    async def tools(self) -> dict[str, Any]:
        listed: Any = await self._client.list_tools()
        return {tool.name: tool for tool in getattr(listed, "tools", listed)}


@dataclass(frozen=True)
class Framework:
    """One framework with one protocol era."""

    name: str

    def server(self, name: str = "Research tools") -> Any:
        return fastmcp.FastMCP(name) if self.name == "fastmcp" else MCPServer(name)

    @asynccontextmanager
    async def client(self, server: Any, **options: Any) -> AsyncIterator[Session]:
        if self.name == "fastmcp":
            async with fastmcp.Client(server, **options) as client:
                yield Session(client)
        else:
            mode = "legacy" if self.name == "mcp-2025" else "auto"
            async with Client(server, mode=mode, **options) as client:
                yield Session(client)


@pytest.fixture(params=["mcp-2026", "mcp-2025", "fastmcp"])
def framework(request: pytest.FixtureRequest) -> Framework:
    return Framework(request.param)


@pytest.fixture(autouse=True)
def _quiet(quiet_frameworks: None) -> None:
    """Every test here has tools that fail."""


@pytest.fixture
async def api_key(engine: Engine, stripe: EmulatorServer) -> str:
    """The key of somebody who was refused, has paid, and came back."""
    caller = Caller(b"a203.0.113.7", client="203.0.113.7")
    refusal = await engine.admit(Tool("entry", parse_price("$1")), caller)
    assert isinstance(refusal, Refusal)
    assert refusal.checkout_url is not None
    back = stripe.complete_checkout(refusal.checkout_url, email="caller@example.com")
    query = parse_qs(urlsplit(back).query)
    done = await engine.sales.complete(query["session_id"][0], query["claim"][0])
    assert done.key is not None
    return done.key.reveal()


@pytest.fixture
def local_key(api_key: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same key in the environment of a server that speaks stdio or in memory."""
    monkeypatch.setenv("STRIPE_METER_API_KEY", api_key)
    return api_key


@pytest.fixture
def billed(engine: Engine, stripe: EmulatorServer) -> Callable[[], dict[str, int]]:
    """What has reached Stripe, by meter event name."""

    def look() -> dict[str, int]:
        assert engine.flush()
        total: dict[str, int] = {}
        for record in stripe.emulator.log.records:
            if record.path.endswith("/billing/meter_events"):
                body: Any = record.body
                name = body["event_name"].rpartition(".")[2]
                total[name] = total.get(name, 0) + int(body["payload"]["value"])
        return total

    return look


@pytest.fixture
def make(stripe: EmulatorServer) -> Iterator[Make]:
    """A StripeMeter on the emulator, closed at the end."""
    made: list[StripeMeter] = []

    def build(*plans: Any, **options: Any) -> StripeMeter:
        settings = Settings(emulator=stripe.url, public_url=PAGES, **options.pop("settings", {}))
        made.append(StripeMeter(plans or None, settings=settings, **options))
        return made[-1]

    yield build
    for billing in made:
        billing.close()


@pytest.fixture
async def paid(stripe: EmulatorServer, make: Make, monkeypatch: pytest.MonkeyPatch) -> str:
    """Somebody who has paid calls in memory; their customer."""
    billing = make()
    caller = await pay(billing.engine, stripe, a_tool("entry", "$1"))
    monkeypatch.setenv("STRIPE_METER_API_KEY", str(caller.api_key))
    return str(caller.api_key)
