"""The daily self-check of a running server: what Stripe took against what it counted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from stripe_meter.domain.identity import Caller
from stripe_meter.domain.plans import PayAsYouGo
from stripe_meter.domain.tools import Tool
from stripe_meter.emulator import EmulatorServer
from stripe_meter.enforcement.engine import Engine
from stripe_meter.enforcement.flusher import recount
from stripe_meter.testing.clock import HandClock
from tests.conftest import Driven, a_tool, pay
from tests.enforcement.test_engine import admitted, asked, caller_customer
from tests.enforcement.test_plan_life import api
from tests.enforcement.test_refunds import settled
from tests.web.test_health import prober

pytestmark = pytest.mark.anyio

DAY = recount.DAY + recount.LATER


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at the clock every few milliseconds instead of every quarter of an hour."""
    monkeypatch.setattr(recount, "TICK", 0.005)


class Server:
    """A server with one paying customer, a day at a time."""

    def __init__(self, engine: Engine, clock: HandClock, stripe: EmulatorServer, caller: Caller, tool: Tool) -> None:
        self.engine, self.clock, self.stripe, self.caller, self.tool = engine, clock, stripe, caller, tool

    async def use(self, times: int, tool: Tool | None = None) -> str:
        """Call a tool, until Stripe has it; the id of the last receipt."""
        for _ in range(times):
            token = settled(self.engine, await admitted(self.engine, tool or self.tool, self.caller))
        assert self.engine.flush()
        return token

    async def next_day(self, sign: str = "/event_summaries", times: int = 1) -> list[str]:
        """Let the day and the hour after it pass; what was asked of Stripe until `sign` came so often."""
        since = len(self.stripe.emulator.requests)
        self.clock.advance(seconds=DAY)
        for _ in range(2000):
            requests = asked(self.stripe, since)
            if sum(sign in request for request in requests) >= times:
                return requests
            await asyncio.sleep(0.005)
        raise AssertionError(f"nobody asked for {sign}: {asked(self.stripe, since)}")

    async def noticed(self) -> int:
        """Let the day pass; how many units were found not to be counted."""
        await self.next_day("/v1/customers/")
        for _ in range(2000):
            if found := self.engine.stats().uncounted:
                return found
            await asyncio.sleep(0.005)
        raise AssertionError("nothing was noticed")


Make = Callable[..., Awaitable[Server]]


@pytest.fixture
def serve(driven: Driven, stripe: EmulatorServer) -> Make:
    """Servers with a customer who has paid."""

    async def make(*tools: Tool) -> Server:
        engine, clock = driven(PayAsYouGo())
        tools = tools or (a_tool(),)
        await engine.prepare(tools)
        return Server(engine, clock, stripe, await pay(engine, stripe, tools[0]), tools[0])

    return make


async def test_what_was_counted_is_not_mentioned(serve: Make, caplog: pytest.LogCaptureFixture) -> None:
    """One list and one summary a day for one meter, and silence: reads are rationed, and so is attention."""
    server = await serve()
    await server.use(3)
    assert await server.next_day() == ["GET /v1/billing/meters", f"GET {summaries(server)}"]
    await server.use(1)
    assert len(await server.next_day()) == 2
    assert server.engine.stats().uncounted == 0
    assert "counted" not in caplog.text


async def test_usage_on_a_meter_that_was_switched_off_is_noticed(serve: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Stripe takes the events and throws them away, so without this the tool is free until the invoice."""
    server = await serve()
    await server.use(3)
    with api(server.stripe) as client:
        client.post(f"/v1/billing/meters/{meter_of(server)}/deactivate").raise_for_status()
    await server.use(2)
    with caplog.at_level(logging.ERROR):
        assert await server.noticed() == 2
    assert caplog.text.count("Stripe counted 3 of the 5 units on mcp.summarize that it took for") == 1
    assert "the meter is switched off; see what mends it: stripe-meter doctor server.py" in caplog.text
    async with prober(server.engine) as client:
        assert "\nstripe_meter_uncounted_units_total 2\n" in (await client.get("/metrics")).text
        assert (await client.get("/admin/stats")).json()["usage"]["uncounted"] == 2


async def test_usage_of_a_customer_who_was_deleted_is_noticed(serve: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Their snapshot is served for an hour more, and Stripe throws away what comes for it."""
    server = await serve()
    await server.use(1)
    with api(server.stripe) as client:
        client.delete(f"/v1/customers/{caller_customer(server.caller)}").raise_for_status()
    await server.use(2)
    with caplog.at_level(logging.ERROR):
        assert await server.noticed() == 3
    assert "the customer was deleted in Stripe" in caplog.text


async def test_a_charge_that_was_taken_back_is_no_difference(serve: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever refunded it, here or elsewhere: the customer's list of such charges says that less is right."""
    server = await serve()
    await server.engine.sales.refund(await server.use(3))
    await server.next_day("/v1/customers/")
    await server.use(1)
    await server.next_day()
    assert server.engine.stats().uncounted == 0
    assert "counted" not in caplog.text


async def test_a_server_with_many_tools_asks_for_five_meters_a_day(serve: Make) -> None:
    """Those that were not looked at come first on the next day, so each has its turn."""
    tools = [a_tool(f"tool{number}") for number in range(8)]
    server = await serve(*tools)
    seen: set[str] = set()
    for expected in (5, 8):
        for tool in tools:
            await server.use(1, tool)
        requests = [one for one in await server.next_day(times=5) if "/event_summaries" in one]
        assert len(requests) == 5
        seen |= set(requests)
        assert len(seen) == expected


def summaries(server: Server) -> str:
    return f"/v1/billing/meters/{meter_of(server)}/event_summaries"


def meter_of(server: Server) -> str:
    return next(iter(server.stripe.emulator.account.store.all("billing.meter")))["id"]  # type: ignore[no-any-return]
