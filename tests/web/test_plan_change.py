"""Changing plans on our own page: the link, what the page says, and what becomes of the subscription."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from stripe_meter.domain.identity import Caller
from stripe_meter.domain.offering import Retired
from stripe_meter.domain.plans import CreditPack, Credits, PayAsYouGo, Plan, Subscription
from stripe_meter.emulator import EmulatorServer
from stripe_meter.emulator.errors import JSON
from stripe_meter.enforcement.changes import LINK_FOR
from stripe_meter.enforcement.engine import Engine
from tests.conftest import PAGES, a_tool, pay
from tests.enforcement.test_engine import admitted, refused
from tests.enforcement.test_plans import invoices
from tests.web.test_routes import browser

pytestmark = pytest.mark.anyio

Make = Callable[..., Engine]
MONTH = 32 * 86_400
BASIC = Subscription("basic", "$5/month", included=1)
PRO = Subscription("pro", "$50/month", included=3, overage="$0.25", features=["export"])


def rows(stripe: EmulatorServer, kind: str) -> list[JSON]:
    return list(stripe.emulator.account.store.all(kind))


def on_its_clock(engine: Engine, stripe: EmulatorServer) -> Engine:
    """The engine counts time by Stripe's clock, so that a test moves both at once."""
    now = stripe.emulator.clock.now
    began, start = time.monotonic(), now()
    engine.keep_time_by(lambda: began + now() - start, now)
    return engine


async def subscriber(make_engine: Make, stripe: EmulatorServer, *plans: Plan) -> tuple[Engine, Caller]:
    """Somebody on the first of these plans, which include one call that is used."""
    engine = on_its_clock(make_engine(*plans), stripe)
    await engine.prepare([a_tool()])
    caller = await pay(engine, stripe, a_tool())
    (await admitted(engine, a_tool(), caller)).settle(1)
    assert engine.flush()
    return engine, caller


async def link(engine: Engine, caller: Caller) -> str:
    """Path and query of the page that a refusal names."""
    refusal = await refused(engine, a_tool(), caller)
    assert refusal.checkout_url is not None
    assert refusal.checkout_url.startswith(f"{PAGES}/billing/change?token=")
    return refusal.checkout_url.removeprefix(PAGES)


def token_of(path: str) -> str:
    return parse_qs(urlsplit(path).query)["token"][0]


def signed_by_another_seller(text: str) -> str:
    key = hashlib.sha256(b"stripe-meter plan changes\nsk_test_another").digest()
    return f"{text}.{hashlib.blake2b(text.encode(), digest_size=16, key=key).hexdigest()}"


async def confirm(engine: Engine, path: str, plan: str) -> httpx.Response:
    async with browser(engine) as client:
        return await client.post("/billing/change", data={"token": token_of(path), "plan": plan})


async def test_an_upgrade_begins_with_the_next_period(make_engine: Make, stripe: EmulatorServer) -> None:
    """$5 now; then $50 with three calls, the fourth at 25 cents; no second Checkout, no second subscription."""
    engine, caller = await subscriber(make_engine, stripe, BASIC, PRO)
    page = await confirm(engine, await link(engine, caller), "pro")
    assert page.status_code == 200
    assert "you are on <strong>pro</strong>: $50.00 a month; 3 calls included, then $0.25 each" in page.text
    assert (await refused(engine, a_tool(), caller)).reason == "allowance_used"
    [row] = rows(stripe, "subscription")
    assert invoices(stripe, row["customer"]) == [500]
    stripe.advance(MONTH)
    receipts = [(await admitted(engine, a_tool(), caller)).settle(1) for _ in range(4)]
    assert [str(receipt.amount) for receipt in receipts if receipt] == ["$0.00", "$0.00", "$0.00", "$0.25"]
    assert engine.flush()
    stripe.advance(MONTH)
    assert invoices(stripe, row["customer"]) == [500, 5000, 5025]
    assert len(rows(stripe, "subscription")) == 1
    assert len([row for row in rows(stripe, "checkout.session") if row["mode"] == "subscription"]) == 1


