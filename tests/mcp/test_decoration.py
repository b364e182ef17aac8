"""What `@metered` does to a function before anybody calls it through a server."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from types import FunctionType
from typing import Annotated, Any

import pytest
from mcp import Client
from mcp.server.mcpserver import Context, MCPServer
from pydantic import Field

from stripe_meter.enforcement.engine import Engine
from stripe_meter.errors import ConfigurationError, PriceError
from stripe_meter.mcp.attach import attach
from stripe_meter.mcp.decorator import current_call, metered

pytestmark = pytest.mark.anyio


async def plain(url: Annotated[str, Field(description="Where")], words: int = 3) -> dict[str, int]:
    """Summarize a page."""
    return {url: words}


def plain_sync(url: str, *, words: int = 3) -> str:
    """Summarize a page."""
    return url * words


async def with_context(url: str, ctx: Context) -> str:
    """Summarize a page."""
    return f"{url} {ctx is not None}"


async def with_rest(url: str, **rest: int) -> int:
    """Summarize a page."""
    return len(url) + sum(rest.values())


def copy_of(tool: Callable[..., Any]) -> Callable[..., Any]:
    """FastMCP marks and rewrites the very function it registers."""
    assert isinstance(tool, FunctionType)
    copied = FunctionType(tool.__code__, tool.__globals__, tool.__name__, tool.__defaults__, tool.__closure__)
    copied.__kwdefaults__, copied.__annotations__ = tool.__kwdefaults__, dict(tool.__annotations__)
    copied.__doc__ = tool.__doc__
    return copied


@pytest.mark.parametrize("tool", [plain, plain_sync, with_context])
async def test_a_metered_tool_looks_the_same_in_the_list(tool: Callable[..., Any], framework: Any) -> None:
    """Schemas, description and annotations are the author's; a caller sees no trace of the hidden parameter."""
    if tool is with_context and framework.name == "fastmcp":
        pytest.skip("an SDK context means nothing to FastMCP")
    bare, priced = framework.server(), framework.server()
    bare.tool()(copy_of(tool))
    priced.tool()(metered("$0.05")(tool))
    async with framework.client(bare) as before, framework.client(priced) as after:
        was, now = await before.tools(), await after.tools()
    assert now[tool.__name__].model_dump() == was[tool.__name__].model_dump()


async def test_a_direct_call_is_plain_python() -> None:
    """A unit test of a tool needs no server, no key and no Stripe."""
    assert await metered("$0.05")(plain)("u", words=2) == {"u": 2}
    assert metered("$0.05")(plain_sync)("u") == "uuu"
    assert await metered("$0.05")(with_rest)("u", a=2) == 3


def test_a_sync_tool_stays_sync() -> None:
    """Frameworks decide by this whether to use a thread."""
    assert inspect.iscoroutinefunction(metered("$0.05")(plain))
    assert not inspect.iscoroutinefunction(metered("$0.05")(plain_sync))


def test_the_tool_keeps_its_own_annotations() -> None:
    """functools.wraps shares them, so adding a parameter to the wrapper must not add it to the tool."""
    metered("$0.05")(plain)
    assert "stripe_meter_ctx" not in plain.__annotations__
    assert "stripe_meter_ctx" not in inspect.signature(plain).parameters


def test_a_detached_call_bills_nobody() -> None:
    """So that a tool that counts can be tested without a server."""
    call = current_call()
    call.add(3)
    call.cancel()
    assert call.customer is None


async def generator() -> AsyncIterator[str]:
    """Yield."""
    yield ""


@pytest.mark.parametrize(
    ("decorate", "sentence"),
    [
        (lambda: metered(generator), "yields"),
        (lambda: metered(Context), "which is not a function"),
        (lambda: metered("$0.05", feature="No Spaces")(plain), "feature 'No Spaces' cannot name objects"),
        (lambda: metered("$0.05", charge_on="never")(plain), 'write "success" or "always"'),  # type: ignore[call-overload]  # the mistake under test
        (lambda: metered("$0.05")(generator), "yields"),
        (lambda: metered("$0.05")(7), "is not a function"),  # type: ignore[arg-type]  # the mistake under test
        (lambda: metered("$0.05")(metered("$0.05")(plain)), "metered twice"),
        (lambda: metered("$0.05", name="no spaces")(plain), "cannot name a meter"),
        (lambda: metered("$0.05", max_units=0)(plain), "max_units=0"),
        (lambda: metered("$0.05", units=lambda call: 1)(plain), "priced per call"),
    ],
    ids=[
        "bare generator",
        "bare class",
        "feature",
        "charge_on",
        "generator",
        "not a function",
        "twice",
        "name",
        "max_units",
        "units per call",
    ],
)
def test_what_cannot_be_metered_is_refused_with_the_fix(decorate: Callable[[], object], sentence: str) -> None:
    """A mistake shows when the server is imported, not on the invoice."""
    with pytest.raises(ConfigurationError, match=sentence.replace("(", r"\(").replace(")", r"\)").replace("$", r"\$")):
        decorate()


def test_a_price_that_is_not_understood_is_refused_at_decoration() -> None:
    """The sentence is the price grammar's own."""
    with pytest.raises(PriceError, match="could mean"):
        metered(5)  # type: ignore[call-overload]  # the mistake under test


def test_an_annotation_that_cannot_be_resolved_is_named() -> None:
    """Frameworks need real types, and so does the wrapper."""

    class Local:
        pass

    async def tool(page: Local) -> str:
        return ""

    with pytest.raises(ConfigurationError, match="annotation 'Local' cannot be resolved"):
        metered("$0.05")(tool)


def test_a_tool_that_fastmcp_has_registered_is_refused() -> None:
    """Above the framework's decorator @metered would change nothing but the author's belief."""
    from fastmcp import FastMCP

    server = FastMCP("tools")
    registered = server.tool()(copy_of(plain))
    with pytest.raises(ConfigurationError, match="directly below it"):
        metered("$0.05")(registered)


def test_decorating_before_fastmcp_is_imported_still_meters() -> None:
    """A module of tools may be imported before the module that builds the server."""
    code = """if True:
        import sys
        from stripe_meter import metered
        assert not {"mcp", "fastmcp", "pydantic"} & set(sys.modules)
        async def tool(url: str) -> str:
            return url
        tool = metered("$0.05")(tool)
        from fastmcp import FastMCP
        server = FastMCP("tools")
        server.tool()(tool)
        import asyncio
        result = asyncio.run(server.call_tool("tool", {"url": "u"}))
        assert result.is_error and "costs $0.05" in result.content[0].text, result
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


async def test_a_caller_cannot_fill_the_hidden_parameter(engine: Engine) -> None:
    """The SDK ignores what is not in the schema."""
    server = MCPServer("tools")
    attach(engine, server)
    server.tool()(metered("free")(plain))
    async with Client(server) as client:
        result = await client.call_tool("plain", {"url": "u", "stripe_meter_ctx": "x"})
    assert result.structured_content == {"u": 3}
