"""When usage is safe: group commit under `sync`, bounds that refuse, the stream that carries many customers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from stripe_meter.domain.refusals import Refusal
from stripe_meter.emulator import EmulatorServer
from stripe_meter.enforcement.engine import Engine
from stripe_meter.enforcement.flusher.sender import STREAM_ABOVE
from stripe_meter.enforcement.flusher.thread import StripeThread
from stripe_meter.enforcement.gate import Admission
from stripe_meter.gateway.gateway import Gateway
from stripe_meter.gateway.meter_events import StreamRoad
from tests.conftest import a_tool, pay

pytestmark = pytest.mark.anyio
EVENTS = "/v1/billing/meter_events"
STREAM = "/v2/billing/meter_event_stream"


def events(stripe: EmulatorServer, path: str = EVENTS) -> list[Any]:
    return [record for record in stripe.emulator.requests if record.path == path and record.status == 200]


async def test_under_sync_a_call_answers_when_stripe_has_its_usage(
    make_engine: Callable[..., Engine], stripe: EmulatorServer
) -> None:
    """And calls that arrive while one event is on the way share the next one."""
    engine = make_engine(durability="sync")
    tool = a_tool()
    caller = await pay(engine, stripe, tool)
    assert isinstance(await engine.admit(tool, caller), Admission)
    assert engine.thread.waits
    stripe.emulator.faults.add(path=EVENTS, kind="slow", seconds=0.2, times=100)

    async def call() -> bool:
        admission = engine.admit_warm(tool, caller)
        assert admission is not None
        admission.settle(1)
        return await admission.delivered()

    assert all(await asyncio.gather(*(call() for _ in range(50))))
    stats = engine.stats()
    assert (stats.delivered, stats.pending) == (50, 0)
    assert len(events(stripe)) <= 3


async def test_under_sync_a_call_that_stripe_keeps_waiting_is_answered_as_pending(
    make_engine: Callable[..., Engine], stripe: EmulatorServer
) -> None:
    """The work is done, so its result goes out; the usage stays and follows."""
    engine = make_engine(durability="sync")
    tool = a_tool()
    caller = await pay(engine, stripe, tool)
    admission = await engine.admit(tool, caller)
    assert isinstance(admission, Admission)
    engine.thread.deadline = 0.3
    stripe.emulator.faults.add(path=EVENTS, kind="slow", seconds=1.0, times=1)
    admission.settle(1)
    assert await admission.delivered() is False
    assert engine.stats().pending == 1
    assert engine.flush(10.0)
    assert engine.stats().delivered == 1


async def test_what_stripe_does_not_take_stops_coming_in(
    make_engine: Callable[..., Engine], stripe: EmulatorServer
) -> None:
    """Beyond the bound a paid call is refused with a time, and served again once Stripe has caught up."""
    engine = make_engine(max_unsent_amount=9)
    tool = a_tool()
    caller = await pay(engine, stripe, tool)
    assert isinstance(await engine.admit(tool, caller), Admission)
    stripe.emulator.faults.add(path=EVENTS, kind="status", status=503, times=1000)
    for _ in range(2):
        admission = engine.admit_warm(tool, caller)
        assert admission is not None
        admission.settle(1)
    async with asyncio.timeout(10):
        while engine.admit_warm(tool, caller) is not None:  # noqa: ASYNC110  # the bound is looked at in a thread
            await asyncio.sleep(0.05)
    refusal = await engine.admit(tool, caller)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "billing_unavailable"
    assert refusal.retry_after is not None
    stripe.emulator.faults.clear()
    assert engine.flush(20.0)
    async with asyncio.timeout(10):
        while engine.admit_warm(tool, caller) is None:  # noqa: ASYNC110  # the bound is looked at in a thread
            await asyncio.sleep(0.05)
    assert engine.stats().delivered == 2


def with_stream(engine: Engine) -> None:
    """The stream is for live keys only, which a test never has: put it beside the sandbox's road."""
    opened = engine.thread._open_gateway

    def open_with_stream(thread: StripeThread) -> Gateway:
        gateway = opened(thread)
        gateway.stream = StreamRoad(gateway.connection)
        return gateway

    engine.thread._open_gateway = open_with_stream


async def many(engine: Engine, stripe: EmulatorServer, customers: int) -> None:
    """Usage of many customers at once."""
    tool = a_tool()
    await pay(engine, stripe, tool)
    for number in range(customers):
        engine.thread.add(f"cus_many{number}", "mcp.summarize", 2, tool.money_rates[0].unit_amount)


async def test_many_customers_take_the_stream(make_engine: Callable[..., Engine], stripe: EmulatorServer) -> None:
    """A hundred events a request, one session for all of them, each event once."""
    engine = make_engine()
    with_stream(engine)
    await many(engine, stripe, 500)
    assert engine.flush(20.0)
    sent = [event for record in events(stripe, STREAM) for event in record.body["events"]]
    single = [record.body for record in events(stripe)]
    assert len(sent) + len(single) == 500
    assert len(single) <= STREAM_ABOVE
    assert len({event["identifier"] for event in [*sent, *single]}) == 500
    assert len(events(stripe, STREAM)) <= 5
    assert len(events(stripe, "/v2/billing/meter_event_session")) == 1
    assert engine.stats().delivered == 500


