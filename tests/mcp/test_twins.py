"""Functions of one process that look alike: each server sells its own, or says nothing about it."""

from __future__ import annotations

from typing import Any

import fastmcp
import pytest
from mcp.server.mcpserver import MCPServer

from stripe_meter.emulator import EmulatorServer
from stripe_meter.mcp import declared
from stripe_meter.mcp.decorator import metered
from tests.mcp.conftest import Framework
from tests.mcp.steps import PRICE, RECEIPT, Make, sent, tool_of

pytestmark = pytest.mark.anyio


@pytest.mark.usefixtures("paid")
async def test_a_twin_elsewhere_in_the_process_changes_nothing(
    framework: Any, make: Make, stripe: EmulatorServer
) -> None:
    """A decorated function of another server that looks the same is not this one."""
    other, server = framework.server(), framework.server()

    @tool_of(other)
    @metered("$9")
    async def look(url: str) -> str:
        return "dear"

    @tool_of(other)
    @metered("$9")
    async def elsewhere(text: str) -> str:
        return "dear"

    async def cheap(url: str) -> str:
        return "cheap"

    async def seen(text: str) -> str:
        return "seen"

    for name, function in (("look", cheap), ("see", seen)):
        server.tool(name=name)(function) if framework.name != "fastmcp" else server.tool(function, name=name)
    billing = make(prices={"look": "$0.05", "see": "$0.05"})
    billing.attach(server)
    async with framework.client(server) as client:
        for name, arguments in (("look", {"url": "u"}), ("see", {"text": "t"})):
            assert (await client.call(name, **arguments)).meta[RECEIPT]["text"] == "$0.05"
    assert sent(stripe, billing) == {"look": 1, "see": 1}


def two_of_one_name(first: Any, second: Any, *, described: bool = False) -> None:
    """Two functions `look` with the same parameters, on two servers, at two prices."""

    async def look(url: str) -> str:
        return "cheap"

    look.__doc__ = "Look once." if described else None
    cheap = metered("$0.05")(look)

    async def look(url: str) -> str:  # type: ignore[no-redef]  # what an author does in one module
        return "dear"

    look.__doc__ = "Look twice." if described else None
    dear = metered("$0.10")(look)
    tool_of(first)(cheap)
    tool_of(second)(dear)


async def shown(framework: Any, server: Any) -> str | None:
    """The price that the server's list says for `look`."""
    async with framework.client(server) as client:
        found = (await client.tools())["look"]
    meta: dict[str, Any] = (found.meta or {}).get(PRICE, {})
    return meta.get("text")


async def test_two_functions_of_one_name_are_each_listed_at_their_own_price(framework: Any, make: Make) -> None:
    """In one module, on two servers: the newest one is not meant by both."""
    servers = framework.server(), framework.server()
    two_of_one_name(*servers)
    for server, namespace in zip(servers, ("one", "two"), strict=True):
        make(settings={"namespace": namespace}).attach(server)
    assert [await shown(framework, server) for server in servers] == ["$0.05 a call", "$0.10 a call"]


@pytest.mark.parametrize("described", [False, True], ids=["alike", "described"])
async def test_behind_a_proxy_no_price_is_better_than_anothers(make: Make, described: bool) -> None:
    """Whose function it is only its looks can tell there; where these are the same, nothing is said."""
    servers = fastmcp.FastMCP("first"), fastmcp.FastMCP("second")
    two_of_one_name(*servers, described=described)
    proxies = [fastmcp.server.create_proxy(server) for server in servers]
    for proxy, namespace in zip(proxies, ("one", "two"), strict=True):
        make(settings={"namespace": namespace}).attach(proxy)
    told = [await shown(Framework("fastmcp"), proxy) for proxy in proxies]
    assert told == (["$0.05 a call", "$0.10 a call"] if described else [None, None])


async def test_an_sdk_that_hides_its_functions_lists_no_price_of_another_server(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The functions are looked up by a private name, which may go."""
    monkeypatch.setattr(declared.Matches, "settled", lambda self, _: self)
    servers = MCPServer("first"), MCPServer("second")
    two_of_one_name(*servers)
    for server, namespace in zip(servers, ("one", "two"), strict=True):
        make(settings={"namespace": namespace}).attach(server)
    assert [await shown(Framework("mcp-2026"), server) for server in servers] == [None, None]
