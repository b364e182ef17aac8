"""Credits in force on one server: packs, leases, refusals, giving back, and what the seller sees in the Dashboard."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest

from stripe_meter.domain.identity import METADATA_WALLET
from stripe_meter.domain.plans import CreditPack, Credits, Free, PayAsYouGo
from stripe_meter.emulator import EmulatorServer
from stripe_meter.enforcement.credits import prepaid
from stripe_meter.enforcement.engine import Engine
from stripe_meter.errors import ConfigurationError
from stripe_meter.testing import reading
from tests.conftest import a_tool, pay
from tests.enforcement.test_engine import admitted, refused
from tests.enforcement.test_refunds import settled

pytestmark = pytest.mark.anyio

Make = Callable[..., Engine]
STARTER = CreditPack(100, "$9.99", "Starter")


def wallet_of(stripe: EmulatorServer) -> dict[str, Any]:
    """The one wallet of the account."""
    store = stripe.emulator.account.store
    owner = next(row for row in store.all("customer") if row["metadata"].get(METADATA_WALLET))
    return dict(store.get("customer", owner["metadata"][METADATA_WALLET]))


def ledger(stripe: EmulatorServer) -> list[tuple[int, str]]:
    """Amounts and descriptions of the wallet's transactions, oldest first, in credits bought as positive."""
    id = wallet_of(stripe)["id"]
    rows = stripe.emulator.account.store.all("customer_balance_transaction")
    return [(-row["amount"], row["description"]) for row in rows if row["customer"] == id]


async def call(engine: Engine, tool: Any, caller: Any, times: int) -> None:
    for _ in range(times):
        (await admitted(engine, tool, caller)).settle(1)


async def test_a_stranger_buys_a_pack_and_is_served(make_engine: Make, stripe: EmulatorServer) -> None:
    """Refused, paid, key, served, receipt in credits, and the rest is given back to the unit."""
    engine, tool = make_engine(Credits([STARTER])), a_tool(price="3 credits")
    await engine.prepare([tool])
    caller = await pay(engine, stripe, tool)
    receipt = (await admitted(engine, tool, caller)).settle(1)
    assert receipt is not None
    assert (receipt.ledger, receipt.meta()["credits"]) == ("credits", "3")
    engine.close()
    assert wallet_of(stripe)["balance"] == -97
    assert ledger(stripe) == [(100, "bought"), (-3, "1 × summarize")]


async def test_the_last_credit_is_the_end(make_engine: Make, stripe: EmulatorServer) -> None:
    """A hard stop at zero, with the link to the pack, not to another plan."""
    packs, tool = Credits([CreditPack(7, "$1", "Seven")]), a_tool(price=("$1", "1 credit"))
    engine = make_engine(PayAsYouGo(), packs)
    caller = await pay(make_engine(packs, PayAsYouGo()), stripe, tool)
    await call(engine, tool, caller, 7)
    refusal = await refused(engine, tool, caller)
    assert refusal.reason == "credits_exhausted"
    assert "needs 1 credit and 0 credits are left" in refusal.text
    sessions = stripe.emulator.account.store.all("checkout.session")
    assert refusal.checkout_url in [row["url"] for row in sessions if row["mode"] == "payment"]


async def test_who_buys_again_is_served_at_once(make_engine: Make, stripe: EmulatorServer) -> None:
    """Without webhooks: the open session is read when the caller calls again."""
    engine, tool = make_engine(Credits([CreditPack(2, "$1", "Two")])), a_tool(price="1 credit")
    await engine.prepare([tool])
    caller = await pay(engine, stripe, tool)
    await call(engine, tool, caller, 2)
    refusal = await refused(engine, tool, caller)
    stripe.complete_checkout(str(refusal.checkout_url), email="caller@example.com")
    await call(engine, tool, caller, 2)
    assert (await refused(engine, tool, caller)).reason == "credits_exhausted"


