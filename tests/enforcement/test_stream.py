"""The stream that carries many customers: its session, what it refuses, and that nothing changes road once sent."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from stripe_meter.emulator import EmulatorServer
from stripe_meter.emulator.auth import StreamTokens
from stripe_meter.enforcement.engine import Engine
from stripe_meter.enforcement.flusher.sender import STREAM_ABOVE
from tests.enforcement.streams import DAY, SESSION, STREAM, attempts, events, many, moved_together, with_stream

pytestmark = pytest.mark.anyio


@pytest.fixture
def streaming(make_engine: Callable[..., Engine]) -> Engine:
    """An engine as of a live account."""
    engine = make_engine()
    with_stream(engine)
    return engine


def on_the_stream(stripe: EmulatorServer) -> set[str]:
    """Identifiers of what was tried there, as far as the request was read."""
    return {event["identifier"] for record in attempts(stripe, STREAM) for event in record.body.get("events", [])}


def one_by_one(stripe: EmulatorServer) -> set[str]:
    """Identifiers of what arrived on the other road."""
    return {record.body["identifier"] for record in events(stripe)}


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


async def test_many_customers_take_the_stream(streaming: Engine, stripe: EmulatorServer) -> None:
    """A hundred events a request, one session for all of them, each event once."""
    await many(streaming, stripe, 500)
    assert streaming.flush(20.0)
    sent = [event for record in events(stripe, STREAM) for event in record.body["events"]]
    single = [record.body for record in events(stripe)]
    assert len(sent) + len(single) == 500
    assert len(single) <= STREAM_ABOVE
    assert len({event["identifier"] for event in [*sent, *single]}) == 500
    assert len(events(stripe, STREAM)) <= 5
    assert len(events(stripe, SESSION)) == 1
    assert streaming.stats().delivered == 500


@pytest.mark.parametrize(
    "fault",
    [{"kind": "status", "status": 503}, {"kind": "status", "status": 429}, {"kind": "lost"}],
    ids=lambda fault: str(fault.get("status", fault["kind"])),
)
async def test_a_stream_request_that_fails_is_repeated_on_the_stream(
    streaming: Engine, stripe: EmulatorServer, fault: dict[str, Any]
) -> None:
    """An event once attempted never changes road: Stripe does not promise to recognise it there."""
    stripe.emulator.faults.add(path=STREAM, times=1, **fault)
    await many(streaming, stripe, 100)
    assert streaming.flush(20.0)
    assert not on_the_stream(stripe) & one_by_one(stripe)
    assert streaming.stats().delivered == 100


async def test_a_session_that_expired_is_renewed(streaming: Engine, stripe: EmulatorServer) -> None:
    """Its token lives a quarter of an hour."""
    await many(streaming, stripe, 100)
    assert streaming.flush(20.0)
    stripe.advance(20 * 60)
    await many(streaming, stripe, 100)
    assert streaming.flush(20.0)
    assert streaming.stats().delivered == 200
    assert len(events(stripe, SESSION)) == 2


async def test_a_session_that_ended_early_is_renewed_at_once(
    streaming: Engine, stripe: EmulatorServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A refused token says nothing against the secret key, so usage neither waits for one nor changes road."""
    await many(streaming, stripe, 100)
    assert streaming.flush(20.0)
    stripe.emulator.account.stream_tokens = StreamTokens()
    with caplog.at_level("WARNING", "stripe_meter"):
        await many(streaming, stripe, 100)
        assert streaming.flush(20.0)
    assert streaming.stats().delivered == 200
    assert len(events(stripe, SESSION)) == 2
    assert not warnings(caplog)


@pytest.mark.parametrize("status", [400, 403])
async def test_an_account_without_the_stream_sends_one_by_one(
    streaming: Engine, stripe: EmulatorServer, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    """A session that is refused refuses no event: nothing was sent, so everything may take the other road."""
    stripe.emulator.faults.add(path=SESSION, kind="status", status=status, times=1000)
    with caplog.at_level("WARNING", "stripe_meter"):
        await many(streaming, stripe, 120)
        assert streaming.flush(30.0)
    stats = streaming.stats()
    assert (stats.delivered, stats.rejected, stats.pending) == (120, 0, 0)
    assert len(one_by_one(stripe)) == 120
    assert len(attempts(stripe, SESSION)) == 1
    (warning,) = warnings(caplog)
    assert "stream is refused" in warning


async def test_a_session_that_does_not_come_leaves_nothing_in_doubt(streaming: Engine, stripe: EmulatorServer) -> None:
    """No event was sent, so a day later there is nothing that Stripe might have counted already."""
    advance = moved_together(streaming, stripe)
    stripe.emulator.faults.add(path=SESSION, kind="status", status=503, times=1000)
    await many(streaming, stripe, 100)
    assert streaming.flush(2.0) is False
    advance(DAY)
    stripe.emulator.faults.clear()
    stripe.emulator.faults.add(path=STREAM, kind="status", status=429, times=1)
    assert streaming.flush(20.0)
    stats = streaming.stats()
    assert (stats.delivered, stats.rejected) == (100, 0)


async def test_what_may_have_arrived_on_the_stream_stays_on_it(streaming: Engine, stripe: EmulatorServer) -> None:
    """Even when the stream is closed meanwhile: on the other road Stripe might count it again."""
    stripe.emulator.faults.add(path=STREAM, kind="status", status=503, effect=True, times=1)
    stripe.emulator.faults.add(path=STREAM, kind="status", status=403, times=1000)
    await many(streaming, stripe, 100)
    assert streaming.flush(3.0) is False
    assert streaming.stats().pending == len(on_the_stream(stripe)) > 0
    assert not on_the_stream(stripe) & one_by_one(stripe)


async def test_a_parcel_that_is_given_up_is_not_sent_in_halves(
    streaming: Engine, stripe: EmulatorServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Stripe took it and could not say so; sent again a day later it would all be counted twice."""
    advance = moved_together(streaming, stripe)
    stripe.emulator.faults.add(path=STREAM, kind="status", status=503, effect=True, times=1)
    stripe.emulator.faults.add(path=STREAM, kind="status", status=503, times=1000)
    await many(streaming, stripe, 100)
    assert streaming.flush(1.5) is False
    tried = len(attempts(stripe, STREAM))
    advance(DAY)
    stripe.emulator.faults.clear()
    with caplog.at_level("ERROR", "stripe_meter"):
        assert streaming.flush(20.0)
    stats = streaming.stats()
    assert stats.rejected == len(on_the_stream(stripe)) == caplog.text.count("given up after 23 hours")
    assert stats.delivered == 100 - stats.rejected
    assert len(attempts(stripe, STREAM)) == tried


async def test_a_parcel_that_stripe_refuses_is_halved(
    streaming: Engine, stripe: EmulatorServer, caplog: pytest.LogCaptureFixture
) -> None:
    """One event that is refused must not take a hundred along; only what is refused by itself is lost."""
    # The whole, its first half, that one's first half … down to a single event.
    stripe.emulator.faults.add(path=STREAM, kind="status", status=400, times=7)
    with caplog.at_level("ERROR", "stripe_meter"):
        await many(streaming, stripe, 64)
        assert streaming.flush(20.0)
    stats = streaming.stats()
    assert (stats.delivered, stats.rejected, stats.pending) == (63, 1, 0)
    assert caplog.text.count("is lost") == 1
