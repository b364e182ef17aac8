"""Customers who are billed by another price than the code's: by its unit, by its tiers, from the moment it counts."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from stripe_meter.domain.changes import changes
from stripe_meter.domain.desired import desired
from stripe_meter.domain.identity import Caller
from stripe_meter.domain.migration import steps
from stripe_meter.domain.plans import PayAsYouGo, Plan, Subscription
from stripe_meter.domain.tools import Tool
from stripe_meter.domain.usage import Receipt
from stripe_meter.emulator import EmulatorServer
from stripe_meter.enforcement.engine import Engine
from stripe_meter.gateway.editing import Editor
from stripe_meter.gateway.gateway import Gateway
from stripe_meter.gateway.migration import Migration
from tests.conftest import a_tool, pay
from tests.enforcement.test_engine import admitted, refused
from tests.enforcement.test_plans import invoices
from tests.web.test_plan_change import on_its_clock

pytestmark = pytest.mark.anyio

Make = Callable[..., Engine]
DAY = 86_400


class Shop:
    """A seller who changes prices while somebody is subscribed."""

    def __init__(self, make: Make, stripe: EmulatorServer, *plans: Plan) -> None:
        self._make, self._stripe, self._plans = make, stripe, plans

    async def sell(self, tool: Tool, *plans: Plan) -> Engine:
        """A server of today's code."""
        engine = on_its_clock(self._make(*(plans or self._plans)), self._stripe)
        await engine.prepare([tool])
        return engine

    async def apply(self, tool: Tool, *plans: Plan, subscriptions: bool = False) -> list[str]:
        """`stripe-meter apply`; what it says about prices."""
        engine = self._make(*(plans or self._plans))
        engine.register(tool)

        async def work(gateway: Gateway) -> list[str]:
            wanted = desired(engine.offering, [tool], gateway.namespace)
            found, people = await gateway.inventories.take(wanted.blueprint), await gateway.inventories.subscribers()
            listed = changes(wanted, found, people)
            for change in listed:
                await Editor(gateway.connection, gateway.catalogue, found).carry_out(change)
            moves = steps(wanted, await gateway.inventories.take(wanted.blueprint), people)
            for step in moves if subscriptions else ():
                await Migration(gateway.connection, gateway.accounts).carry_out(step)
            return [change.note for change in listed if change.what == "price"] + [step.shown for step in moves]

        return await engine.thread.call(work, 10.0)


async def call(engine: Engine, tool: Tool, caller: Caller, units: int = 1) -> Receipt:
    receipt = (await admitted(engine, tool, caller)).settle(units)
    assert receipt is not None
    assert engine.flush()
    return receipt


def billed(stripe: EmulatorServer) -> list[int]:
    """Totals of all invoices once the period is over."""
    (row,) = stripe.emulator.account.store.all("subscription")
    stripe.advance(32 * DAY)
    return invoices(stripe, row["customer"])


@pytest.mark.parametrize("is_applied", [False, True], ids=["not applied", "applied"])
async def test_a_price_per_call_bills_calls_although_the_code_counts_words_now(
    make_engine: Make, stripe: EmulatorServer, is_applied: bool
) -> None:
    """500 words at the old $1 for a call would be $500 instead of $1; Stripe's price counts with its unit."""
    shop, old, new = Shop(make_engine, stripe, PayAsYouGo()), a_tool(price="$1"), a_tool(price="$0.01 per word")
    caller = await pay(await shop.sell(old), stripe, old)
    if is_applied:
        note, step = await shop.apply(new)
        assert note == "1 customer is on the old price until `apply --subscriptions`"
        assert step == "$1.00 per call → $0.01"
    engine = await shop.sell(new)
    receipt = await call(engine, new, caller, 500)
    assert (receipt.quantity, str(receipt.amount)) == (1, "$1.00")
    assert billed(stripe) == [100]


async def test_new_units_are_billed_once_the_customer_is_moved(make_engine: Make, stripe: EmulatorServer) -> None:
    """One call at $1 before, 500 words at 1 cent after: $6; a server of the old code serves them no more calls."""
    shop, old, new = Shop(make_engine, stripe, PayAsYouGo()), a_tool(price="$1"), a_tool(price="$0.01 per word")
    before = await shop.sell(old)
    caller = await pay(before, stripe, old)
    await call(before, old, caller)
    stripe.advance(3600)
    await shop.apply(new, subscriptions=True)
    receipt = await call(await shop.sell(new), new, caller, 500)
    assert str(receipt.amount) == "$5.00"
    assert (await refused(await shop.sell(new), a_tool(), caller)).reason == "payment_required"
    assert billed(stripe) == [600]


