"""Plans in life: one live subscription, trials, what may be owed, and plans that are not sold any more."""

from __future__ import annotations

import ast
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

import stripe_meter.gateway
from stripe_meter.domain.identity import Caller
from stripe_meter.domain.offering import Retired
from stripe_meter.domain.plans import Free, PayAsYouGo, Plan, Subscription
from stripe_meter.emulator import EmulatorServer
from stripe_meter.emulator.errors import JSON
from stripe_meter.enforcement.engine import Engine
from tests.conftest import a_tool, pay
from tests.enforcement.test_engine import admitted, asked, refused, someone
from tests.enforcement.test_plans import invoices
from tests.web.test_plan_change import on_its_clock

pytestmark = pytest.mark.anyio

Make = Callable[..., Engine]
DAY = 86_400
PRO = Subscription("pro", "$10/month", included=2, overage="$0.25")


def rows(stripe: EmulatorServer, kind: str) -> list[JSON]:
    return sorted(stripe.emulator.account.store.all(kind), key=lambda row: row["id"])


def api(stripe: EmulatorServer) -> httpx.Client:
    """Stripe as the seller's Dashboard uses it."""
    return httpx.Client(base_url=stripe.url, auth=("sk_test_x", ""))


async def shop(make_engine: Make, stripe: EmulatorServer, *plans: Plan, **settings: Any) -> Engine:
    engine = on_its_clock(make_engine(*plans, **settings), stripe)
    await engine.prepare([a_tool()])
    return engine


async def back(engine: Engine, page: str) -> None:
    """The payer's browser comes back from Checkout."""
    await engine.sales.complete(parse_qs(urlsplit(page).query)["session_id"][0], None)


async def bought(engine: Engine, stripe: EmulatorServer, who: str = "alice") -> Caller:
    """A known customer who subscribed by the link of a refusal."""
    caller = someone(who)
    url = str((await refused(engine, a_tool(), caller)).checkout_url)
    await back(engine, stripe.complete_checkout(url))
    return caller


# One live subscription.


