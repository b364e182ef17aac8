"""The hand clock: months pass at once, for Stripe and for the StripeMeter together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import pytest
from mcp import Client

from stripe_meter import StripeMeter
from stripe_meter.emulator import EmulatorServer
from stripe_meter.errors import ConfigurationError
from stripe_meter.testing import HandClock, customer
from stripe_meter.testing.clock import _next_june
from tests.testing.conftest import call, shop

pytestmark = pytest.mark.anyio


async def test_three_paid_calls_are_one_invoice_at_the_end_of_the_month(stripe_clock: HandClock) -> None:
    """2 × $0.60 + 1 × $0.50 = $1.70, paid an hour after the period's end."""
    server = shop()
    caller = await customer(server)
    async with Client(server) as client:
        with caller.calling():
            await call(client)
            await call(client)
            await call(client, "translate")
    stripe_clock.advance(days=31)
    (invoice,) = caller.invoices()
    assert (invoice.text, invoice.total, invoice.amount_due, invoice.status) == ("$1.70", 170, 170, "paid")
    assert caller.owed() == "$0.00"


async def test_a_period_ends_to_the_second(stripe_clock: HandClock) -> None:
    """June has 30 days, and an invoice is a draft for an hour."""
    server = shop()
    caller = await customer(server)
    async with Client(server) as client:
        with caller.calling():
            await call(client)
    stripe_clock.advance(days=29, hours=23, minutes=59, seconds=59)
    assert caller.invoices() == ()
    stripe_clock.advance(seconds=1)
    assert [invoice.status for invoice in caller.invoices()] == ["draft"]
    stripe_clock.advance(hours=1)
    assert [invoice.status for invoice in caller.invoices()] == ["paid"]


async def test_a_call_after_the_month_is_in_the_next_one(stripe_clock: HandClock) -> None:
    """The StripeMeter knows the new time before Stripe has answered it anything."""
    server = shop()
    caller = await customer(server)
    async with Client(server) as client:
        with caller.calling():
            await call(client)
            stripe_clock.advance(days=31)
            await call(client, "translate")
            stripe_clock.advance(days=31)
    assert [invoice.text for invoice in caller.invoices()] == ["$0.60", "$0.50"]
    assert (caller.usage("summarize"), caller.usage("translate")) == (1, 1)


async def test_what_the_meter_remembers_gets_old_too(stripe_clock: HandClock, stripe_emulator: EmulatorServer) -> None:
    """Somebody who cancels in the Dashboard is served from the last snapshot for an hour, and not longer."""
    server = shop()
    caller = await customer(server)
    async with Client(server) as client:
        with caller.calling():
            await call(client)
            async with httpx.AsyncClient(headers={"Authorization": "Bearer sk_test_emulator"}) as dashboard:
                await dashboard.delete(f"{stripe_emulator.url}/v1/subscriptions/sub_test_1")
            assert not (await call(client)).is_error
            stripe_clock.advance(hours=1)
            assert (await call(client)).is_error


async def test_time_stands_still_in_between(stripe_clock: HandClock) -> None:
    """At noon on a first of June, so that a suite sees the same month every day."""
    start = stripe_clock.now
    assert (start.month, start.day, start.hour, start.minute, start.second) == (6, 1, 12, 0, 0)
    await customer(shop())
    assert stripe_clock.now == start
    assert stripe_clock.advance(minutes=5) == start + timedelta(minutes=5) == stripe_clock.now


@pytest.mark.parametrize(
    ("today", "start"),
    [
        (datetime(2026, 5, 31, 23, 0, tzinfo=UTC), datetime(2026, 6, 1, 12, 0, tzinfo=UTC)),
        (datetime(2026, 6, 1, 11, 59, 59, tzinfo=UTC), datetime(2026, 6, 1, 12, 0, tzinfo=UTC)),
        (datetime(2026, 6, 1, 12, 0, tzinfo=UTC), datetime(2027, 6, 1, 12, 0, tzinfo=UTC)),
        (datetime(2028, 2, 29, 1, 2, 3, tzinfo=UTC), datetime(2028, 6, 1, 12, 0, tzinfo=UTC)),
    ],
)
async def test_it_starts_on_the_next_first_of_june(today: datetime, start: datetime) -> None:
    """Stripe's time only goes forward, on every day of the year."""
    assert _next_june(today) == start


async def test_time_goes_forward_only(stripe_clock: HandClock) -> None:
    """An invoice cannot be unmade."""
    with pytest.raises(ValueError, match=r"write advance\(days=31\)"):
        stripe_clock.advance(days=-1)


@pytest.mark.usefixtures("stripe_billing")
async def test_it_must_be_there_from_the_beginning(stripe_emulator: EmulatorServer) -> None:
    """A customer made before would wake up months later, with invoices that the test did not ask for."""
    await customer(shop())
    with pytest.raises(ConfigurationError, match="name the fixture stripe_clock before"):
        HandClock(stripe_emulator)


async def test_what_it_drove_goes_on_by_the_machine_s_clock(
    stripe_emulator: EmulatorServer, stripe_billing: StripeMeter
) -> None:
    """A StripeMeter that lives longer than one test is as it was."""
    clock = HandClock(stripe_emulator)
    with clock.drive(stripe_billing):
        assert stripe_billing.engine.thread.clock.now() == clock.now.timestamp()
    assert abs(stripe_billing.engine.thread.clock.now() - datetime.now(UTC).timestamp()) < 60
