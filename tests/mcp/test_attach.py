"""What `attach` checks, and how a server that cannot bill ends."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastmcp
import pytest
from mcp import Client, StdioServerParameters
from mcp.server.mcpserver import MCPServer

from stripe_meter.emulator import EmulatorServer
from stripe_meter.enforcement.engine import Engine
from stripe_meter.errors import ConfigurationError
from stripe_meter.mcp.attach import attach
from stripe_meter.mcp.decorator import metered

pytestmark = pytest.mark.anyio

SERVER = """
import sys
from mcp.server.mcpserver import MCPServer
from stripe_meter import StripeMeter, metered

mcp = MCPServer("Research tools")
StripeMeter().attach(mcp)

@mcp.tool()
@metered("$0.05")
async def summarize(url: str) -> str:
    return url.upper()

if __name__ == "__main__":
    mcp.run(sys.argv[1])
"""
FASTMCP_SERVER = SERVER.replace(
    "from mcp.server.mcpserver import MCPServer", "from fastmcp import FastMCP as MCPServer"
)
WRONG_ORDER = SERVER.replace('@mcp.tool()\n@metered("$0.05")', '@metered("$0.05")\n@mcp.tool()')


def script(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "server.py"
    path.write_text(text)
    return path


def environment(**more: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
    return {"FASTMCP_PORT": "0", "FASTMCP_SHOW_SERVER_BANNER": "false", **kept, **more}


@pytest.mark.parametrize("text", [SERVER, FASTMCP_SERVER], ids=["mcp", "fastmcp"])
@pytest.mark.parametrize("transport", ["stdio", "streamable-http"])
def test_a_server_without_a_key_ends_with_one_sentence(tmp_path: Path, text: str, transport: str) -> None:
    """Before it serves anything, with status 1 and without a traceback, though its stdin stays open."""
    path = script(tmp_path, text)
    with subprocess.Popen(
        [sys.executable, str(path), transport],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        cwd=tmp_path,
    ) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        status = process.wait(30)
        said, answered = process.stderr.read(), process.stdout.read()
    ours = [line for line in said.splitlines() if not line.startswith("INFO:")]
    assert len(ours) == 1
    assert ours[0].startswith("stripe-meter: no Stripe key: set STRIPE_SECRET_KEY=")
    assert status == 1
    assert answered == ""


def test_a_tool_that_would_be_free_by_mistake_ends_the_server(tmp_path: Path, stripe: EmulatorServer) -> None:
    """The SDK registers the bare function when @metered stands above its decorator."""
    path = script(tmp_path, WRONG_ORDER)
    done = subprocess.run(
        [sys.executable, str(path), "stdio"],
        input="",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=environment(STRIPE_METER_EMULATOR=stripe.url),
        cwd=tmp_path,
    )
    assert done.stderr.strip().startswith("stripe-meter: tool 'summarize' would be free: @metered stands above")
    assert done.returncode == 1


@pytest.mark.parametrize("text", [SERVER, FASTMCP_SERVER], ids=["mcp", "fastmcp"])
async def test_a_call_over_stdio_is_charged_to_the_key_of_the_environment(
    tmp_path: Path, text: str, stripe: EmulatorServer, api_key: str
) -> None:
    """One process serves one caller, whose key the client's configuration sets."""
    settings = environment(STRIPE_METER_EMULATOR=stripe.url, STRIPE_METER_API_KEY=api_key)
    parameters = StdioServerParameters(
        command=sys.executable, args=[str(script(tmp_path, text)), "stdio"], env=settings, cwd=tmp_path
    )
    async with Client(parameters) as client:
        result = await client.call_tool("summarize", {"url": "u"})
    assert result.meta is not None
    assert result.meta["stripe-meter/receipt"]["charged"] is True
    sent = [record.body for record in stripe.emulator.log.records if record.path.endswith("/billing/meter_events")]
    assert len(sent) == 1


async def test_a_client_of_a_server_without_a_key_cannot_connect(
    framework: Any, make_engine: Callable[..., Engine]
) -> None:
    """In a test of the author's the process must live on, so the sentence is an exception."""
    server = framework.server()
    attach(make_engine(emulator=None), server)

    @server.tool()  # type: ignore[untyped-decorator]  # the framework fixture is untyped
    @metered("$0.05")
    async def summarize() -> str:
        return "done"

    with pytest.raises(Exception) as caught:  # noqa: PT011  # each framework wraps it in its own way
        async with framework.client(server):
            raise AssertionError("it connected")
    told = "".join(traceback.format_exception(caught.value))
    assert "KeyRefused: no Stripe key" in told
    assert "it connected" not in told


