"""StripeMeter by itself: what it gives a server beside `attach`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp import Client
from mcp.server.mcpserver import MCPServer

from stripe_meter import PayAsYouGo, StripeMeter
from stripe_meter.emulator import EmulatorServer
from stripe_meter.enforcement import current
from stripe_meter.errors import ConfigurationError
from stripe_meter.meter import _default_engine
from stripe_meter.settings import Settings
from tests.conftest import PAGES, a_tool, pay

pytestmark = pytest.mark.anyio


@pytest.fixture
def billing(stripe: EmulatorServer) -> Iterator[StripeMeter]:
    meter = StripeMeter([PayAsYouGo()], settings=Settings(emulator=stripe.url, public_url=PAGES))
    yield meter
    meter.close()


def server_with(billing: StripeMeter, lifespan: Any) -> Any:
    server = MCPServer("tools", lifespan=lifespan)

    @server.tool()
    @billing.metered("$0.05")
    async def summarize(url: str) -> str:
        return url

    billing.attach(server)
    return server


async def test_a_lifespan_delivers_everything_before_the_server_ends(
    billing: StripeMeter, stripe: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Around the author's own, whose state arrives unchanged."""
    seen: list[str] = []

    @asynccontextmanager
    async def own(server: Any) -> AsyncIterator[dict[str, str]]:
        seen.append("start")
        yield {"database": "open"}
        seen.append("end")

    caller = await pay(billing.engine, stripe, a_tool())
    monkeypatch.setenv("STRIPE_METER_API_KEY", str(caller.api_key))
    for inner in (own, None):
        async with Client(server_with(billing, billing.lifespan(inner))) as client:
            assert not (await client.call_tool("summarize", {"url": "u"})).is_error
        assert billing.stats().pending == 0
    assert billing.stats().delivered == 2
    assert seen == ["start", "end"]


async def test_a_process_default_is_built_from_the_environment(
    stripe: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody configured a StripeMeter, a bare `@metered` needs nothing but the key."""
    monkeypatch.setenv("STRIPE_METER_EMULATOR", stripe.url)
    monkeypatch.setattr(current, "_default", current._Default())
    with pytest.raises(ConfigurationError, match="import `metered` from stripe_meter"):
        current.find(None)
    current.build_default_with(_default_engine)
    engine = current.find(None)
    assert current.find(None) is engine
    await engine.prepare([a_tool()])
    assert engine.local_pages is not None
    engine.close()


async def test_a_configured_but_unconnected_meter_is_not_quietly_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says which line is missing."""
    monkeypatch.setattr(current, "_default", current._Default())
    current.configured()
    with pytest.raises(ConfigurationError, match=r"billing\.attach\(mcp\)"):
        current.find(None)


@pytest.mark.parametrize("routes", ["billing", "", "/", "/a b", "https://x/y", "//"])
async def test_a_path_that_is_none_is_refused(billing: StripeMeter, routes: str) -> None:
    """With one that is."""
    with pytest.raises(ConfigurationError, match=r'write for example routes="/billing"'):
        billing.attach(MCPServer("tools"), routes=routes)
