"""Taking a charge back by its receipt: before the flush, after it, and when the invoice is final."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stripe_meter.domain.identity import Caller
from stripe_meter.domain.plans import Free, PayAsYouGo, Plan, Subscription
from stripe_meter.domain.tools import Tool
from stripe_meter.emulator import EmulatorServer
from stripe_meter.enforcement.engine import Engine
from stripe_meter.enforcement.gate import Admission
from stripe_meter.errors import ConfigurationError
from tests.conftest import Driven, a_tool, pay
from tests.enforcement.test_engine import admitted

pytestmark = pytest.mark.anyio

DAY = 86_400


@pytest.fixture
async def charged(engine: Engine, stripe: EmulatorServer) -> Callable[[], str]:
    """Three paid calls of 50 cents; gives the id of the last one's receipt."""
    tool = a_tool(price="$0.50")
    await engine.prepare([tool])
    caller = await pay(engine, stripe, tool)
    for _ in range(3):
        token = settled(engine, await admitted(engine, tool, caller))
    return lambda: token


def settled(engine: Engine, admission: Admission) -> str:
    """Charge one call; the id of its receipt."""
    receipt = admission.settle(1)
    assert receipt is not None
    assert admission.charge is not None
    return engine.sales.sealer.seal(receipt, admission.charge)


def totals(stripe: EmulatorServer) -> list[int]:
    """Of all final invoices that bill something, in minor units."""
    stripe.emulator.clock.advance(32 * 86_400)
    return [row["total"] for row in stripe.emulator.account.store.all("invoice") if row["total"]]


@pytest.mark.parametrize("is_flushed", [False, True], ids=["before the flush", "after it"])
async def test_a_refunded_call_is_not_billed(
    engine: Engine, stripe: EmulatorServer, charged: Callable[[], str], is_flushed: bool
) -> None:
    """Three calls, one taken back, however often it is asked for: $1.00."""
    if is_flushed:
        assert engine.flush()
    for _ in range(2):
        assert await engine.sales.refund(charged()) == "evt"
    assert engine.flush()
    assert totals(stripe) == [100]


async def test_a_billed_call_is_credited_on_its_invoice(
    engine: Engine, stripe: EmulatorServer, charged: Callable[[], str]
) -> None:
    """The invoice is final, so usage cannot change any more; the customer gets 50 cents once."""
    assert engine.flush()
    assert totals(stripe) == [150]
    notes = [await engine.sales.refund(charged()) for _ in range(2)]
    assert notes[0] == notes[1]
    (note,) = stripe.emulator.account.store.all("credit_note")
    assert (note["id"], note["amount"]) == (notes[0], 50)


@pytest.mark.parametrize(
    "spoil",
    [lambda token: token.replace("|1|", "|2|", 1), lambda token: token[:-1] + "x", lambda _: "rcp_"],
    ids=["quantity", "signature", "empty"],
)
async def test_a_receipt_that_somebody_changed_is_none(
    engine: Engine, stripe: EmulatorServer, charged: Callable[[], str], spoil: Callable[[str], str]
) -> None:
    """A caller may show any text as a receipt; only what this seller signed counts."""
    with pytest.raises(ConfigurationError, match="no receipt of this seller"):
        await engine.sales.refund(spoil(charged()))


async def test_a_receipt_of_another_seller_is_none(
    make_engine: Callable[..., Engine], charged: Callable[[], str]
) -> None:
    """Signed under another Stripe key."""
    other = make_engine(emulator=None, stripe_secret_key="sk_test_another")
    with pytest.raises(ConfigurationError, match="no receipt of this seller"):
        await other.sales.refund(charged())


async def test_the_receipts_of_one_seller_differ(engine: Engine, stripe: EmulatorServer) -> None:
    """Two equal calls are two charges."""
    tool: Tool = a_tool()
    await engine.prepare([tool])
    caller = await pay(engine, stripe, tool)
    assert len({settled(engine, await admitted(engine, tool, caller)) for _ in range(2)}) == 2


async def test_days_later_asking_again_changes_nothing(
    engine: Engine, stripe: EmulatorServer, charged: Callable[[], str]
) -> None:
    """Stripe forgets an event's identifier after a day, so the customer's own list has to remember."""
    assert engine.flush()
    assert await engine.sales.refund(charged()) == "evt"
    stripe.advance(3 * DAY)
    assert await engine.sales.refund(charged()) == "evt"
    assert totals(stripe) == [100]
    assert await engine.sales.refund(charged()) == "evt", "taken off before the invoice, so there is nothing to credit"
    assert list(stripe.emulator.account.store.all("credit_note")) == []


async def test_discounted_calls_are_given_back_from_the_highest_tier(
    make_engine: Callable[..., Engine], stripe: EmulatorServer
) -> None:
    """$2 for the first and $1 for each of two more: a call less would have saved $1, and three calls all $4."""
    engine, tool = make_engine(PayAsYouGo(volume_discounts=[(1, 50)])), a_tool(price="$2")
    await engine.prepare([tool])
    caller = await pay(engine, stripe, tool)
    tokens = [settled(engine, await admitted(engine, tool, caller)) for _ in range(3)]
    assert engine.flush()
    assert totals(stripe) == [400]
    for token in tokens:
        await engine.sales.refund(token)
    notes = stripe.emulator.account.store.all("credit_note")
    assert sorted(note["amount"] for note in notes) == [100, 100, 200]