async def test_pay_as_you_go_becomes_a_plan_and_its_usage_is_billed(make_engine: Make, stripe: EmulatorServer) -> None:
    """A call at five cents before the change is on the invoice of its own period; nothing is given away."""
    engine, locked = on_its_clock(make_engine(PayAsYouGo(), PRO), stripe), a_tool("export", feature="export")
    await engine.prepare([a_tool(), locked])
    caller = await pay(engine, stripe, a_tool())
    (await admitted(engine, a_tool(), caller)).settle(100)
    refusal = await refused(engine, locked, caller)
    assert refusal.reason == "feature_locked"
    assert "needs 'export', which pro unlocks. Change your plan here, with effect from" in refusal.text
    await confirm(engine, str(refusal.checkout_url).removeprefix(PAGES), "pro")
    assert engine.flush()
    stripe.advance(MONTH)
    (await admitted(engine, locked, caller)).settle(1)
    [row] = rows(stripe, "subscription")
    assert invoices(stripe, row["customer"]) == [5500]


async def test_a_plan_becomes_pay_as_you_go(make_engine: Make, stripe: EmulatorServer) -> None:
    """From the next period on each call costs its price, on the tool's own meter."""
    engine, caller = await subscriber(make_engine, stripe, BASIC, PayAsYouGo())
    await confirm(engine, await link(engine, caller), "pay-as-you-go")
    stripe.advance(MONTH)
    receipt = (await admitted(engine, a_tool(), caller)).settle(1)
    assert receipt is not None
    assert (receipt.ledger, str(receipt.amount)) == ("usage", "$0.05")


async def test_the_page_says_what_became_of_a_plan_that_is_gone(make_engine: Make, stripe: EmulatorServer) -> None:
    """In the words of the refusal, of plan and of doctor, so that nobody reads two different things."""
    _, caller = await subscriber(make_engine, stripe, BASIC)
    later = on_its_clock(make_engine(PRO), stripe)
    await later.prepare([a_tool()])
    async with browser(later) as client:
        page = await client.get(await link(later, caller))
    assert f"You are on <strong>basic</strong>. It {Retired('basic').outcome}." in page.text


async def test_confirming_twice_and_changing_ones_mind(make_engine: Make, stripe: EmulatorServer) -> None:
    """A reload makes no second change, another choice replaces the first, and the running plan takes it back."""
    engine, caller = await subscriber(make_engine, stripe, BASIC, PRO, PayAsYouGo())
    path = await link(engine, caller)
    for plan in ("pro", "pro", "pay-as-you-go", "pro"):
        assert (await confirm(engine, path, plan)).status_code == 200
    assert len(rows(stripe, "subscription_schedule")) == 1
    async with browser(engine) as client:
        assert "You have chosen <strong>pro</strong>" in (await client.get(path)).text
    assert "You stay on <strong>basic</strong>" in (await confirm(engine, path, "basic")).text
    stripe.advance(MONTH)
    [row] = rows(stripe, "subscription")
    assert invoices(stripe, row["customer"]) == [500, 500]


async def test_looking_at_the_page_changes_nothing(make_engine: Make, stripe: EmulatorServer) -> None:
    """Chat programs open links to preview them; only the button writes to Stripe."""
    engine, caller = await subscriber(make_engine, stripe, BASIC, PRO)
    path = await link(engine, caller)
    before = len(stripe.emulator.requests)
    async with browser(engine) as client:
        page = await client.get(path)
    assert {record.method for record in stripe.emulator.requests[before:]} == {"GET"}
    assert "You are on <strong>basic</strong>" in page.text
    assert re.search(r'value="pro" required checked', page.text)
    assert "Nothing is charged today" in page.text
    assert page.headers["cache-control"] == "no-store"
    assert "form-action 'self'" in page.headers["content-security-policy"]
    assert "<script" not in page.text