async def test_two_tabs_make_one_subscription_and_the_second_fee_goes_back(
    make_engine: Make, stripe: EmulatorServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Two processes gave out two links and both were paid: $10 stay paid, $10 return, a call is billed once."""
    first, second = await shop(make_engine, stripe, PRO), await shop(make_engine, stripe, PRO, public_url="http://b")
    urls = [str((await refused(engine, a_tool(), someone())).checkout_url) for engine in (first, second)]
    assert urls[0] != urls[1]
    await back(first, stripe.complete_checkout(urls[0]))
    stripe.advance(10)
    with caplog.at_level(logging.WARNING):
        await back(second, stripe.complete_checkout(urls[1]))
    assert [row["status"] for row in rows(stripe, "subscription")] == ["active", "canceled"]
    assert [row["amount"] for row in rows(stripe, "refund")] == [1000]
    assert "cancelled, and 1000 minor units refunded" in caplog.text
    for _ in range(3):
        (await admitted(second, a_tool(), someone())).settle(1)
    assert second.flush()
    customer = rows(stripe, "subscription")[0]["customer"]
    stripe.advance(32 * DAY)
    assert invoices(stripe, customer) == [1000, 1000, 1025]


async def test_coming_back_again_gives_nothing_back_twice(make_engine: Make, stripe: EmulatorServer) -> None:
    """A reloaded success page, or one more process that looks, finds one subscription and leaves it alone."""
    first, second = await shop(make_engine, stripe, PRO), await shop(make_engine, stripe, PRO, public_url="http://b")
    urls = [str((await refused(engine, a_tool(), someone())).checkout_url) for engine in (first, second)]
    pages = [stripe.complete_checkout(url) for url in urls]
    for engine in (first, second, await shop(make_engine, stripe, PRO)):
        for page in pages:
            await back(engine, page)
    assert [row["amount"] for row in rows(stripe, "refund")] == [1000]
    assert sorted(row["status"] for row in rows(stripe, "subscription")) == ["active", "canceled"]


async def test_a_second_subscription_is_noticed_without_the_success_page(
    make_engine: Make, stripe: EmulatorServer
) -> None:
    """The payer closed the browser; the next cold look at the account mends it."""
    first, second = await shop(make_engine, stripe, PRO), await shop(make_engine, stripe, PRO, public_url="http://b")
    for url in [str((await refused(engine, a_tool(), someone())).checkout_url) for engine in (first, second)]:
        stripe.complete_checkout(url)
    await admitted(second, a_tool(), someone())
    assert [row["amount"] for row in rows(stripe, "refund")] == [1000]


async def test_a_link_for_another_plan_closes_the_first_one(make_engine: Make, stripe: EmulatorServer) -> None:
    """Two open links of one customer would be two subscriptions as soon as both are paid."""
    engine = await shop(make_engine, stripe, PayAsYouGo(), Subscription("max", "$9/month", included=5, features=["x"]))
    one, other = a_tool(), a_tool("export", feature="x")
    await engine.prepare([one, other])
    links = [str((await refused(engine, tool, someone())).checkout_url) for tool in (one, other)]
    assert links[0] != links[1]
    assert [row["status"] for row in rows(stripe, "checkout.session")] == ["expired", "open"]


async def test_a_link_that_was_paid_just_now_is_not_replaced(make_engine: Make, stripe: EmulatorServer) -> None:
    """The caller is asked to come back in a moment instead of being sold a second subscription."""
    engine = await shop(make_engine, stripe, PayAsYouGo(), Subscription("max", "$9/month", included=5, features=["x"]))
    one, other = a_tool(), a_tool("export", feature="x")
    await engine.prepare([one, other])
    url = str((await refused(engine, one, someone())).checkout_url)
    await refused(engine, one, someone())  # the look that is due at once finds nothing paid
    stripe.complete_checkout(url)
    assert (await refused(engine, other, someone())).reason == "billing_unavailable"
    again = await refused(engine, other, someone())
    assert again.reason == "feature_locked"
    assert "/billing/change?" in str(again.checkout_url)


# Trials.


async def test_a_trial_serves_its_calls_then_stops_and_bills_nothing(make_engine: Make, stripe: EmulatorServer) -> None:
    """Stripe bills no usage of a trial, so without a limit a trial would be free work without end."""
    trial = Subscription("pro", "$10/month", included=3, overage="$0.25", trial_days=7, trial_calls=2)
    engine = await shop(make_engine, stripe, trial)
    caller = await bought(engine, stripe)
    receipts = [(await admitted(engine, a_tool(), caller)).settle(1) for _ in range(2)]
    assert [str(receipt.amount) for receipt in receipts if receipt] == ["$0.00", "$0.00"]
    refusal = await refused(engine, a_tool(), caller)
    assert refusal.reason == "allowance_used"
    assert "The calls of your trial (2) are used until" in refusal.text
    assert engine.flush()
    stripe.advance(8 * DAY)
    customer = rows(stripe, "subscription")[0]["customer"]
    assert invoices(stripe, customer) == [0, 1000]


async def test_a_second_subscription_has_no_trial(make_engine: Make, stripe: EmulatorServer) -> None:
    """Whoever cancels and subscribes again pays, or free work would have no end either."""
    trial = Subscription("pro", "$10/month", included=3, overage="$0.25", trial_days=7, trial_calls=2)
    engine = await shop(make_engine, stripe, trial)
    await bought(engine, stripe)
    (first,) = rows(stripe, "subscription")
    with api(stripe) as client:
        client.delete(f"/v1/subscriptions/{first['id']}")
    stripe.advance(2 * DAY)
    await bought(engine, stripe)
    second = next(row for row in rows(stripe, "subscription") if row["id"] != first["id"])
    assert (second["status"], second["trial_end"]) == ("active", None)


async def test_after_the_trial_the_plans_own_calls_apply(make_engine: Make, stripe: EmulatorServer) -> None:
    """Three included calls of the paid period, the fourth is overage; the trial's calls count for nothing."""
    trial = Subscription("pro", "$10/month", included=3, overage="$0.25", trial_days=7, trial_calls=1)
    engine = await shop(make_engine, stripe, trial)
    caller = await bought(engine, stripe)
    (await admitted(engine, a_tool(), caller)).settle(1)
    await refused(engine, a_tool(), caller)
    assert engine.flush()
    stripe.advance(8 * DAY)
    receipts = [(await admitted(engine, a_tool(), caller)).settle(1) for _ in range(4)]
    assert [str(receipt.amount) for receipt in receipts if receipt] == ["$0.00", "$0.00", "$0.00", "$0.25"]
    assert engine.flush()
    stripe.advance(32 * DAY)
    assert invoices(stripe, rows(stripe, "subscription")[0]["customer"]) == [0, 1000, 1025]


# What may be owed.


async def test_max_unpaid_becomes_a_billing_threshold_once(make_engine: Make, stripe: EmulatorServer) -> None:
    """Checkout cannot say it, so the first call of any process does; Stripe then bills in mid-period."""
    plan = PayAsYouGo(max_unpaid="$1")
    engine = await shop(make_engine, stripe, plan)
    caller = await pay(engine, stripe, a_tool())
    (await admitted(engine, a_tool(), caller)).settle(20)
    assert rows(stripe, "subscription")[0]["billing_thresholds"]["amount_gte"] == 100
    assert engine.flush()
    stripe.advance(60)
    (await admitted(engine, a_tool(), caller)).settle(1)
    assert engine.flush()
    assert invoices(stripe, rows(stripe, "subscription")[0]["customer"]) == [100]
    before = len(stripe.emulator.requests)
    await admitted(await shop(make_engine, stripe, plan), a_tool(), caller)
    assert not [line for line in asked(stripe, before) if line.startswith("POST /v1/subscriptions")]


async def test_a_threshold_that_the_seller_set_stays(make_engine: Make, stripe: EmulatorServer) -> None:
    """Who edits a customer in the Dashboard is obeyed."""
    caller = await pay(await shop(make_engine, stripe, PayAsYouGo()), stripe, a_tool())
    with api(stripe) as client:
        number = rows(stripe, "subscription")[0]["id"]
        client.post(f"/v1/subscriptions/{number}", data={"billing_thresholds[amount_gte]": "9900"})
    await admitted(await shop(make_engine, stripe, PayAsYouGo(max_unpaid="$1")), a_tool(), caller)
    assert rows(stripe, "subscription")[0]["billing_thresholds"]["amount_gte"] == 9900


async def test_twice_the_threshold_is_served_until_an_invoice_stands(make_engine: Make, stripe: EmulatorServer) -> None:
    """While Stripe has not billed, forty calls at five cents are as much as anybody may owe under $1."""
    engine = await shop(make_engine, stripe, PayAsYouGo(max_unpaid="$1"))
    caller = await pay(engine, stripe, a_tool())
    stripe.emulator.switches.lag = 3600.0
    for _ in range(40):
        (await admitted(engine, a_tool(), caller)).settle(1)
    refusal = await refused(engine, a_tool(), caller)
    assert refusal.reason == "spend_cap"
    assert "you have used $2.00 that is not billed yet" in refusal.text
    assert engine.flush()
    stripe.advance(2 * 3600)
    assert invoices(stripe, rows(stripe, "subscription")[0]["customer"]) == [200]
    await admitted(engine, a_tool(), caller)


async def test_what_fails_is_not_owed(make_engine: Make, stripe: EmulatorServer) -> None:
    """A failed call gives its place on the tab back."""
    engine = await shop(make_engine, stripe, PayAsYouGo(max_unpaid="$1"))
    caller = await pay(engine, stripe, a_tool())
    for _ in range(100):
        (await admitted(engine, a_tool(), caller)).release()
    await admitted(engine, a_tool(), caller)


# Nothing is given away, nobody is left without an answer.


def test_only_an_added_item_is_not_prorated() -> None:
    """Removing a metered item with `proration_behavior=none` throws its usage away, so nothing else may say it."""
    folder = Path(stripe_meter.gateway.__file__).parent
    said = set()
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            for name, value in zip(node.keys, node.values, strict=True) if isinstance(node, ast.Dict) else ():
                if isinstance(name, ast.Constant) and name.value in ("proration_behavior", "invoice_now", "deleted"):
                    said.add((path.name, str(name.value), ast.unparse(value)))
    assert said == {
        ("accounts.py", "proration_behavior", "'none'"),  # an item that is added
        ("migration.py", "proration_behavior", "'create_prorations' if step.metered else 'none'"),
        ("plan_changes.py", "invoice_now", "False"),  # a second subscription, whose usage the first one bills
        ("reversals.py", "invoice_now", "True"),  # a refunded one, whose usage is billed at its end
    }


async def test_a_plan_that_is_gone_serves_what_was_paid_for_and_names_a_way_on(
    make_engine: Make, stripe: EmulatorServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The included calls are paid; beyond them nobody knows whether overage was agreed, so there is none."""
    caller = await bought(await shop(make_engine, stripe, PRO), stripe)
    later = await shop(make_engine, stripe, Subscription("max", "$20/month", included=100))
    with caplog.at_level(logging.WARNING):
        receipts = [(await admitted(later, a_tool(), caller)).settle(1) for _ in range(2)]
    assert [(r.ledger, str(r.amount)) for r in receipts if r] == [("plan", "$0.00"), ("plan", "$0.00")]
    assert f"plan 'pro' {Retired('pro').outcome}; to see who is on it and what to type" in caplog.text
    refusal = await refused(later, a_tool(), caller)
    assert refusal.text.startswith(
        f"Your plan 'pro' {Retired('pro').outcome}. The calls of your plan (2) are used until"
    )
    assert ".max." in str(refusal.checkout_url)
    assert "/billing/change?" in str(refusal.checkout_url)


async def test_a_plan_that_is_gone_with_every_other_one_leads_to_what_is_sold(
    make_engine: Make, stripe: EmulatorServer
) -> None:
    """What was paid for is served although nothing on offer counts plan calls any more; then the way on is named."""
    caller = await bought(await shop(make_engine, stripe, PRO), stripe)
    later = await shop(make_engine, stripe, PayAsYouGo())
    receipts = [(await admitted(later, a_tool(), caller)).settle(1) for _ in range(2)]
    assert [(r.ledger, str(r.amount)) for r in receipts if r] == [("plan", "$0.00"), ("plan", "$0.00")]
    refusal = await refused(later, a_tool(), caller)
    assert refusal.reason == "allowance_used"
    assert refusal.text.startswith(
        f"Your plan 'pro' {Retired('pro').outcome}. The calls of your plan (2) are used until"
    )
    assert ".pay-as-you-go." in str(refusal.checkout_url)


async def test_a_subscriber_hears_of_both_allowances(make_engine: Make, stripe: EmulatorServer) -> None:
    """Free calls and those of the plan are used: the refusal says when each begins anew, not of the free ones alone."""
    plan = Subscription("pro", "$10/month", included=2)
    engine = await shop(make_engine, stripe, Free(calls=1), plan, Subscription("max", "$20/month", included=100))
    await engine.prepare([a_tool()])
    customer = await engine.sales.identify(someone())
    page = await engine.sales.checkout(customer, "pro", pages="http://127.0.0.1:9")
    await back(engine, stripe.complete_checkout(page))
    for _ in range(3):
        (await admitted(engine, a_tool(), someone())).settle(1)
    text = (await refused(engine, a_tool(), someone())).text
    assert text.index("Your free calls (1) are used until") < text.index("The calls of your plan (2) are used until")


async def test_an_old_price_keeps_its_old_terms(make_engine: Make, stripe: EmulatorServer) -> None:
    """A plan got dearer; who bought it before has the calls they bought, at one read for each process."""
    caller = await bought(await shop(make_engine, stripe, PRO), stripe)
    with api(stripe) as client:
        old = next(row for row in rows(stripe, "price") if row["lookup_key"] == "mcp:plan:pro:calls")
        client.post(
            "/v1/prices",
            data={
                "currency": "usd",
                "product": old["product"],
                "lookup_key": old["lookup_key"],
                "transfer_lookup_key": "true",
                "recurring[interval]": "month",
                "recurring[usage_type]": "metered",
                "recurring[meter]": old["recurring"]["meter"],
                "billing_scheme": "tiered",
                "tiers_mode": "graduated",
                "tiers[0][up_to]": "1",
                "tiers[0][unit_amount_decimal]": "0",
                "tiers[1][up_to]": "inf",
                "tiers[1][unit_amount_decimal]": "99",
            },
        ).raise_for_status()
    later = await shop(make_engine, stripe, PRO)
    before = len(stripe.emulator.requests)
    receipts = [(await admitted(later, a_tool(), caller)).settle(1) for _ in range(3)]
    assert [str(receipt.amount) for receipt in receipts if receipt] == ["$0.00", "$0.00", "$0.25"]
    assert len([line for line in asked(stripe, before) if line.startswith("GET /v1/prices/")]) == 1