async def test_a_pack_is_given_once(make_engine: Make, stripe: EmulatorServer) -> None:
    """Success page, page reload, the caller's next call and another process all notice the same payment."""
    plan = Credits([CreditPack(5, "$1", "Five")])
    engines, tool = [make_engine(plan) for _ in range(3)], a_tool(price="1 credit")
    caller = await pay(engines[0], stripe, tool)
    await call(engines[0], tool, caller, 5)
    link = (await refused(engines[0], tool, caller)).checkout_url
    stripe.complete_checkout(str(link), email="caller@example.com")
    session = list(stripe.emulator.account.store.all("checkout.session"))[-1]["id"]
    await asyncio.gather(*(engine.sales.complete(session, None) for engine in engines for _ in range(2)))
    await call(engines[0], tool, caller, 5)
    stripe.advance(2 * 86400)
    await engines[1].sales.complete(session, None)
    assert [amount for amount, what in ledger(stripe) if what == "bought"] == [5, 5]


async def test_a_failed_call_costs_nothing(make_engine: Make, stripe: EmulatorServer) -> None:
    """The credits that were set aside for it serve the next one."""
    engine, tool = make_engine(Credits([CreditPack(1, "$1", "One")])), a_tool(price="1 credit")
    caller = await pay(engine, stripe, tool)
    first = await admitted(engine, tool, caller)
    first.release()
    await call(engine, tool, caller, 1)
    assert (await refused(engine, tool, caller)).reason == "credits_exhausted"


async def test_a_dynamic_charge_takes_what_was_used(make_engine: Make, stripe: EmulatorServer) -> None:
    """`max_units` is set aside, the units used are paid, rounded up to a whole ledger unit for each call."""
    tool = a_tool(price="1 credit per 1000 words", max_units=5000)
    engine = make_engine(Credits([CreditPack(10, "$1", "Ten")]))
    caller = await pay(engine, stripe, tool)
    receipt = (await admitted(engine, tool, caller)).settle(1234)
    assert receipt is not None
    assert receipt.meta()["credits"] == "1.234" if receipt.scale == 1000 else "2"
    engine.close()
    assert -wallet_of(stripe)["balance"] == 10 * receipt.scale - receipt.quantity


async def test_a_third_of_a_credit_is_rounded_up_for_each_call(make_engine: Make, stripe: EmulatorServer) -> None:
    """No price in Stripe has to hold it, so it needs no end: 4 rows at a credit for 3 are 2 credits, 3 rows are 1."""
    tool = a_tool(price="1 credit per 3 rows", max_units=9)
    engine = make_engine(Credits([CreditPack(10, "$1", "Ten")]))
    caller = await pay(engine, stripe, tool)
    for rows, credits in ((4, "2"), (3, "1")):
        receipt = (await admitted(engine, tool, caller)).settle(rows)
        assert receipt is not None
        assert receipt.meta()["credits"] == credits


async def test_one_credit_is_and_two_are(make_engine: Make, stripe: EmulatorServer) -> None:
    """A refusal is read by people."""
    plan = Credits([CreditPack(3, "$1", "Three")])
    first, second, tool = make_engine(plan), make_engine(plan), a_tool(price="1 credit")
    caller = await pay(first, stripe, tool)
    running = await admitted(first, tool, caller)
    assert "Another 1 credit is set aside" in (await refused(second, a_tool("big", price="3 credits"), caller)).text
    running.release()


async def test_credits_that_lie_elsewhere_are_said_so(make_engine: Make, stripe: EmulatorServer) -> None:
    """A caller who is refused while another server holds their credits learns that waiting helps."""
    plan = Credits([CreditPack(10, "$1", "Ten")])
    first, second, tool = make_engine(plan), make_engine(plan), a_tool(price="5 credits")
    caller = await pay(first, stripe, tool)
    running = await admitted(first, tool, caller)
    refusal = await refused(second, a_tool("big", price="10 credits"), caller)
    assert refusal.reason == "credits_exhausted"
    assert "10 credits and 5 credits are left" in refusal.text
    assert "Another 5 credits are set aside for calls that are running" in refusal.text
    running.release()