async def test_a_link_that_was_changed_or_is_old_does_nothing(make_engine: Make, stripe: EmulatorServer) -> None:
    """Nobody can name another subscription, another end or another plan than the seller's server signed."""
    engine, caller = await subscriber(make_engine, stripe, BASIC, PRO)
    token = token_of(await link(engine, caller))
    customer, subscription, plan, ends, mac = token.split(".")
    forged = [
        f"{customer}.sub_other.{plan}.{ends}.{mac}",
        f"{customer}.{subscription}.{plan}.{int(ends) + 1}.{mac}",
        f"{customer}.{subscription}.{plan}.{ends}.{'0' * 32}",
        signed_by_another_seller(f"{customer}.{subscription}.{plan}.{ends}"),
        "x" * 5000,
        "",
    ]
    async with browser(engine) as client:
        for wrong in forged:
            assert (await client.get("/billing/change", params={"token": wrong})).status_code == 404
            posted = await client.post("/billing/change", data={"token": wrong, "plan": "pro"})
            assert posted.status_code == 404
        unsold = await client.post("/billing/change", data={"token": token, "plan": "gold"})
        assert "Confirm" in unsold.text
    stripe.advance(LINK_FOR + 60)
    assert (await confirm(engine, f"/?token={token}", "pro")).status_code == 404
    assert not rows(stripe, "subscription_schedule")


async def test_a_link_to_a_subscription_that_has_ended_is_not_given_again(
    make_engine: Make, stripe: EmulatorServer
) -> None:
    """Ended in the Dashboard and nobody told us: its page says so, and the next refusal sells a new one."""
    engine, caller = await subscriber(make_engine, stripe, BASIC, PRO)
    path = await link(engine, caller)
    [row] = rows(stripe, "subscription")
    async with httpx.AsyncClient(base_url=stripe.url, auth=("sk_test_x", "")) as api:
        await api.delete(f"/v1/subscriptions/{row['id']}")
    async with browser(engine) as client:
        assert (await client.get(path)).status_code == 404
    assert str((await refused(engine, a_tool(), caller)).checkout_url).startswith(stripe.url)


async def test_when_stripe_is_away_the_page_asks_to_come_back(make_engine: Make, stripe: EmulatorServer) -> None:
    """Nothing half-done: the same link works a moment later."""
    engine, caller = await subscriber(make_engine, stripe, BASIC, PRO)
    path = await link(engine, caller)
    stripe.emulator.faults.add(path="/v1/subscriptions", kind="status", status=503, times=3)
    first, second = await confirm(engine, path, "pro"), await confirm(engine, path, "pro")
    assert (first.status_code, second.status_code) == (503, 200)
    assert len(rows(stripe, "subscription_schedule")) == 1


async def test_a_cancelled_subscription_goes_on_with_another_plan(make_engine: Make, stripe: EmulatorServer) -> None:
    """The page says that it ends, and choosing a plan continues it."""
    engine, caller = await subscriber(make_engine, stripe, BASIC, PRO)
    path = await link(engine, caller)
    [row] = rows(stripe, "subscription")
    async with httpx.AsyncClient(base_url=stripe.url, auth=("sk_test_x", "")) as api:
        await api.post(f"/v1/subscriptions/{row['id']}", data={"cancel_at_period_end": "true"})
    async with browser(engine) as client:
        assert "It was cancelled and ends on" in (await client.get(path)).text
    await confirm(engine, path, "pro")
    stripe.advance(MONTH)
    assert [row["status"] for row in rows(stripe, "subscription")] == ["active"]


async def test_credits_that_help_at_once_come_before_a_change(make_engine: Make, stripe: EmulatorServer) -> None:
    """A subscriber whose calls are used can go on now with a pack, so that is what the link sells."""
    credits = Credits([CreditPack(100, "$9.99", "Starter")], credit_value="$0.05")
    engine, caller = await subscriber(make_engine, stripe, BASIC, PRO, credits)
    assert str((await refused(engine, a_tool(), caller)).checkout_url).startswith(stripe.url)


async def test_a_smaller_plan_is_no_help_to_who_has_used_theirs(make_engine: Make, stripe: EmulatorServer) -> None:
    """Nobody is sent to a page that could only make it worse."""
    less = Subscription("tiny", "$1/month", included=1)
    engine, caller = await subscriber(make_engine, stripe, BASIC, less)
    refusal = await refused(engine, a_tool(), caller)
    assert (refusal.reason, refusal.checkout_url) == ("allowance_used", None)
