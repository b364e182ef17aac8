"""What tests of delivery share: an engine with the stream, usage of many customers, clocks that move together."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from stripe_meter.emulator import EmulatorServer
from stripe_meter.enforcement.engine import Engine
from stripe_meter.enforcement.flusher.thread import StripeThread
from stripe_meter.enforcement.gate import Admission
from stripe_meter.gateway.gateway import Gateway
from stripe_meter.gateway.meter_events import StreamRoad
from tests.conftest import a_tool, pay

EVENTS: Final = "/v1/billing/meter_events"
STREAM: Final = "/v2/billing/meter_event_stream"
SESSION: Final = "/v2/billing/meter_event_session"
DAY: Final = 24 * 3600


def events(stripe: EmulatorServer, path: str = EVENTS) -> list[Any]:
    """Requests that Stripe took."""
    return [record for record in attempts(stripe, path) if record.status == 200]


def attempts(stripe: EmulatorServer, path: str = EVENTS) -> list[Any]:
    """Requests, whatever came of them."""
    return [record for record in stripe.emulator.requests if record.path == path]


def alter_gateway(engine: Engine, alter: Callable[[Gateway], None]) -> None:
    """Change the gateway when it is opened."""
    opened = engine.thread._open_gateway

    def open_altered(thread: StripeThread) -> Gateway:
        gateway = opened(thread)
        alter(gateway)
        return gateway

    engine.thread._open_gateway = open_altered


def with_stream(engine: Engine) -> None:
    """The stream is for live keys only, which a test never has: put it beside the sandbox's road."""

    def add(gateway: Gateway) -> None:
        gateway.stream = StreamRoad(gateway.connection)

    alter_gateway(engine, add)


async def many(engine: Engine, stripe: EmulatorServer, customers: int) -> None:
    """Usage of many customers at once."""
    tool = a_tool()
    await pay(engine, stripe, tool)
    for number in range(customers):
        engine.thread.add(f"cus_many{number}", "mcp.summarize", 2, tool.money_rates[0].unit_amount)


async def an_admission(engine: Engine, stripe: EmulatorServer, price: str = "$0.05") -> Admission:
    """A call of a customer who pays, not settled yet."""
    tool = a_tool(price=price)
    admission = await engine.admit(tool, await pay(engine, stripe, tool))
    assert isinstance(admission, Admission)
    return admission


def moved_together(engine: Engine, stripe: EmulatorServer) -> Callable[[float], None]:
    """Moves this machine's clocks and Stripe's by the same seconds, as time does."""
    gone = [0.0]
    engine.keep_time_by(lambda: time.monotonic() + gone[0], lambda: time.time() + gone[0])

    def advance(seconds: float) -> None:
        gone[0] += seconds
        stripe.advance(seconds)

    return advance
