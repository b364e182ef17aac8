"""Spend caps of sellers and of customers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stripe_meter.domain.plans import PayAsYouGo, Subscription
from stripe_meter.domain.terms import parse_cap
from stripe_meter.emulator import EmulatorServer
from stripe_meter.enforcement.engine import Engine
from stripe_meter.enforcement.gate import Admission
from stripe_meter.errors import ConfigurationError
from stripe_meter.meter import StripeMeter
from stripe_meter.settings import Settings
from tests.conftest import PAGES, Driven, a_tool, pay
from tests.enforcement.test_engine import admitted, caller_customer, refused, until_asked
from tests.enforcement.test_refunds import settled

pytestmark = pytest.mark.anyio


@pytest.fixture
def capped(stripe: EmulatorServer) -> Any:
    """Engines with a spend cap, closed at the end."""
    made: list[Engine] = []

    def make(cap: str, *plans: Any) -> Engine:
        settings = Settings(emulator=stripe.url, public_url=PAGES)
        made.append(Engine(plans or (PayAsYouGo(),), settings, spend_cap=cap))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


async def set_cap(engine: Engine, customer: str, cap: str) -> None:
    """Write a customer's own cap, in minor units, and read the customer again."""
    await note(engine, customer, {"stripe_meter_spend_cap": cap})


async def note(engine: Engine, customer: str, metadata: dict[str, str]) -> None:
    """Write metadata of a customer, and read the customer again."""
    await engine.thread.call(
        lambda g: g.connection.write(
            lambda client, options: client.v1.customers.update_async(customer, {"metadata": metadata}, options)
        ),
        5.0,
    )
    await engine.thread.call(lambda _: engine._accounts.refresh(customer), 5.0)


async def test_a_runaway_agent_is_stopped_at_the_cap(capped: Callable[..., Engine], stripe: EmulatorServer) -> None:
    """$1.00 a month buys three calls at 30 cents, not a fourth."""
    engine, tool = capped("$1/month"), a_tool(price="$0.30")
    await engine.prepare([tool])
    caller = await pay(engine, stripe, tool)
    for _ in range(3):
        (await admitted(engine, tool, caller)).settle(1)
    refusal = await refused(engine, tool, caller)
    assert refusal.reason == "spend_cap"
    assert "your spending limit of $1.00 a month is reached" in refusal.text


@pytest.fixture
def cap_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration file in the working directory."""
    monkeypatch.chdir(tmp_path)
    Path("stripe-meter.toml").write_text('spend_cap = "$0.30/day"\n')


@pytest.mark.usefixtures("cap_in_a_file")
async def test_the_cap_of_a_file_counts_where_the_code_names_none(
    make_engine: Callable[..., Engine], stripe: EmulatorServer
) -> None:
    """Who sells an existing server from a file has no code to write it in; the code goes before the file."""
    engine, tool = make_engine(), a_tool(price="$0.30")
    await engine.prepare([tool])
    caller = await pay(engine, stripe, tool)
    (await admitted(engine, tool, caller)).settle(1)
    assert "your spending limit of $0.30 a day is reached" in (await refused(engine, tool, caller)).text
    assert StripeMeter([PayAsYouGo()], spend_cap="$2/day").engine.offering.cap == parse_cap("$2/day")


async def test_calls_that_fail_do_not_count(capped: Callable[..., Engine], stripe: EmulatorServer) -> None:
    """What was set aside for them is given back."""
    engine, tool = capped("$0.30/day"), a_tool(price="$0.30")
    await engine.prepare([tool])
    caller = await pay(engine, stripe, tool)
    for _ in range(5):
        (await admitted(engine, tool, caller)).release()
    (await admitted(engine, tool, caller)).settle(1)
    assert (await refused(engine, tool, caller)).reason == "spend_cap"


async def test_another_process_starts_from_what_was_spent(
    capped: Callable[..., Engine], stripe: EmulatorServer
) -> None:
    """The sum is kept in Stripe, on a meter without a price that no invoice shows."""
    first, tool = capped("$1/month"), a_tool(price="$0.30")
    await first.prepare([tool])
    caller = await pay(first, stripe, tool)
    for _ in range(2):
        (await admitted(first, tool, caller)).settle(1)
    assert first.flush()
    assert first.stats().accepted == 2
    second = capped("$1/month")
    await second.prepare([tool])
    (await admitted(second, tool, caller)).settle(1)
    assert (await refused(second, tool, caller)).reason == "spend_cap"
    assert second.flush()
    stripe.emulator.clock.advance(32 * 86_400)
    assert [row["total"] for row in stripe.emulator.account.store.all("invoice") if row["total"]] == [90]


async def test_a_dispute_that_is_told_while_a_call_is_decided_counts(
    capped: Callable[..., Engine], stripe: EmulatorServer
) -> None:
    """Otherwise the old decision would serve somebody for an hour whose calls are to be paused."""
    engine, tool = capped("$50/month"), a_tool()
    await engine.prepare([tool])
    caller = await pay(engine, stripe, tool)
    first = asyncio.create_task(refused(engine, tool, caller))
    await until_asked(stripe, "GET /v1/billing/meters", seconds=0.5)
    await note(engine, caller_customer(caller), {"sm_dispute_dp_1": "1"})
    assert "disputed" in (await first).text
    assert "disputed" in (await refused(engine, tool, caller)).text
    assert engine.admit_warm(tool, caller) is None


async def test_a_cap_starts_anew(capped: Callable[..., Engine], stripe: EmulatorServer) -> None:
    """A daily one at 00:00 UTC."""
    engine, tool = capped("$0.30/day"), a_tool(price="$0.30")
    await engine.prepare([tool])
    caller = await pay(engine, stripe, tool)
    (await admitted(engine, tool, caller)).settle(1)
    assert (await refused(engine, tool, caller)).reason == "spend_cap"
    assert engine.flush()
    stripe.emulator.clock.advance(86_400)
    await engine.thread.call(lambda _: engine._accounts.refresh(caller_customer(caller)), 5.0)
    (await admitted(engine, tool, caller)).settle(1)


async def test_a_customers_own_cap_counts_when_it_is_lower(
    capped: Callable[..., Engine], stripe: EmulatorServer
) -> None:
    """Set in their metadata, in minor units; a higher one than the seller's changes nothing."""
    engine, tool = capped("$1/month"), a_tool(price="$0.30")
    await engine.prepare([tool])
    caller = await pay(engine, stripe, tool)
    customer = caller_customer(caller)
    for cap, verdict in (("40", "spend_cap"), ("400", None)):
        await set_cap(engine, customer, cap)
        (await admitted(engine, tool, caller)).settle(1)
        if verdict is not None:
            assert (await refused(engine, tool, caller)).reason == verdict