async def test_a_warm_call_asks_nobody(make_engine: Make, stripe: EmulatorServer) -> None:
    """1,000 calls of one caller: a few writes for the wallet, no read."""
    engine, tool = make_engine(Credits([CreditPack(10_000, "$100", "Big")])), a_tool(price="1 credit")
    await engine.prepare([tool])
    caller = await pay(engine, stripe, tool)
    await call(engine, tool, caller, 100)
    before = len(stripe.emulator.requests)
    await call(engine, tool, caller, 1000)
    asked = [(r.method, r.path.rsplit("/", 1)[-1]) for r in stripe.emulator.requests[before:]]
    assert {line for line in asked if line[1] != "meter_events"} <= {("POST", "balance_transactions")}
    assert sum(1 for line in asked if line[1] == "balance_transactions") <= 4


async def test_free_calls_come_before_credits(make_engine: Make, stripe: EmulatorServer) -> None:
    """Several plans on one server: one caller's pockets in their fixed order."""
    engine, tool = make_engine(Free(calls=2), Credits([CreditPack(2, "$1", "Two")])), a_tool(price="1 credit")
    await engine.prepare([tool])
    caller = await pay(engine, stripe, tool)
    ledgers = []
    for _ in range(4):
        receipt = (await admitted(engine, tool, caller)).settle(1)
        ledgers.append(receipt.ledger if receipt else None)
    assert ledgers == ["allowance", "allowance", "credits", "credits"]
    assert (await refused(engine, tool, caller)).reason == "credits_exhausted"


async def test_used_credits_show_on_a_meter(make_engine: Make, stripe: EmulatorServer) -> None:
    """The Dashboard counts them although nothing bills them."""
    engine, tool = make_engine(Credits([STARTER])), a_tool(price="3 credits")
    await engine.prepare([tool])
    caller = await pay(engine, stripe, tool)
    await call(engine, tool, caller, 4)
    assert engine.flush()
    sent = [r.body for r in stripe.emulator.requests if r.path == "/v1/billing/meter_events"]
    assert {body["event_name"] for body in sent} == {"mcp:credits"}
    assert sum(int(body["payload"]["value"]) for body in sent) == 12


@pytest.mark.parametrize("is_open", [True, False], ids=["while the server holds credits", "after it ended"])
async def test_a_charge_in_credits_can_be_taken_back(make_engine: Make, stripe: EmulatorServer, is_open: bool) -> None:
    """Three calls of 3 credits, one taken back twice: 94 of 100 are left."""
    engine, tool = make_engine(Credits([STARTER])), a_tool(price="3 credits")
    caller = await pay(engine, stripe, tool)
    for _ in range(3):
        token = settled(engine, await admitted(engine, tool, caller))
    if not is_open:
        engine.close()
    undoing = engine if is_open else make_engine(Credits([STARTER]))
    undoing.register(tool)
    for _ in range(2):
        await undoing.sales.refund(token)
    engine.close()
    assert wallet_of(stripe)["balance"] == -94


