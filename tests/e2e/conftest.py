"""A paid server on real HTTP, for clients that are not ours: a browser, and a client in another language."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import uvicorn
from mcp.server.mcpserver import MCPServer

from stripe_meter import StripeMeter
from stripe_meter.emulator import EmulatorServer
from stripe_meter.settings import Settings


@dataclass(frozen=True)
class Served:
    """A running server."""

    url: str
    billing: StripeMeter


@contextlib.contextmanager
def serving(billing: StripeMeter, port: int = 0) -> Iterator[Served]:
    """The README's server, in a thread, on a loopback port; a free one unless given."""
    mcp = MCPServer("Research tools")
    billing.attach(mcp)

    @mcp.tool()
    @billing.metered("$0.05")
    async def summarize(url: str) -> str:
        """Summarize a page."""
        return f"Three sentences about {url}."

    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen()
    server = uvicorn.Server(uvicorn.Config(mcp.streamable_http_app(), log_level="critical", lifespan="on"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield Served(f"http://127.0.0.1:{listener.getsockname()[1]}", billing)
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
        billing.close()


@pytest.fixture
def served(stripe: EmulatorServer) -> Iterator[Served]:
    with serving(StripeMeter(settings=Settings(emulator=stripe.url))) as running:
        yield running


def needs(program: str) -> str:
    """Path of a program that a test drives; skips only where it is absent and nobody demands it."""
    path = shutil.which(program)
    if path is None and not os.environ.get("CI"):
        pytest.skip(f"{program} is not installed")
    assert path is not None, f"{program} is not installed"
    return path
