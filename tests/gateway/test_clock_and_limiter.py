"""Stripe's clock as learned from its answers, and the rate limit over all our requests."""

from __future__ import annotations

import asyncio
from email.utils import formatdate

import pytest

from stripe_meter.gateway.clock import StripeClock
from stripe_meter.gateway.limiter import Priority, RateLimiter

pytestmark = pytest.mark.anyio
NOW = 1_700_000_000.0


def date(offset: float) -> str:
    return formatdate(NOW + offset, usegmt=True)


async def test_a_clock_that_is_right_is_left_alone() -> None:
    """The header has whole seconds, so within a second ours is the better one."""
    clock = StripeClock(lambda: NOW, lambda: 0.0)
    for _ in range(5):
        clock.learn(date(0.0))
    assert clock.now() == NOW


async def test_a_fast_clock_is_corrected_by_the_median() -> None:
    """Six minutes fast, and Stripe would reject all usage days later; one odd answer changes nothing."""
    clock = StripeClock(lambda: NOW, lambda: 0.0)
    for offset in (-40.0, -40.0, -41.0, -2.0, -40.0):
        clock.learn(date(offset))
    assert clock.offset == pytest.approx(-39.5)


async def test_a_jump_is_followed_at_once() -> None:
    """A test clock moved a month, or the machine slept."""
    clock = StripeClock(lambda: NOW, lambda: 0.0)
    for _ in range(9):
        clock.learn(date(0.0))
    clock.learn(date(31 * 86400.0))
    assert clock.offset == pytest.approx(31 * 86400.0, abs=1.0)


async def test_a_wall_clock_that_is_set_forward_dates_nothing_into_the_future(caplog: pytest.LogCaptureFixture) -> None:
    """Stripe throws away what is dated five minutes ahead, after it has said yes; the author hears of it once."""
    set_by, passed = [0.0], [0.0]
    clock = StripeClock(lambda: NOW + passed[0] + set_by[0], lambda: passed[0])
    clock.learn(date(0.0))
    for set_by[0], passed[0] in ((3600.0, 10.0), (-3600.0, 20.0)):
        assert clock.now() == pytest.approx(NOW + passed[0], abs=1.0)
        clock.learn(date(passed[0]))
        assert clock.now() == pytest.approx(NOW + passed[0], abs=1.0)
    assert [record.getMessage()[:45] for record in caplog.records] == ["this machine's clock was set by +3600 seconds"]


async def test_a_steady_clock_that_stood_still_is_late_until_the_next_answer() -> None:
    """A paused virtual machine counts nothing; dated too early is billed, dated too late is not."""
    away = 0.0
    clock = StripeClock(lambda: NOW, lambda: 0.0)
    clock.learn(date(0.0))
    away = 7200.0
    assert clock.now() <= NOW + away
    clock.learn(date(away))
    assert clock.now() == pytest.approx(NOW + away, abs=1.0)


@pytest.mark.parametrize("header", [None, "", "yesterday", "Sun, 99 Foo 2026"])
async def test_an_unreadable_date_is_ignored(header: str | None) -> None:
    """Whatever a proxy puts there."""
    clock = StripeClock(lambda: NOW, lambda: 0.0)
    clock.learn(header)
    assert clock.offset == 0.0


async def test_the_important_request_goes_first() -> None:
    """When the limit bites, a purchase does not wait behind the catalogue."""
    limiter = RateLimiter(20.0)
    for _ in range(20):
        await limiter.acquire(Priority.ACCOUNT)
    order: list[Priority] = []

    async def request(priority: Priority) -> None:
        await limiter.acquire(priority)
        order.append(priority)

    wanted = [Priority.CATALOGUE, Priority.METER_EVENT, Priority.ACCOUNT, Priority.PURCHASE]
    async with asyncio.TaskGroup() as group:
        for priority in wanted:
            group.create_task(request(priority))
    assert order == sorted(wanted)


async def test_no_more_than_the_rate_gets_through() -> None:
    """One second's worth at once, then the rate; measured by what passes, with time only as the bound."""
    limiter = RateLimiter(50.0)
    loop = asyncio.get_running_loop()
    began = loop.time()
    for _ in range(75):
        await limiter.acquire(Priority.METER_EVENT)
    assert loop.time() - began >= 25 / 50.0 - 0.05


async def test_a_pause_holds_everything_back() -> None:
    """A 429 speaks for the whole account."""
    limiter = RateLimiter(100.0)
    loop = asyncio.get_running_loop()
    await limiter.acquire(Priority.ACCOUNT)
    began = loop.time()
    limiter.slow_down(0.2)
    await limiter.acquire(Priority.PURCHASE)
    assert loop.time() - began >= 0.19


async def test_a_process_that_ends_cuts_a_pause_short() -> None:
    """Also for who waits already: in a minute there would be nobody left to send anything."""
    limiter = RateLimiter(100.0)
    limiter.slow_down(60.0)
    waiting = asyncio.create_task(limiter.acquire(Priority.METER_EVENT))
    await asyncio.sleep(0)
    limiter.hurry()
    async with asyncio.timeout(10):
        await waiting
        limiter.slow_down(60.0)
        await limiter.acquire(Priority.DRAIN)
    limiter.resume()
    limiter.slow_down(60.0)
    assert limiter.paused_for > 30.0, "a process that did not end waits again as long as it is told"


async def test_a_caller_that_gave_up_keeps_nobody_waiting() -> None:
    """Its turn is skipped."""
    limiter = RateLimiter(10.0)
    for _ in range(10):
        await limiter.acquire(Priority.ACCOUNT)
    gone = asyncio.create_task(limiter.acquire(Priority.PURCHASE))
    await asyncio.sleep(0)
    gone.cancel()
    async with asyncio.timeout(5):
        await limiter.acquire(Priority.ACCOUNT)
    assert gone.cancelled()


async def test_a_429_lowers_the_rate_and_time_brings_it_back() -> None:
    """Other processes share the account's limit; only Stripe's answers tell how much."""
    limiter = RateLimiter(100.0)
    for _ in range(3):
        limiter.slow_down(0.01)
    assert limiter.rate == pytest.approx(70.0), "answers to requests that flew together are one piece of news"
    await asyncio.sleep(0.02)
    limiter.slow_down(0.01)
    assert limiter.rate == pytest.approx(49.0)
    limiter._refilled = asyncio.get_running_loop().time() - 60.0
    await limiter.acquire(Priority.ACCOUNT)
    assert limiter.rate == 100.0