async def test_who_gives_up_waiting_holds_no_credits(make_engine: Make, stripe: EmulatorServer) -> None:
    """A call that was admitted for nobody would keep its credits from the caller until the process ends."""
    engine, tool = make_engine(Credits([CreditPack(1, "$1", "One")])), a_tool(price="1 credit")
    await engine.prepare([tool])
    caller = await pay(engine, stripe, tool)
    stripe.emulator.faults.add(kind="slow", path="/v1/customers/", method="POST", seconds=0.3)
    waiting = asyncio.ensure_future(engine.admit(tool, caller))
    await asyncio.sleep(0.1)
    waiting.cancel()
    await asyncio.wait([waiting])
    await call(engine, tool, caller, 1)


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for what the Stripe thread does by itself."""
    async with asyncio.timeout(20):
        while not is_so():  # noqa: ASYNC110  # it happens in another thread
            await asyncio.sleep(0.02)


async def test_time_alone_gives_back_and_shows_life(
    make_engine: Make, stripe: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long call keeps its chain alive by a heartbeat; after it and an idle minute all of the rest is back."""
    monkeypatch.setattr(prepaid, "TICK", 0.02)
    engine, tool = make_engine(Credits([STARTER])), a_tool(price="3 credits")
    await engine.prepare([tool])
    caller = await pay(engine, stripe, tool)
    await call(engine, tool, caller, 3)
    running = await admitted(engine, tool, caller)
    late = {"seconds": 0.0}
    monotonic = engine._accounts.monotonic
    engine._accounts.monotonic = lambda: monotonic() + late["seconds"]
    written = len(ledger(stripe))
    late["seconds"] = 451.0
    await until(lambda: len(ledger(stripe)) == written + 1)
    running.settle(1)
    late["seconds"] = 520.0
    await until(lambda: wallet_of(stripe)["balance"] == -88)


@pytest.mark.parametrize("on_crash", ["return", "keep"])
async def test_a_debit_that_arrives_after_its_failure_is_given_back(
    make_engine: Make, stripe: EmulatorServer, on_crash: Any
) -> None:
    """Its first copy was lost on the way, its second answered 503: a ledger without it does not say it is gone."""
    engine, tool = make_engine(Credits([STARTER], on_crash=on_crash)), a_tool(price="3 credits")
    await engine.prepare([tool])
    caller = await pay(engine, stripe, tool)
    path = f"/v1/customers/{wallet_of(stripe)['id']}/balance_transactions"
    stripe.emulator.faults.add(kind="late", path=path, method="POST", seconds=60.0)
    stripe.emulator.faults.add(kind="status", path=path, method="POST", status=503)
    await call(engine, tool, caller, 2)
    await until(lambda: any(r.method == "GET" and r.path == path for r in stripe.emulator.requests))
    stripe.advance(61)
    engine.close()
    assert wallet_of(stripe)["balance"] == -94


async def test_a_price_finer_than_the_credits_that_were_sold_is_refused(
    make_engine: Make, stripe: EmulatorServer
) -> None:
    """Half a credit would cost a whole one, in silence."""
    await make_engine(Credits([STARTER])).prepare([a_tool(price="1 credit")])
    with pytest.raises(ConfigurationError, match="finer part of a credit"):
        await make_engine(Credits([STARTER])).prepare([a_tool(price="0.5 credits")])


def pack_price(stripe: EmulatorServer) -> dict[str, Any]:
    """The price that is found as the pack."""
    return dict(reading.get(stripe.url, "/v1/prices", **{"lookup_keys[0]": "mcp:pack:starter"})["data"][0])


def edit_price(stripe: EmulatorServer, id: str, **metadata: str) -> None:
    """What somebody does to a pack in the Dashboard."""
    fields: dict[str, object] = {f"metadata[{name}]": value for name, value in metadata.items()}
    reading.post(stripe.url, f"/v1/prices/{id}", **fields)


@pytest.mark.parametrize("credits", ["", "ten", "1000"])
async def test_a_pack_that_does_not_hold_the_codes_credits_is_not_sold(
    make_engine: Make, stripe: EmulatorServer, credits: str
) -> None:
    """Whoever paid for it would get nothing, or ten times as much, and nobody would hear of it."""
    tool = a_tool(price="1 credit")
    await make_engine(Credits([STARTER])).prepare([tool])
    edit_price(stripe, pack_price(stripe)["id"], credits=credits)
    said = f"holds {credits or 'no'} credits in Stripe .* but 100 in the code, .* `stripe-meter apply server.py`"
    with pytest.raises(ConfigurationError, match=said):
        await make_engine(Credits([STARTER])).prepare([tool])


