"""What the tests of calls have in common: registering, serving, reading answers, and what was billed."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar, cast

import httpx2
import uvicorn
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from stripe_meter import StripeMeter
from stripe_meter.emulator import EmulatorServer

RECEIPT = "stripe-meter/receipt"
REFUSED = "stripe-meter/payment-required"
PRICE = "stripe-meter/price"

#: Makes a StripeMeter of these plans and options on the emulator.
Make = Callable[..., StripeMeter]

#: What has reached Stripe, by tool.
Billed = Callable[[], dict[str, int]]
F = TypeVar("F", bound=Callable[..., Any])


def tool_of(server: Any) -> Callable[[F], F]:
    """`@server.tool()`, the same on every framework, with a type."""
    return cast("Callable[[F], F]", server.tool())


def text_of(result: Any) -> str:
    return str(result.content[0].text)


def sent(stripe: EmulatorServer, billing: StripeMeter) -> dict[str, int]:
    """What has reached Stripe, by meter."""
    assert billing.flush()
    total: dict[str, int] = {}
    for record in stripe.emulator.log.records:
        if record.path.endswith("/billing/meter_events"):
            body: Any = record.body
            name = body["event_name"].partition(".")[2]
            total[name] = total.get(name, 0) + int(body["payload"]["value"])
    return total


@contextmanager
def served(app: Any) -> Iterator[str]:
    """The app on a loopback port, in a thread."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="error", lifespan="on", ws="none", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


@asynccontextmanager
async def connected(url: str, mode: str, **headers: str) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(headers=headers, timeout=30) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode) as client,
    ):
        yield client
