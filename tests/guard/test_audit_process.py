"""The audit log of a server's process: silent until asked for, whatever the framework shows of its own."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from stripe_meter.emulator import EmulatorServer
from stripe_meter.enforcement.engine import Engine
from tests.conftest import a_tool, pay

pytestmark = pytest.mark.anyio

SERVER = """
import logging
from mcp.server.mcpserver import MCPServer
from stripe_meter import StripeMeter, metered
{asked}
mcp = MCPServer("Research tools")
StripeMeter().attach(mcp)

@mcp.tool()
@metered("$0.05")
async def summarize(url: str) -> str:
    logging.getLogger("of.the.author").info("called")
    return url.upper()

mcp.run("stdio")
"""
LEVEL = 'logging.getLogger("stripe_meter.audit").setLevel("INFO")'
HANDLER = 'logging.getLogger("stripe_meter.audit").addHandler(logging.FileHandler("audit.jsonl"))'


async def shown(tmp_path: Path, stripe: EmulatorServer, key: str, asked: str, **more: str) -> str:
    """What the process of a server writes to stderr while it serves three calls and is refused none."""
    (tmp_path / "server.py").write_text(SERVER.format(asked=asked))
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
    settings = {**kept, "STRIPE_METER_EMULATOR": stripe.url, "STRIPE_METER_API_KEY": key, **more}
    parameters = StdioServerParameters(command=sys.executable, args=["server.py"], env=settings, cwd=tmp_path)
    with (tmp_path / "stderr").open("w+") as stderr:
        async with Client(stdio_client(parameters, stderr)) as client:
            for _ in range(3):
                assert not (await client.call_tool("summarize", {"url": "u"})).is_error
        stderr.seek(0)
        return stderr.read()


async def test_a_server_of_the_sdk_shows_no_audit_line_by_itself(
    engine: Engine, stripe: EmulatorServer, tmp_path: Path
) -> None:
    """The SDK lets all that is at INFO through to stderr, and a line for each meter event buries what matters."""
    caller = await pay(engine, stripe, a_tool())
    assert caller.api_key is not None
    said = await shown(tmp_path, stripe, caller.api_key, "")
    assert "called" in said
    assert '"kind"' not in said


@pytest.mark.parametrize(
    ("asked", "setting", "read"),
    [
        (LEVEL, {}, lambda path, said: said),
        ("", {"STRIPE_METER_LOG": "info"}, lambda path, said: said),
        (HANDLER, {}, lambda path, said: (path / "audit.jsonl").read_text()),
    ],
    ids=["level", "environment", "handler"],
)
async def test_each_way_to_ask_for_the_lines_gives_them(
    engine: Engine,
    stripe: EmulatorServer,
    tmp_path: Path,
    asked: str,
    setting: dict[str, str],
    read: Callable[[Path, str], str],
) -> None:
    """One line of Python or one variable, as the documentation says, and the charges of the calls are there."""
    caller = await pay(engine, stripe, a_tool())
    assert caller.api_key is not None
    said = await shown(tmp_path, stripe, caller.api_key, asked, **setting)
    # The SDK's handler breaks lines to fit a terminal.
    lines = re.findall(r'"kind": "charge", .*?"calls": (\d+)', " ".join(read(tmp_path, said).split()))
    assert sum(map(int, lines)) == 3
