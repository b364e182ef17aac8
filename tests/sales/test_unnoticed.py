"""Purchases that this process was not told of, and those that must not be made twice."""

from __future__ import annotations

from itertools import count

import httpx
import pytest

from stripe_meter import Credits, Subscription
from stripe_meter.domain.refusals import Refusal
from stripe_meter.errors import StripeUnavailable
from tests.conftest import PAGES
from tests.sales.conftest import ALICE, BIG, STARTER, Counter, Open

pytestmark = pytest.mark.anyio

CREDITS = Credits([STARTER, BIG])
BASIC = Subscription("basic", "$5/month", included=10)
PRO = Subscription("pro", "$50/month", included=100)


async def mounted(open_shop: Open, *plans: Credits | Subscription, price: str = "1 credit") -> Counter:
    """A process that serves pages, so that a refusal opens no Checkout; its clock goes on whenever it is read."""
    shop = await open_shop(*plans, price=price)
    engine = shop.billing.engine
    engine.sales.front.open("Research tools")
    start, reads = engine._accounts.monotonic(), count()
    engine._accounts.monotonic = lambda: start + 30.0 * next(reads)
    return shop


def end_subscription(shop: Counter) -> None:
    """At once, in the Dashboard."""
    (subscription,) = shop.rows("subscription")
    httpx.delete(f"{shop.stripe.url}/v1/subscriptions/{subscription['id']}", auth=("sk_test_emulator", ""))


async def is_noticed(shop: Counter) -> bool:
    """Within as many calls as there are ways to look."""
    return not all([isinstance(await shop.call(), Refusal) for _ in range(30)])


async def test_a_pack_paid_at_another_process_is_noticed(open_shop: Open) -> None:
    """Paid by a link of one process, and the tab closed: another one grants it, once."""
    a, b = [await mounted(open_shop, CREDITS) for _ in range(2)]
    assert (await b.refusal()).reason == "payment_required"
    a.stripe.complete_checkout(await a.billing.checkout(ALICE, pack="Starter"))
    assert await is_noticed(b)
    [payment] = b.rows("payment_intent")
    assert "sm_granted" in payment["metadata"]


async def test_a_link_for_a_customer_is_noticed_after_days(open_shop: Open) -> None:
    """A payment link was paid by somebody else while no process ran; no event of that day is looked at any more."""
    old = await mounted(open_shop, CREDITS)
    assert (await old.refusal()).reason == "payment_required"
    link = await old.billing.payment_link("Starter", ALICE)
    old.stripe.complete_checkout(str(old.visit(link).url), email="colleague@example.com")
    old.billing.close()
    old.stripe.advance(3 * 86_400)
    assert await is_noticed(await mounted(open_shop, CREDITS))


async def test_what_was_given_back_is_not_given_out(open_shop: Open) -> None:
    """The seller refunded a payment by hand; its credits are not granted afterwards."""
    a, b = [await mounted(open_shop, CREDITS) for _ in range(2)]
    a.stripe.complete_checkout(await a.billing.checkout(ALICE, pack="Starter"))
    [payment] = a.rows("payment_intent")
    a.post("/v1/refunds", payment_intent=payment["id"])
    assert not await is_noticed(b)


async def test_a_plan_bought_at_another_process_is_noticed(open_shop: Open) -> None:
    """An account is read once an hour; whoever has just subscribed does not wait for that."""
    a, b = [await mounted(open_shop, BASIC, PRO, price="1 call") for _ in range(2)]
    assert (await b.refusal()).reason == "payment_required"
    a.stripe.complete_checkout(await a.billing.checkout(ALICE, "basic"))
    assert await is_noticed(b)


async def test_who_subscribed_again_elsewhere_is_noticed(open_shop: Open) -> None:
    """Cancelled in the Dashboard and bought anew at another process, where no credits are on offer."""
    small = Subscription("basic", "$5/month", included=1)
    a, b = [await mounted(open_shop, small, PRO, price="1 call") for _ in range(2)]
    await a.pay(await a.billing.checkout(ALICE, "basic"))
    assert await b.is_served()
    assert "/billing/change?" in str((await b.refusal()).checkout_url)
    end_subscription(a)
    await a.pay(await a.billing.checkout(ALICE, "pro"))
    assert await is_noticed(b)


async def test_looks_are_few(open_shop: Open) -> None:
    """Who calls and calls without paying costs one read, not one a call."""
    shop = await open_shop(CREDITS)
    shop.billing.engine.sales.front.open("Research tools")
    stopped = shop.billing.engine._accounts.monotonic()
    shop.billing.engine._accounts.monotonic = lambda: stopped
    for _ in range(5):
        assert (await shop.refusal()).reason == "payment_required"
    looks = [r for r in shop.stripe.emulator.requests if (r.method, r.path) == ("GET", "/v1/checkout/sessions")]
    assert len(looks) == 1


async def test_asking_for_a_pack_again_grants_the_one_that_was_paid(open_shop: Open) -> None:
    """The payer does not know whether it worked and asks again elsewhere: no second Checkout is opened for it."""
    a, b = [await open_shop(CREDITS) for _ in range(2)]
    a.stripe.complete_checkout(await a.billing.checkout(ALICE, pack="Starter"))
    with pytest.raises(StripeUnavailable, match="a payment has just come in"):
        await b.billing.checkout(ALICE, pack="Starter")
    assert "sm_granted" in b.rows("payment_intent")[0]["metadata"]
    assert await b.is_served(times=2)


async def test_a_key_is_shown_though_what_follows_fails(open_shop: Open) -> None:
    """A key is made once; Stripe failing a moment later must not use it up unseen."""
    shop = await open_shop(BASIC, price="1 call")
    back = shop.stripe.complete_checkout(await shop.billing.checkout(), email="stranger@example.com")
    session, _, claim = back.partition("session_id=")[2].partition("&claim=")
    shop.stripe.emulator.faults.add(kind="status", status=503, times=50, skip=1, method="GET", path="/v1/customers")
    done = await shop.billing.engine.sales.complete(session, claim)
    shop.stripe.emulator.faults.clear()
    assert done.key is not None
    assert await shop.billing.customer(done.key.reveal()) == done.customer


async def test_a_local_caller_has_one_open_link(open_shop: Open) -> None:
    """They are recognised by paying it, so a second open one would be paid beside it."""
    shop = await open_shop(BASIC, PRO, price="1 call")
    front = shop.billing.engine.sales.front
    first = await front.buy_locally("basic", None, f"{PAGES}/billing")
    second = await front.buy_locally("pro", None, f"{PAGES}/billing")
    assert shop.visit(first).status_code == 410
    shop.stripe.complete_checkout(second, email="local@example.com")
    with pytest.raises(StripeUnavailable, match="a payment has just come in"):
        await front.buy_locally("basic", None, f"{PAGES}/billing")
    assert [row["status"] for row in shop.rows("checkout.session")] == ["expired", "complete", "expired"]