async def test_rows_and_blocks_of_rows_are_told_apart(make_engine: Make, stripe: EmulatorServer) -> None:
    """5000 rows are $5 by either contract; 5 blocks at the price of 5 rows would be half a cent."""
    shop = Shop(make_engine, stripe, PayAsYouGo())
    old, new = a_tool(price="$1 per 1000 rows"), a_tool(price="$1 per started 1000 rows")
    caller = await pay(await shop.sell(old), stripe, old)
    await shop.apply(new)
    receipt = await call(await shop.sell(new), new, caller, 5000)
    assert (receipt.quantity, str(receipt.amount)) == (5000, "$5.00")
    assert billed(stripe) == [500]


async def test_what_nobody_counts_any_more_is_refused_and_said(
    make_engine: Make, stripe: EmulatorServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A customer who pays by the word cannot be billed by a tool that counts calls; a guess would be a wrong bill."""
    shop, old, new = Shop(make_engine, stripe, PayAsYouGo()), a_tool(price="$0.01 per word"), a_tool(price="$1")
    caller = await pay(await shop.sell(old), stripe, old)
    note, step = await shop.apply(new)
    assert "their calls are refused until then: nothing counts what it is paid for" in note
    assert step == "$0.01 per word (refused: nobody counts that) → $1.00"
    engine = await shop.sell(new)
    with caplog.at_level(logging.ERROR):
        refusal = await refused(engine, new, caller)
        await refused(engine, new, caller)
    assert refusal.reason == "payment_required"
    assert "Ask the seller to mend it" in refusal.text
    assert caplog.text.count("is paid per word, which the tool does not count now") == 1
    await shop.apply(new, subscriptions=True)
    assert str((await call(await shop.sell(new), new, caller)).amount) == "$1.00"
    assert billed(stripe) == [100]


async def test_a_price_from_before_prices_said_their_unit(make_engine: Make, stripe: EmulatorServer) -> None:
    """Its nickname is the author's price; one that was edited tells nothing, and nothing is guessed."""
    shop, tool = Shop(make_engine, stripe, PayAsYouGo()), a_tool(price="$1 per started 1000 rows")
    caller = await pay(await shop.sell(tool), stripe, tool)
    (price,) = stripe.emulator.account.store.all("price")
    assert price["metadata"].pop("unit") == "1000 rows"
    assert (await call(await shop.sell(tool), tool, caller, 1500)).quantity == 2
    price["nickname"] = "Rows"
    assert (await refused(await shop.sell(tool), tool, caller)).reason == "payment_required"
    await shop.apply(tool, subscriptions=True)
    assert (await call(await shop.sell(tool), tool, caller, 1500)).quantity == 2
    assert billed(stripe) == [400]


async def test_an_old_price_with_steps_bills_its_own(make_engine: Make, stripe: EmulatorServer) -> None:
    """$1 until moved, although new customers pay $4: receipt, invoice and what a refund gives back are the same."""
    shop = Shop(make_engine, stripe, PayAsYouGo(volume_discounts=[(100, 10)]))
    old, new = a_tool(price="$1"), a_tool(price="$4")
    caller = await pay(await shop.sell(old), stripe, old)
    await shop.apply(new)
    engine = await shop.sell(new)
    before = len(stripe.emulator.requests)
    for process in (engine, engine, await shop.sell(new)):
        assert str((await call(process, new, caller)).amount) == "$1.00"
    reads = [r.path for r in stripe.emulator.requests[before:] if r.path.startswith("/v1/prices/")]
    assert len(reads) == 2  # once for each process
    assert billed(stripe) == [300]


async def test_included_calls_begin_anew_with_the_price_that_takes_over(
    make_engine: Make, stripe: EmulatorServer
) -> None:
    """Stripe bills the new price's tiers from nothing: 2 included and 1 at $1 before, 2 included and 1 at $2 after."""
    first = Subscription("pro", "$10/month", included=2, overage="$1")
    then = Subscription("pro", "$10/month", included=2, overage="$2")
    shop, tool = Shop(make_engine, stripe, first), a_tool(price="1 call")
    engine = await shop.sell(tool)
    caller = await pay(engine, stripe, tool)
    assert [str((await call(engine, tool, caller)).amount) for _ in range(3)] == ["$0.00", "$0.00", "$1.00"]
    stripe.advance(10 * DAY)
    await shop.apply(tool, then, subscriptions=True)
    engine = await shop.sell(tool, then)
    assert [str((await call(engine, tool, caller)).amount) for _ in range(3)] == ["$0.00", "$0.00", "$2.00"]
    assert billed(stripe) == [1000, 1300]