async def test_overage_of_a_plan_counts_and_included_calls_do_not(
    capped: Callable[..., Engine], stripe: EmulatorServer
) -> None:
    """Two included calls, then 30 cents each: 50 cents buy one of these; a second would be ten cents too many."""
    engine = capped("$0.50/month", Subscription("pro", "$10/month", included=2, overage="$0.30"))
    tool = a_tool()
    await engine.prepare([tool])
    caller = await pay(engine, stripe, tool)
    for _ in range(3):
        (await admitted(engine, tool, caller)).settle(1)
    assert (await refused(engine, tool, caller)).reason == "spend_cap"


async def test_calls_at_the_same_time_do_not_get_past_the_cap(
    capped: Callable[..., Engine], stripe: EmulatorServer
) -> None:
    """Two included, then $1 each: of ten calls at once four run under $2 a day, whatever order they end in."""
    engine = capped("$2/day", Subscription("pro", "$10/month", included=2, overage="$1"))
    tool = a_tool()
    await engine.prepare([tool])
    caller = await pay(engine, stripe, tool)
    verdicts = [engine.admit_warm(tool, caller) or await engine.admit(tool, caller) for _ in range(10)]
    running = [verdict for verdict in verdicts if isinstance(verdict, Admission)]
    assert len(running) == 4
    receipts = [admission.settle(1) for admission in reversed(running)]
    assert [str(receipt.amount) for receipt in receipts if receipt] == ["$0.00", "$0.00", "$1.00", "$1.00"]
    assert engine.flush()
    stripe.emulator.clock.advance(32 * 86_400)
    assert [row["total"] for row in stripe.emulator.account.store.all("invoice")] == [1000, 1200]


async def test_a_call_of_several_included_ones_is_stopped_before_it_costs_too_much(
    capped: Callable[..., Engine], stripe: EmulatorServer
) -> None:
    """One included call and three at $1 would be $2 of a cap of $1.50; one that is included still goes through."""
    engine = capped("$1.50/day", Subscription("pro", "$10/month", included=2, overage="$1"))
    three, one = a_tool("three", "3 calls"), a_tool("one", "1 call")
    await engine.prepare([three, one])
    caller = await pay(engine, stripe, one)
    (await admitted(engine, one, caller)).settle(1)
    assert (await refused(engine, three, caller)).reason == "spend_cap"
    receipt = (await admitted(engine, one, caller)).settle(1)
    assert receipt is not None
    assert str(receipt.amount) == "$0.00"


async def test_a_capped_tool_that_counts_units_needs_a_bound(capped: Callable[..., Engine]) -> None:
    """One call of 100,000 words would go far over any cap, and nobody could tell beforehand."""
    for plan in (PayAsYouGo(), Subscription("pro", "$10/month", included=2, overage="$1")):
        engine = capped("$2/month", plan)
        price = "$0.01 per word" if isinstance(plan, PayAsYouGo) else "1 call per 100 words"
        with pytest.raises(ConfigurationError, match=r"counts words and spend_cap stops at an amount.*max_units="):
            engine.register(a_tool("words", price))
        engine.register(a_tool("words", price, max_units=200))


