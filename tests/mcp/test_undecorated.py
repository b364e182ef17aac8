"""Tools that nobody decorated and a price list puts on sale, through real clients."""

from __future__ import annotations

import traceback
from typing import Any

import fastmcp
import pytest

from stripe_meter import current_call
from stripe_meter.emulator import EmulatorServer
from tests.mcp.steps import PRICE, RECEIPT, REFUSED, Make, sent, text_of, tool_of

pytestmark = pytest.mark.anyio


@pytest.mark.usefixtures("paid")
async def test_undecorated_tools_are_metered_by_name(framework: Any, make: Make, stripe: EmulatorServer) -> None:
    """Async, sync, raising and cancelling ones; the default price leaves the rest alone."""
    billing = make(prices={"search-*": "$0.02", "search-help": "free", "shout": "$0.05"}, default_price="$9")
    server = framework.server()

    def search(text: str) -> str:
        return text.upper()

    async def broken(text: str) -> str:
        raise ValueError(text)

    async def shout(text: str) -> str:
        current_call().cancel() if text == "free" else current_call()
        return f"{text}!"

    async def unpriced(text: str) -> str:
        return text

    tools = {"search-web": search, "search-help": search, "search-broken": broken, "shout": shout}
    for name, function in {**tools, "unpriced": unpriced}.items():
        server.tool(name=name)(function) if framework.name != "fastmcp" else server.tool(function, name=name)
    billing.attach(server)
    async with framework.client(server) as client:
        shown = await client.tools()
        assert {name for name, tool in shown.items() if PRICE in (tool.meta or {})} == {
            "search-web",
            "search-broken",
            "shout",
        }
        for _ in range(3):
            answer = await client.call("search-web", text="a")
            assert text_of(answer) == "A"
            assert answer.meta[RECEIPT]["text"] == "$0.02"
        assert (await client.call("search-broken", text="a")).is_error
        assert (await client.call("shout", text="a")).meta[RECEIPT]["text"] == "$0.05"
        assert (await client.call("shout", text="free")).meta[RECEIPT]["charged"] is False
        for name in ("search-help", "unpriced"):
            assert RECEIPT not in ((await client.call(name, text="a")).meta or {})
    assert sent(stripe, billing) == {"search-web": 3, "shout": 1}


async def test_an_undecorated_tool_is_refused_with_price_and_link(
    framework: Any, make: Make, stripe: EmulatorServer
) -> None:
    """Before it runs, in the same form as a decorated one."""
    billing, server = make(prices={"look": "$0.05"}), framework.server()

    @tool_of(server)
    async def look(url: str) -> str:
        raise AssertionError("a refused tool does not run")

    billing.attach(server)
    async with framework.client(server) as client:
        result = await client.call("look", url="u")
    assert result.is_error is True
    assert result.structured_content is None
    assert result.meta[REFUSED]["checkout_url"] in text_of(result)
    assert "look costs $0.05" in text_of(result)
    assert sent(stripe, billing) == {}


@pytest.mark.usefixtures("paid")
async def test_a_tool_added_while_serving_is_metered_from_its_first_call(framework: Any, make: Make) -> None:
    """Nobody listed it in between."""
    billing, server = make(prices={"*": "$0.02"}), framework.server()
    billing.attach(server)

    async with framework.client(server) as client:

        @tool_of(server)
        async def late() -> str:
            return "now"

        assert (await client.call("late")).meta[RECEIPT]["text"] == "$0.02"
        assert (await client.call("nothing")).is_error


@pytest.mark.usefixtures("paid")
async def test_only_the_outermost_call_is_metered(framework: Any, make: Make, stripe: EmulatorServer) -> None:
    """An undecorated tool on the price list may call another one of its server."""
    billing, server = make(prices={"outer": "$0.05", "inner": "$0.01"}), framework.server()

    @tool_of(server)
    async def inner() -> str:
        return "in"

    @tool_of(server)
    async def outer() -> str:
        await server.call_tool("inner", {})
        return "out"

    billing.attach(server)
    async with framework.client(server) as client:
        assert text_of(await client.call("outer")) == "out"
    assert sent(stripe, billing) == {"outer": 1}


@pytest.mark.usefixtures("paid")
@pytest.mark.parametrize("parent_is_attached", [False, True])
async def test_a_mounted_server_sells_by_its_own_list(
    make: Make, stripe: EmulatorServer, parent_is_attached: bool
) -> None:
    """Whoever answers the client meters it, once."""
    child, parent = fastmcp.FastMCP("child"), fastmcp.FastMCP("parent")

    @child.tool
    async def look() -> str:
        return "seen"

    billing = make(prices={"look": "$0.05"})
    billing.attach(child)
    if parent_is_attached:
        make().attach(parent)
    parent.mount(child, namespace="sub")
    async with fastmcp.Client(parent) as client:
        for _ in range(2):
            assert (await client.call_tool("sub_look")).data == "seen"
    assert sent(stripe, billing) == {"look": 2}


@pytest.mark.usefixtures("paid")
async def test_a_proxied_server_is_metered_by_name(make: Make, stripe: EmulatorServer) -> None:
    """Its functions run elsewhere, so only the list can say what they cost."""
    far = fastmcp.FastMCP("far")

    @far.tool
    async def look(url: str) -> str:
        return url

    server = fastmcp.server.create_proxy(far)
    billing = make(prices={"*": "$0.05"})
    billing.attach(server)
    async with fastmcp.Client(server) as client:
        result = await client.call_tool("look", {"url": "u"})
    assert result.data == "u"
    assert (result.meta or {})[RECEIPT]["text"] == "$0.05"
    assert sent(stripe, billing) == {"look": 1}


@pytest.mark.parametrize(
    ("prices", "says"),
    [
        ({"look": "$0.01 per word"}, "nothing in it counts words"),
        ({"look": "1 credit"}, "which no plan on sale can charge"),
    ],
)
async def test_an_undecorated_tool_that_cannot_be_sold_is_found_before_the_first_call(
    framework: Any, make: Make, prices: dict[str, str], says: str
) -> None:
    """One sentence, and no call is served for nothing."""
    server = framework.server()

    @tool_of(server)
    async def look() -> str:
        return ""

    make(prices=prices).attach(server)
    with pytest.raises(Exception) as caught:  # noqa: PT011  # each framework wraps it in its own way
        async with framework.client(server):
            raise AssertionError("it connected")
    assert says in "".join(traceback.format_exception(caught.value))