async def test_a_price_made_in_the_dashboard_is_sold_once_it_says_what_it_holds(
    make_engine: Make, stripe: EmulatorServer
) -> None:
    """It took over the name of a pack; the sentence tells what to type, and then its payer gets the credits."""
    tool = a_tool(price="1 credit")
    await make_engine(Credits([STARTER])).prepare([tool])
    known = pack_price(stripe)
    terms = {"currency": "usd", "unit_amount": 1999, "product": known["product"], "transfer_lookup_key": "true"}
    made = reading.post(stripe.url, "/v1/prices", lookup_key=known["lookup_key"], **terms)["id"]
    with pytest.raises(ConfigurationError, match=f"stripe post /v1/prices/{made} -d") as caught:
        await make_engine(Credits([STARTER])).prepare([tool])
    edit_price(stripe, made, **dict(re.findall(r'-d "metadata\[(\w+)\]=(\w+)"', str(caught.value))))
    engine = make_engine(Credits([STARTER]))
    await engine.prepare([tool])
    await call(engine, tool, await pay(engine, stripe, tool), 100)


async def test_another_unit_of_credits_is_noticed_by_what_was_sold(make_engine: Make, stripe: EmulatorServer) -> None:
    """An edit from 1 to 10 would make all credits that are held worth a tenth."""
    tool, engine = a_tool(price="1 credit"), make_engine(Credits([STARTER]))
    await engine.prepare([tool])
    caller, price = await pay(engine, stripe, tool), pack_price(stripe)["id"]
    for scale in ("10", "ten"):
        edit_price(stripe, price, scale=scale)
        with pytest.raises(ConfigurationError, match=rf'is {scale}, .* set it back with .* -d "metadata\[scale\]=1"`'):
            await make_engine(Credits([STARTER])).prepare([tool])
    edit_price(stripe, price, scale="1")
    await call(make_engine(Credits([STARTER])), tool, caller, 1)


async def test_without_its_finest_price_a_server_serves_the_credits_it_sold(
    make_engine: Make, stripe: EmulatorServer
) -> None:
    """The code could count in whole credits again, but what is held stays in tenths: 99 calls after two halves."""
    whole, half = a_tool(price="1 credit"), a_tool("half", price="0.5 credits")
    engine = make_engine(Credits([STARTER]))
    await engine.prepare([whole, half])
    caller = await pay(engine, stripe, whole)
    await call(engine, half, caller, 2)
    engine.close()
    later = make_engine(Credits([STARTER]))
    await later.prepare([whole])
    await call(later, whole, caller, 99)
    assert (await refused(later, whole, caller)).reason == "credits_exhausted"


async def test_credits_of_one_namespace_are_none_of_another(make_engine: Make, stripe: EmulatorServer) -> None:
    """There a credit may be a tenth of one here, so who has 100 here has none there until they buy some."""
    engine, tool = make_engine(Credits([STARTER])), a_tool(price="1 credit")
    await engine.prepare([tool])
    caller = await pay(engine, stripe, tool)
    await call(engine, tool, caller, 1)
    other = make_engine(Credits([STARTER]), namespace="two")
    await other.prepare([tool])
    assert (await refused(other, tool, caller)).reason == "payment_required"


async def test_a_wallet_gets_no_wallet(make_engine: Make, stripe: EmulatorServer) -> None:
    """What was granted to it could never be spent."""
    engine, tool = make_engine(Credits([STARTER])), a_tool(price="1 credit")
    await engine.prepare([tool])
    await pay(engine, stripe, tool)
    wallet = wallet_of(stripe)["id"]
    with pytest.raises(ConfigurationError, match="holds the credits of cus_"):
        await engine.thread.call(lambda gateway: gateway.wallets.ensure(wallet), 5.0)