async def test_a_call_that_was_refunded_is_not_spent(capped: Callable[..., Engine], stripe: EmulatorServer) -> None:
    """Two calls at $1 reach $2; the one that is taken back is given back to the cap, once, here and elsewhere."""
    engine, tool = capped("$2/month"), a_tool(price="$1")
    await engine.prepare([tool])
    caller = await pay(engine, stripe, tool)
    admission = await admitted(engine, tool, caller)
    receipt = admission.settle(1)
    assert receipt is not None
    assert admission.charge is not None
    number = engine.sales.sealer.seal(receipt, admission.charge)
    (await admitted(engine, tool, caller)).settle(1)
    assert (await refused(engine, tool, caller)).reason == "spend_cap"
    assert engine.flush()
    for _ in range(2):
        assert await engine.sales.refund(number) == "evt"
    other = capped("$2/month")
    await other.prepare([tool])
    for process in (engine, other):
        (await admitted(process, tool, caller)).release()
    (await admitted(engine, tool, caller)).settle(1)
    assert (await refused(engine, tool, caller)).reason == "spend_cap"


async def test_a_credit_note_that_is_asked_for_again_days_later_gives_back_once(
    driven: Driven, stripe: EmulatorServer
) -> None:
    """Stripe forgets the identifier of the negative event after a day, and the note is found by its metadata."""
    engine, clock = driven(PayAsYouGo(), spend_cap="$2/month")
    tool = a_tool(price="$1")
    await engine.prepare([tool])
    clock.advance(days=9)
    caller = await pay(engine, stripe, tool)
    clock.advance(days=22)
    numbers = [settled(engine, await admitted(engine, tool, caller)) for _ in range(2)]
    assert (await refused(engine, tool, caller)).reason == "spend_cap"
    clock.advance(days=9)
    assert (await engine.sales.refund(numbers[0])).startswith("cn_")
    (await admitted(engine, tool, caller)).settle(1)
    clock.advance(days=3)
    assert (await engine.sales.refund(numbers[0])).startswith("cn_")
    other, _ = driven(PayAsYouGo(), spend_cap="$2/month")
    await other.prepare([tool])
    for process in (engine, other):
        assert (await refused(process, tool, caller)).reason == "spend_cap"


@pytest.mark.parametrize(
    "plan",
    [PayAsYouGo(), Subscription("pro", "$10/month", included=0, overage="$1")],
    ids=["pay as you go", "overage"],
)
async def test_a_call_across_midnight_belongs_to_the_day_in_which_it_began(
    driven: Driven, stripe: EmulatorServer, plan: PayAsYouGo | Subscription
) -> None:
    """It was let in under that day's cap, so it takes nothing of the next day's, here or in another process."""
    engine, clock = driven(plan, spend_cap="$2/day")
    tool = a_tool(price="$1" if isinstance(plan, PayAsYouGo) else "1 call")
    await engine.prepare([tool])
    caller = await pay(engine, stripe, tool)
    clock.advance(hours=11, minutes=59, seconds=50)
    running = [await admitted(engine, tool, caller) for _ in range(2)]
    assert (await refused(engine, tool, caller)).reason == "spend_cap"
    clock.advance(seconds=30)
    number, _ = [settled(engine, admission) for admission in running]
    assert engine.flush()
    await engine.sales.refund(number)
    (await admitted(engine, tool, caller)).settle(1)
    assert engine.flush()
    other, _ = driven(plan, spend_cap="$2/day")
    await other.prepare([tool])
    (await admitted(other, tool, caller)).settle(1)
    assert (await refused(other, tool, caller)).reason == "spend_cap"
    assert engine.flush()
    assert other.flush()
    fee = 0 if isinstance(plan, PayAsYouGo) else 1000
    clock.advance(days=32)
    assert max(row["total"] for row in stripe.emulator.account.store.all("invoice")) == fee + 300


async def test_a_refund_of_an_included_call_gives_back_what_it_saves(
    capped: Callable[..., Engine], stripe: EmulatorServer
) -> None:
    """Included, $1, then the first is taken back: Stripe bills one call, so nothing of the $2 is spent any more."""
    engine = capped("$2/month", Subscription("pro", "$10/month", included=1, overage="$1"))
    tool = a_tool(price="1 call")
    await engine.prepare([tool])
    caller = await pay(engine, stripe, tool)
    first = settled(engine, await admitted(engine, tool, caller))
    settled(engine, await admitted(engine, tool, caller))
    await engine.sales.refund(first)
    for _ in range(2):
        settled(engine, await admitted(engine, tool, caller))
    assert (await refused(engine, tool, caller)).reason == "spend_cap"
    assert engine.flush()
    stripe.emulator.clock.advance(32 * 86_400)
    assert [row["total"] for row in stripe.emulator.account.store.all("invoice")] == [1000, 1200]