async def test_a_child_of_a_mounted_server_refuses_while_it_cannot_bill(
    make_engine: Callable[..., Engine], caplog: pytest.LogCaptureFixture
) -> None:
    """FastMCP leaves a child's extensions to the parent, so its check runs with the first call."""
    child, parent = fastmcp.FastMCP("child"), fastmcp.FastMCP("parent")
    attach(make_engine(emulator=None), child)

    @child.tool()
    @metered("$0.05")
    async def summarize() -> str:
        return "done"

    parent.mount(child)
    with caplog.at_level(logging.ERROR, logger="stripe_meter"):
        async with fastmcp.Client(parent) as client:
            for _ in range(2):
                result = await client.call_tool("summarize", {}, raise_on_error=False)
                assert result.is_error is True
                assert result.meta is not None
                data = result.meta["stripe-meter/payment-required"]
                assert data["reason"] == "billing_unavailable"
                assert "STRIPE_SECRET_KEY" not in str(result)
    said = [record.getMessage() for record in caplog.records if record.name == "stripe_meter"]
    assert len(said) == 1
    assert "no Stripe key" in said[0]


def test_attaching_the_same_engine_again_changes_nothing(framework: Any, engine: Engine) -> None:
    """A module that is imported twice is no mistake."""
    server = framework.server()
    mounted: list[object] = []
    attach(engine, server, mounted.append)
    attach(engine, server, mounted.append)
    assert len(mounted) == 1


def test_two_engines_on_one_server_are_refused(framework: Any, make_engine: Callable[..., Engine]) -> None:
    """Nobody could say which of them bills."""
    server = framework.server()
    attach(make_engine(), server)
    with pytest.raises(ConfigurationError, match="another StripeMeter is attached to server 'Research tools'"):
        attach(make_engine(), server)


def test_a_server_of_an_unknown_kind_is_refused(engine: Engine) -> None:
    """The sentence says what is supported."""
    with pytest.raises(ConfigurationError, match=r"servers of type builtins\.dict; it takes an MCPServer"):
        attach(engine, {})


async def test_a_tool_listed_under_another_name_keeps_its_price(engine: Engine) -> None:
    """The SDK does not tell which function stands behind a name; documentation and parameters do."""
    server = MCPServer("tools")
    attach(engine, server)

    @server.tool(name="shorten")
    @metered("$0.05")
    async def summarize_by_another_name(text_to_shorten: str) -> str:
        """Shorten a text."""
        return text_to_shorten

    async with Client(server) as client:
        (tool,) = (await client.list_tools()).tools
    assert tool.meta is not None
    assert tool.meta["stripe-meter/price"]["text"] == "$0.05 a call"


async def test_another_engine_at_the_decorator_bills_its_own_tool(
    make_engine: Callable[..., Engine], api_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's engine does not take over a tool that names another one."""
    monkeypatch.setenv("STRIPE_METER_API_KEY", api_key)
    attached, named = make_engine(), make_engine()

    class Billing:
        engine = named

    server = MCPServer("tools")
    attach(attached, server)

    @server.tool()
    @metered("$0.05", billing=Billing())
    async def summarize() -> str:
        return "done"

    async with Client(server) as client:
        assert (await client.call_tool("summarize", {})).is_error is False
    assert (attached.stats().accepted, named.stats().accepted) == (0, 1)


@pytest.mark.parametrize("documented", [True, False])
async def test_a_bare_function_under_another_name_is_noticed(
    engine: Engine, documented: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The SDK registered the function without its price; its looks give it away."""
    server = MCPServer("tools")
    attach(engine, server)

    async def count_letters(rare_word: str) -> int:
        return len(rare_word)

    if documented:
        count_letters.__doc__ = "Count the letters of a rare word."
    sold = metered("$0.05")(server.tool(name="other")(count_letters))
    with caplog.at_level(logging.ERROR, logger="stripe_meter"):
        try:
            async with Client(server) as client:
                await client.list_tools()
        except (BaseExceptionGroup, ConfigurationError) as group:
            told = "".join(traceback.format_exception(group))
        else:
            told = caplog.text
    assert "@metered stands above the server's own decorator" in told, sold


async def test_whatever_stripe_refuses_at_the_start_is_a_sentence(tmp_path: Path, stripe: EmulatorServer) -> None:
    """Not only what we configured wrongly."""
    stripe.emulator.faults.add(path="/v1/prices", kind="status", status=400, times=5)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(script(tmp_path, SERVER)),
        "stdio",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(STRIPE_METER_EMULATOR=stripe.url),
        cwd=tmp_path,
    )
    async with asyncio.timeout(30):
        _, said = await process.communicate()
    assert said.decode().strip().startswith("stripe-meter: Stripe refused the request")
    assert b"Traceback" not in said
    assert process.returncode == 1
