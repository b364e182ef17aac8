"""Plans in force: included calls, overage, hard stops, free calls, trials, and several plans on one server."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stripe_meter.domain.plans import Free, PayAsYouGo, Subscription
from stripe_meter.domain.refusals import Refusal
from stripe_meter.emulator import EmulatorServer
from stripe_meter.enforcement.engine import Engine
from tests.conftest import a_tool, pay, stranger
from tests.enforcement.test_engine import admitted, refused

pytestmark = pytest.mark.anyio

Make = Callable[..., Engine]


def invoices(stripe: EmulatorServer, customer: str) -> list[int]:
    """Totals of everything a customer was billed, in minor units, oldest first."""
    rows = stripe.emulator.account.store.all("invoice")
    return [row["total"] for row in sorted(rows, key=lambda row: row["created"]) if row["customer"] == customer]


async def test_included_calls_cost_nothing_and_further_ones_the_overage(
    make_engine: Make, stripe: EmulatorServer
) -> None:
    """$10 for 3 calls; the fourth and fifth cost 25 cents each."""
    engine, tool = make_engine(Subscription("pro", "$10/month", included=3, overage="$0.25")), a_tool()
    await engine.prepare([tool])
    caller = await pay(engine, stripe, tool)
    receipts = [(await admitted(engine, tool, caller)).settle(1) for _ in range(5)]
    assert [str(receipt.amount) for receipt in receipts if receipt] == ["$0.00", "$0.00", "$0.00", "$0.25", "$0.25"]
    assert engine.flush()
    assert receipts[0] is not None
    customer = str(receipts[0].customer)
    assert invoices(stripe, customer) == [1000]
    stripe.emulator.clock.advance(32 * 86400)
    assert invoices(stripe, customer) == [1000, 1050]


async def test_a_plan_without_overage_stops_at_its_included_calls(make_engine: Make, stripe: EmulatorServer) -> None:
    """Whoever was promised a fixed price is never billed more."""
    engine, tool = make_engine(Subscription("basic", "$5/month", included=2)), a_tool()
    await engine.prepare([tool])
    caller = await pay(engine, stripe, tool)
    for _ in range(2):
        (await admitted(engine, tool, caller)).settle(1)
    refusal = await refused(engine, tool, caller)
    assert refusal.reason == "allowance_used"
    assert "The calls of your plan (2) are used until" in refusal.text


async def test_a_call_that_fails_gives_its_place_back(make_engine: Make, stripe: EmulatorServer) -> None:
    """Only work that succeeded counts against a limit."""
    engine, tool = make_engine(Subscription("basic", "$5/month", included=1)), a_tool()
    await engine.prepare([tool])
    caller = await pay(engine, stripe, tool)
    first = await admitted(engine, tool, caller)
    assert (await refused(engine, tool, caller)).reason == "allowance_used"
    first.release()
    (await admitted(engine, tool, caller)).settle(1)
    assert (await refused(engine, tool, caller)).reason == "allowance_used"


async def test_free_calls_come_before_paid_ones(make_engine: Make, stripe: EmulatorServer) -> None:
    """A subscriber's first two calls of the month are free, the third is metered."""
    engine, tool = make_engine(Free(calls=2), PayAsYouGo()), a_tool()
    await engine.prepare([tool])
    caller = await pay(engine, stripe, tool)
    receipts = [(await admitted(engine, tool, caller)).settle(1) for _ in range(3)]
    assert [receipt.ledger for receipt in receipts if receipt] == ["allowance", "allowance", "usage"]


async def test_listed_tools_are_free_for_strangers_too(make_engine: Make, stripe: EmulatorServer) -> None:
    """Nobody has to be known for what is neither counted nor paid."""
    engine = make_engine(Free(calls=2, tools=["basic-*"]), PayAsYouGo())
    await engine.prepare([a_tool("basic-look"), a_tool("deep")])
    assert not isinstance(await engine.admit(a_tool("basic-look"), stranger()), Refusal)
    assert (await refused(engine, a_tool("deep"), stranger())).reason == "identity_required"


async def test_free_calls_start_anew_on_the_reset_day(make_engine: Make, stripe: EmulatorServer) -> None:
    """Without any job or write: the counter belongs to the month."""
    engine, tool = make_engine(Free(calls=1), PayAsYouGo()), a_tool()
    await engine.prepare([tool])
    caller = await pay(engine, stripe, tool)
    for ledger in ("allowance", "usage"):
        receipt = (await admitted(engine, tool, caller)).settle(1)
        assert receipt is not None
        assert receipt.ledger == ledger
