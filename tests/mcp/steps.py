"""What the tests of calls have in common: registering, serving, reading answers, and what was billed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from stripe_meter import StripeMeter
from stripe_meter.emulator import EmulatorServer
from stripe_meter.enforcement.engine import Engine
from stripe_meter.mcp.attach import attach
from stripe_meter.mcp.decorator import metered

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


def summarizer(framework: Any, engine: Engine) -> Any:
    """A server whose one tool, `summarize`, costs five cents."""
    server = framework.server()
    attach(engine, server)

    @tool_of(server)
    @metered("$0.05")
    async def summarize() -> str:
        return "done"

    return server


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


@asynccontextmanager
async def connected(url: str, mode: str, **headers: str) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(headers=headers, timeout=30) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode) as client,
    ):
        yield client
