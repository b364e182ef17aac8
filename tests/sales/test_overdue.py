"""Subscribers who are past due: what a refusal costs, how they come back, and what they can still use."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from stripe_meter import CreditPack, Credits, Subscription
from tests.sales.conftest import ALICE, FAILS_LATER, GOOD, Counter, Open

pytestmark = pytest.mark.anyio

DAY = 86_400
PRO = Subscription("pro", "$10/month", included=2)
CREDITS = Credits([CreditPack(2, "$9.99", "Starter")])


@dataclass
class Hand:
    """A clock of a process that goes on only when it is told to."""

    now: float

    def __call__(self) -> float:
        return self.now


def by_hand(shop: Counter) -> Hand:
    """The process's own clock stands still, so that nothing depends on how fast a test runs."""
    engine = shop.billing.engine
    hand = Hand(engine._accounts.monotonic())
    engine.keep_time_by(hand, shop.stripe.emulator.clock.now)
    return hand


async def past_due(open_shop: Open, *plans: Subscription | Credits, price: str | tuple[str, ...] = "1 call") -> Counter:
    """Alice subscribed, and the card for her second month was declined."""
    shop = await open_shop(*plans, price=price)
    await shop.pay(await shop.billing.checkout(ALICE, "pro"))
    await shop.change_card(FAILS_LATER)
    shop.stripe.advance(32 * DAY)
    return shop


def pay_invoice(shop: Counter) -> str:
    """On Stripe's page for it; returns its address."""
    (unpaid,) = shop.rows("invoice", status="open")
    card = shop.post("/v1/payment_methods/pm_card_visa/attach", customer=unpaid["customer"])
    shop.post(f"/v1/invoices/{unpaid['id']}/pay", payment_method=card["id"])
    return str(unpaid["hosted_invoice_url"])


async def test_who_pays_the_invoice_is_served_by_every_process(open_shop: Open) -> None:
    """No webhook, no success page of ours: the link that the refusal named was paid, so it is not named again."""
    first = await past_due(open_shop, PRO)
    shops = [first, await open_shop(PRO, price="1 call")]
    hands = [by_hand(shop) for shop in shops]
    links = [str((await shop.refusal()).checkout_url) for shop in shops for _ in range(5)]
    assert set(links) == {pay_invoice(first)}
    for shop, hand in zip(shops, hands, strict=True):
        hand.now += 60.0
        assert await shop.is_served(times=2)


async def test_who_does_not_pay_costs_few_reads(open_shop: Open) -> None:
    """Reads are rationed for the whole account, so nobody may use them up by calling and not paying."""
    shop = await past_due(open_shop, PRO)
    hand = by_hand(shop)
    await shop.refusal()
    before = len(shop.stripe.emulator.requests)
    for _ in range(60):
        assert (await shop.refusal()).checkout_url is not None
        hand.now += 1.0
    read = [r.path for r in shop.stripe.emulator.requests[before:] if r.path.startswith("/v1/invoices")]
    assert 1 <= len(read) <= 4


async def test_credits_that_were_paid_serve_who_is_past_due(open_shop: Open) -> None:
    """What is sold can be used, and what was bought before is not locked; then the invoice is named again."""
    shop = await past_due(open_shop, PRO, CREDITS, price=("1 call", "1 credit"))
    assert "your last invoice is not paid" in (await shop.refusal()).text
    await shop.pay(await shop.billing.checkout(ALICE, pack="Starter"))
    assert await shop.is_served(times=2)
    assert "your last invoice is not paid" in (await shop.refusal()).text


async def test_an_invoice_that_was_waived_does_not_lead_anywhere(open_shop: Open) -> None:
    """The seller ended the subscription and voided the invoice: the next link sells again."""
    shop = await past_due(open_shop, PRO)
    hand = by_hand(shop)
    await shop.refusal()
    (unpaid,) = shop.rows("invoice", status="open")
    (subscription,) = shop.rows("subscription")
    shop.post(f"/v1/invoices/{unpaid['id']}/void")
    shop.stripe.emulator.account.store.get("subscription", subscription["id"])["status"] = "canceled"
    hand.now += 60.0
    await shop.pay(str((await shop.refusal()).checkout_url), GOOD)
    assert await shop.is_served()