async def test_every_line_of_a_long_invoice_is_found(
    make_engine: Callable[..., Engine], stripe: EmulatorServer
) -> None:
    """Stripe shows ten lines of an invoice with it; the others have to be asked for."""
    engine, tools = make_engine(), [a_tool(f"tool{number}", "$1") for number in range(12)]
    await engine.prepare(tools)
    caller = await pay(engine, stripe, tools[0])
    tokens = [settled(engine, await admitted(engine, tool, caller)) for tool in tools]
    assert engine.flush()
    assert totals(stripe) == [1200]
    given = [await engine.sales.refund(tokens[place]) for place in (0, 10, 11)]
    assert len({note for note in given if note.startswith("cn_")}) == 3


async def test_a_charge_is_credited_although_its_price_is_not_for_sale_any_more(
    make_engine: Callable[..., Engine], stripe: EmulatorServer
) -> None:
    """What counts is the meter that the invoice's line bills, not today's catalogue."""
    engine, tool = make_engine(), a_tool(price="$1")
    await engine.prepare([tool])
    caller = await pay(engine, stripe, tool)
    token = settled(engine, await admitted(engine, tool, caller))
    assert engine.flush()
    assert totals(stripe) == [100]
    later = make_engine()
    await later.prepare([a_tool("another", "$3")])
    assert (await later.sales.refund(token)).startswith("cn_")


@pytest.mark.parametrize(
    "plan",
    [Free(calls=2), Subscription("basic", "$5/month", included=2), Subscription("pro", "$5/month", 2, "$1", True)],
    ids=["free calls", "no overage", "hard cap"],
)
async def test_a_call_of_a_limit_that_is_refunded_can_be_called_again(
    make_engine: Callable[..., Engine], stripe: EmulatorServer, plan: Plan
) -> None:
    """At once where it was refunded, once however often it is asked for, and elsewhere when the count is read."""
    plans = (plan, PayAsYouGo()) if isinstance(plan, Free) else (plan,)
    engine, tool = make_engine(*plans), a_tool(price=("1 call", "$3") if isinstance(plan, Free) else "1 call")
    await engine.prepare([tool])
    caller = await pay(engine, stripe, tool)
    limited = "allowance" if isinstance(plan, Free) else "plan"
    tokens = [settled(engine, await admitted(engine, tool, caller)) for _ in range(2)]
    assert await ledger_of_next(engine, tool, caller) != limited
    for _ in range(2):
        assert await engine.sales.refund(tokens[0]) == "evt"
    assert await ledger_of_next(engine, tool, caller) == limited
    settled(engine, await admitted(engine, tool, caller))
    assert await ledger_of_next(engine, tool, caller) != limited
    assert engine.flush()
    await engine.sales.refund(tokens[1])
    other = make_engine(*plans)
    await other.prepare([tool])
    settled(other, await admitted(other, tool, caller))
    assert await ledger_of_next(other, tool, caller) != limited


async def ledger_of_next(engine: Engine, tool: Tool, caller: Caller) -> str:
    """Which pocket would pay the next call, or why none does."""
    admission = engine.admit_warm(tool, caller) or await engine.admit(tool, caller)
    if not isinstance(admission, Admission):
        return admission.reason
    admission.release()
    assert admission.offer is not None
    return admission.offer.terms.ledger


async def test_a_refunded_call_of_a_plan_makes_the_next_one_an_included_one(
    make_engine: Callable[..., Engine], stripe: EmulatorServer
) -> None:
    """Stripe bills what is left on the meter, whichever call was taken back; receipts say the same."""
    engine, tool = make_engine(Subscription("pro", "$10/month", included=2, overage="$1")), a_tool(price="1 call")
    await engine.prepare([tool])
    caller = await pay(engine, stripe, tool)
    first = settled(engine, await admitted(engine, tool, caller))
    settled(engine, await admitted(engine, tool, caller))
    assert await engine.sales.refund(first) == "evt"
    receipts = [(await admitted(engine, tool, caller)).settle(1) for _ in range(2)]
    assert [str(receipt.amount) for receipt in receipts if receipt] == ["$0.00", "$1.00"]
    assert engine.flush()
    assert totals(stripe) == [1000, 1100]


async def test_a_refund_of_last_month_gives_nothing_of_this_month(driven: Driven, stripe: EmulatorServer) -> None:
    """A free call that is refunded after the reset day was never part of the new allowance."""
    engine, clock = driven(Free(calls=1), PayAsYouGo())
    tool = a_tool()
    await engine.prepare([tool])
    caller = await pay(engine, stripe, tool)
    token = settled(engine, await admitted(engine, tool, caller))
    clock.advance(days=32)
    settled(engine, await admitted(engine, tool, caller))
    assert await engine.sales.refund(token) == "evt"
    assert await ledger_of_next(engine, tool, caller) == "usage"
