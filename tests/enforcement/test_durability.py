"""When usage is safe: group commit under `sync`, bounds that refuse, fates that nobody knows, ends of periods."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from stripe_meter.domain.refusals import Refusal
from stripe_meter.emulator import Emulator, EmulatorServer
from stripe_meter.enforcement.engine import Engine
from stripe_meter.enforcement.gate import Admission
from tests.conftest import a_tool, pay
from tests.enforcement.streams import DAY, EVENTS, an_admission, attempts, events, moved_together

pytestmark = pytest.mark.anyio


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


@pytest.mark.parametrize("asks", ["at once", "late"])
async def test_under_sync_usage_that_stripe_refuses_is_not_called_delivered(
    make_engine: Callable[..., Engine], stripe: EmulatorServer, asks: str
) -> None:
    """The receipt says what Stripe has, and it never has this, also if another tool held the loop up meanwhile."""
    engine = make_engine(durability="sync")
    admission = await an_admission(engine, stripe)
    stripe.emulator.faults.add(path=EVENTS, kind="status", status=400, times=1)
    admission.settle(1)
    if asks == "late":
        assert engine.flush(10.0)
    assert await admission.delivered() is False
    assert engine.stats().rejected == 1


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


async def test_a_refused_key_does_not_make_unknown_usage_certain(
    make_engine: Callable[..., Engine], stripe: EmulatorServer
) -> None:
    """Stripe took it, could not say so, and refused the key for a day: sent again it would be counted twice."""
    engine = make_engine()
    advance = moved_together(engine, stripe)
    admission = await an_admission(engine, stripe)
    stripe.emulator.faults.add(path=EVENTS, kind="status", status=503, effect=True, times=1)
    stripe.emulator.faults.add(path=EVENTS, kind="status", status=401, times=1000)
    admission.settle(7)
    assert engine.flush(2.0) is False
    assert [record.status for record in attempts(stripe)] == [503, 401]
    advance(DAY)
    stripe.emulator.faults.clear()
    engine.close()
    assert len(attempts(stripe)) == 2
    assert (engine.stats().delivered, engine.stats().rejected) == (0, 1)


async def test_usage_that_never_left_is_kept_for_days(make_engine: Callable[..., Engine]) -> None:
    """Where connections are refused, nothing can have arrived, so there is nothing to be unsure of."""
    emulator = Emulator(deterministic=True, lag=0.0)
    with EmulatorServer(emulator) as stripe:
        engine = make_engine(emulator=stripe.url)
        advance = moved_together(engine, stripe)
        admission = await an_admission(engine, stripe)
    admission.settle(5)
    assert engine.flush(1.5) is False
    advance(2 * DAY)
    assert engine.flush(1.5) is False
    assert (engine.stats().pending, engine.stats().rejected) == (1, 0)
    with EmulatorServer(emulator, port=int(stripe.url.rpartition(":")[2])) as again:
        assert engine.flush(20.0)
        assert [record.body["payload"]["value"] for record in events(again)] == ["5"]


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


async def after_the_invoice(engine: Engine, stripe: EmulatorServer, status: int) -> tuple[int, str]:
    """A call an hour before its period's end, answered `status` until two hours after.

    Returns:
        That end, and the identifier under which it was tried.
    """
    advance = moved_together(engine, stripe)
    admission = await an_admission(engine, stripe, "$5")
    (item,) = stripe.emulator.account.store.all("subscription_item")
    end: int = item["current_period_end"]
    advance(end - stripe.emulator.clock.now() - 3600)
    stripe.emulator.faults.add(path=EVENTS, kind="status", status=status, times=1000)
    admission.settle(1)
    assert engine.flush(1.0) is False
    identifier = attempts(stripe)[0].body["identifier"]
    advance(end - stripe.emulator.clock.now() + 2 * 3600)
    stripe.emulator.faults.clear()
    assert engine.flush(20.0)
    return end, identifier


async def test_late_usage_that_never_arrived_is_billed_in_the_next_period(
    make_engine: Callable[..., Engine], stripe: EmulatorServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Stripe was too busy until the invoice was final; nothing was counted, so it may be dated anew."""
    engine = make_engine()
    with caplog.at_level("WARNING", "stripe_meter"):
        end, identifier = await after_the_invoice(engine, stripe, 429)
    (event,) = events(stripe)
    assert int(event.body["timestamp"]) > end
    assert event.body["identifier"] != identifier
    assert "late_usage" in caplog.text
    assert engine.stats().late == 0
    stripe.advance(32 * 24 * 3600)
    assert [row["total"] for row in stripe.emulator.account.store.all("invoice") if row["total"]] == [500]


async def test_late_usage_that_may_have_arrived_is_sent_as_it_is_and_reported(
    make_engine: Callable[..., Engine], stripe: EmulatorServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Dated anew it might be billed twice, so it is not; whoever loses that money must hear of it."""
    engine = make_engine()
    with caplog.at_level("ERROR", "stripe_meter"):
        end, identifier = await after_the_invoice(engine, stripe, 503)
    (event,) = events(stripe)
    assert int(event.body["timestamp"]) < end
    assert event.body["identifier"] == identifier
    assert "nobody is billed" in caplog.text
    assert engine.stats().late == 1