@pytest.mark.parametrize(
    "fault",
    [{"kind": "status", "status": 503}, {"kind": "status", "status": 429}, {"kind": "lost"}],
    ids=lambda fault: str(fault.get("status", fault["kind"])),
)
async def test_a_stream_request_that_fails_is_repeated_on_the_stream(
    make_engine: Callable[..., Engine], stripe: EmulatorServer, fault: dict[str, Any]
) -> None:
    """An event once attempted never changes road: Stripe does not promise to recognise it there."""
    engine = make_engine()
    with_stream(engine)
    stripe.emulator.faults.add(path=STREAM, times=1, **fault)
    await many(engine, stripe, 100)
    assert engine.flush(20.0)
    attempts = [record for record in stripe.emulator.requests if record.path == STREAM]
    first = {event["identifier"] for event in attempts[0].body.get("events", [])}
    elsewhere = {record.body["identifier"] for record in events(stripe)}
    assert not first & elsewhere
    assert engine.stats().delivered == 100


async def test_a_session_that_expired_is_renewed(make_engine: Callable[..., Engine], stripe: EmulatorServer) -> None:
    """Its token lives a quarter of an hour."""
    engine = make_engine()
    with_stream(engine)
    await many(engine, stripe, 100)
    assert engine.flush(20.0)
    stripe.advance(20 * 60)
    await many(engine, stripe, 100)
    assert engine.flush(20.0)
    assert engine.stats().delivered == 200
    assert len(events(stripe, "/v2/billing/meter_event_session")) == 2


async def test_usage_of_unknown_fate_is_given_up_after_23_hours(
    make_engine: Callable[..., Engine], stripe: EmulatorServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Stripe recognises an identifier for a day; later nobody could tell whether it arrived, so it is never guessed."""
    engine = make_engine()
    stripe.emulator.faults.add(path=EVENTS, kind="status", status=503, times=1000)
    tool = a_tool()
    caller = await pay(engine, stripe, tool)
    admission = await engine.admit(tool, caller)
    assert isinstance(admission, Admission)
    admission.settle(3)
    assert engine.flush(1.5) is False
    stripe.advance(24 * 3600)
    with caplog.at_level("ERROR", "stripe_meter"):
        assert engine.flush(20.0)
    stats = engine.stats()
    assert (stats.accepted, stats.delivered, stats.rejected) == (1, 0, 1)
    assert "given up after 23 hours" in caplog.text


async def test_a_parcel_that_stripe_refuses_is_halved(
    make_engine: Callable[..., Engine], stripe: EmulatorServer, caplog: pytest.LogCaptureFixture
) -> None:
    """One event that is refused must not take a hundred along; only what is refused by itself is lost."""
    engine = make_engine()
    with_stream(engine)
    # The whole, its first half, that one's first half … down to a single event.
    stripe.emulator.faults.add(path=STREAM, kind="status", status=400, times=7)
    with caplog.at_level("ERROR", "stripe_meter"):
        await many(engine, stripe, 64)
        assert engine.flush(20.0)
    stats = engine.stats()
    assert (stats.delivered, stats.rejected, stats.pending) == (63, 1, 0)
    assert caplog.text.count("is lost") == 1


async def test_late_usage_is_said_to_be_late(
    make_engine: Callable[..., Engine], stripe: EmulatorServer, caplog: pytest.LogCaptureFixture
) -> None:
    """It counts in the next period, never silently."""
    engine = make_engine()
    tool = a_tool()
    await pay(engine, stripe, tool)
    ended = int(stripe.emulator.clock.now()) - 2 * 3600
    with caplog.at_level("WARNING", "stripe_meter"):
        engine.thread.add("cus_demo_1", "mcp.summarize", 1, tool.money_rates[0].unit_amount, ended)
        assert engine.flush(10.0)
    assert "late_usage" in caplog.text
    (event,) = events(stripe)
    assert int(event.body["timestamp"]) > ended + 3600


async def test_usage_called_before_a_periods_end_is_billed_in_it(
    make_engine: Callable[..., Engine], stripe: EmulatorServer
) -> None:
    """A call in the last second of the month is on this month's invoice, although it is sent in the next."""
    engine = make_engine()
    tool = a_tool(price="$5")
    caller = await pay(engine, stripe, tool)
    admission = await engine.admit(tool, caller)
    assert isinstance(admission, Admission)
    (item,) = stripe.emulator.account.store.all("subscription_item")
    stripe.emulator.faults.add(path=EVENTS, kind="status", status=503, times=1)
    admission.settle(1)
    stripe.advance(item["current_period_end"] - stripe.emulator.clock.now() + 60)
    assert engine.flush(20.0)
    stripe.advance(3600 + 60)
    (invoice,) = [row for row in stripe.emulator.account.store.all("invoice") if row["total"]]
    assert invoice["total"] == 500
