"""Automatic top-ups: a pack bought again with a saved card, by customers who agreed, so often and not more."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stripe_meter import CreditPack, Credits
from stripe_meter.enforcement.gate import Admission
from stripe_meter.errors import ConfigurationError, NotForSale
from tests.sales.conftest import ALICE, ASKS_ALWAYS, BIG, FAILS_LATER, REFILLED, STARTER, Counter, Open

pytestmark = pytest.mark.anyio

DAY = 86_400
#: Pays, and is disputed a moment later.
DISPUTES = "4000000000000259"


async def agreed(open_shop: Open, card: str | None = None) -> Counter:
    """A customer who bought the first pack, agreed on its page, and has used it up."""
    shop = await open_shop(REFILLED)
    url = await shop.billing.checkout(ALICE, pack="Starter")
    assert "2 more are bought with this card for $9.99, at most 2 times a month" in shop.visit(url).text
    await shop.pay(url)
    if card is not None:
        await shop.pay(await shop.billing.save_card(ALICE), card)
    assert await shop.is_served(times=2)
    return shop


def paid(shop: Counter) -> int:
    """Packs that were paid for."""
    return sum(int(row["amount_received"]) for row in shop.rows("payment_intent")) // 999


def later(shop: Counter, seconds: float) -> None:
    """Time goes by at Stripe and in the seller's process alike."""
    assert shop.billing.flush()
    shop.stripe.advance(seconds)
    engine, now = shop.billing.engine, shop.stripe.emulator.clock.now
    began, start = engine.sales._accounts.monotonic() + seconds, now()
    engine.keep_time_by(lambda: began + now() - start, now)


async def test_an_empty_wallet_is_filled_and_the_call_served(open_shop: Open) -> None:
    """The caller notices nothing; the payment says what it was for, and the author sees it in the Dashboard."""
    shop = await agreed(open_shop)
    assert await shop.is_served()
    *_, payment = shop.rows("payment_intent")
    assert (payment["amount"], payment["description"]) == (999, "Starter: 2 credits")
    assert payment["metadata"]["stripe_meter_units"] == "2"
    assert paid(shop) == 2


async def test_so_often_a_month_and_not_more(open_shop: Open) -> None:
    """The limit is the customer's protection; in the next month it counts anew."""
    shop = await agreed(open_shop)
    assert await shop.is_served(times=4)
    refusal = await shop.refusal()
    assert "The automatic top-ups of this month (2) are used." in refusal.text
    assert refusal.checkout_url is not None
    assert paid(shop) == 3
    later(shop, 32 * DAY)
    assert await shop.is_served(times=4)
    assert (await shop.refusal()).reason == "credits_exhausted"
    assert paid(shop) == 5


async def test_who_did_not_agree_is_never_charged(open_shop: Open) -> None:
    """A card that is on file for something else is no consent."""
    shop = await open_shop(Credits([STARTER]))
    await shop.pay(await shop.billing.checkout(ALICE, pack="Starter"))
    await shop.pay(await shop.billing.save_card(ALICE))
    assert await shop.is_served(times=2)
    refilling = await open_shop(REFILLED)
    assert (await refilling.refusal()).reason == "credits_exhausted"
    assert paid(shop) == 1


async def test_a_card_saved_with_consent_is_enough(open_shop: Open) -> None:
    """Whoever bought by a link without consent agrees on the page that saves a card."""
    shop = await open_shop(REFILLED)
    await shop.pay(str(shop.visit(await shop.billing.payment_link("Starter", ALICE)).url))
    assert await shop.is_served(times=2)
    assert (await shop.refusal()).reason == "credits_exhausted"
    await shop.pay(await shop.billing.save_card(ALICE))
    later(shop, 120)
    assert await shop.is_served(times=2)


async def test_whoever_stops_is_not_charged_again(open_shop: Open) -> None:
    """And a purchase from before that is told once more, by a late webhook, does not switch it on again."""
    shop = await agreed(open_shop)
    later(shop, 5)
    await shop.billing.stop_top_up(ALICE)
    for session in shop.rows("checkout.session"):
        await shop.billing.engine.sales.complete(session["id"], None)
    assert (await shop.refusal()).reason == "credits_exhausted"
    assert paid(shop) == 1
    later(shop, 120)
    await shop.pay(await shop.billing.save_card(ALICE))
    assert await shop.is_served()


async def test_a_declined_card_is_tried_again_after_a_day(open_shop: Open) -> None:
    """Not at each call: banks hold many declines against a seller. The refusal says why, with a link."""
    shop = await agreed(open_shop, FAILS_LATER)
    for _ in range(2):
        refusal = await shop.refusal()
        assert "The card for automatic top-ups was declined" in refusal.text
        assert refusal.checkout_url is not None
        later(shop, 120)
    assert [row["status"] for row in shop.rows("payment_intent")] == ["succeeded", "canceled"]
    later(shop, DAY)
    await shop.refusal()
    assert len(shop.rows("payment_intent")) == 3


async def test_3d_secure_pauses_until_they_agree_anew(open_shop: Open) -> None:
    """No page of ours could ask the bank's question: the payment is cancelled and the same pack offered by link."""
    shop = await agreed(open_shop, ASKS_ALWAYS)
    refusal = await shop.refusal()
    assert "Your bank wants you to confirm the automatic top-up" in refusal.text
    assert [row["status"] for row in shop.rows("payment_intent")] == ["succeeded", "canceled"]
    later(shop, 3 * DAY)
    refusal = await shop.refusal()
    assert len(shop.rows("payment_intent")) == 2
    await shop.pay(str(refusal.checkout_url))
    assert paid(shop) == 2
    assert await shop.is_served(times=2)
    assert (await shop.refusal()).reason == "credits_exhausted"
    await shop.pay(await shop.billing.save_card(ALICE))
    assert await shop.is_served(times=2)
    assert paid(shop) == 3


@pytest.mark.parametrize(
    ("plan", "more"),
    [
        (Credits([STARTER, BIG], top_up="Big", top_up_limit=2), 0),
        (Credits([STARTER], top_up="Starter", top_up_limit=9), 2),
    ],
    ids=["another pack", "more often"],
)
async def test_other_terms_than_agreed_charge_nobody(open_shop: Open, plan: Credits, more: int) -> None:
    """A seller who changes the terms has no consent to the new ones; who agreed before gets a link instead."""
    await agreed(open_shop)
    shop = await open_shop(plan)
    assert await shop.is_served(times=2 * more)
    refusal = await shop.refusal()
    assert refusal.reason == "credits_exhausted"
    assert refusal.checkout_url is not None
    assert [row["amount_received"] for row in shop.rows("payment_intent")] == [999] * (1 + more)
    await shop.pay(await shop.billing.save_card(ALICE))
    later(shop, 120)
    assert await shop.is_served()


@pytest.mark.parametrize(("debt", "bought"), [(2, 0), (1, 1)], ids=["not enough", "enough"])
async def test_one_need_is_one_payment(open_shop: Open, debt: int, bought: int) -> None:
    """A wallet in debt after a refund must not take pack after pack: one that is not enough is not bought at all."""
    shop = await agreed(open_shop)
    shop.billing.close()
    [wallet] = {row["customer"] for row in shop.rows("customer_balance_transaction")}
    shop.post(f"/v1/customers/{wallet}/balance_transactions", amount=str(debt), currency="usd")
    shop = await open_shop(REFILLED)
    assert await shop.is_served() is bool(bought)
    assert paid(shop) == 1 + bought


async def test_a_disputed_card_is_charged_no_more(open_shop: Open) -> None:
    """Whoever takes one payment back through the bank gets no other one, also where calls go on during disputes."""
    shop = await agreed(open_shop, DISPUTES)
    assert await shop.is_served(times=2)
    shop.stripe.settle()
    assert "A payment of yours is disputed" in (await shop.refusal()).text
    [dispute] = shop.rows("dispute")
    shop.post(f"/v1/disputes/{dispute['id']}", **{"evidence[uncategorized_text]": "winning_evidence", "submit": "true"})
    later(shop, 120)
    assert await shop.is_served()


async def test_who_pays_by_a_refusals_link_agrees_to_nothing(open_shop: Open) -> None:
    """Anybody who was sent the link may pay by it; their card is not charged again, and what was stopped stays so."""
    shop = await agreed(open_shop)
    later(shop, 5)
    await shop.billing.stop_top_up(ALICE)
    url = str((await shop.refusal()).checkout_url)
    assert "bought with this card" not in shop.visit(url).text
    await shop.pay(url)
    assert await shop.is_served(times=2)
    assert (await shop.refusal()).reason == "credits_exhausted"
    assert paid(shop) == 2
    assert (await shop.billing.buy(ALICE, "Starter", once="1")).payment is None


async def test_a_page_of_the_authors_own_says_what_is_agreed(open_shop: Open) -> None:
    """Consent is to something: the sentence to be shown comes with the intent, and where nothing is on offer, none."""
    shop = await open_shop(REFILLED)
    begun = await shop.billing.setup_intent(ALICE, consent=True)
    assert "for $9.99, at most 2 times a month, until you stop it at" in begun.consent
    shop.confirm_setup(begun.id, "pm_card_visa")
    await shop.billing.card_saved(begun.id)
    [metadata] = [row["metadata"] for row in shop.rows("customer")]
    assert metadata["stripe_meter_top_up"].endswith(" starter 2 999 usd 2")
    plain = await open_shop(Credits([STARTER]))
    with pytest.raises(NotForSale, match="nothing is bought by itself here"):
        await plain.billing.setup_intent(ALICE, consent=True)


async def test_two_processes_with_one_need_buy_one_pack(open_shop: Open) -> None:
    """Eight callers of two processes find the wallet empty at the same moment; one pack is enough for all of them."""
    plan = Credits([BIG], top_up="Big", top_up_limit=9)
    shops = [await open_shop(plan) for _ in range(3)]
    await shops[0].pay(await shops[0].billing.checkout(ALICE))
    assert await shops[0].is_served(times=50)
    shops[0].billing.close()
    answers = await asyncio.gather(*(shop.call() for shop in shops[1:] for _ in range(4)))
    assert all(isinstance(answer, Admission) for answer in answers)
    assert [row["status"] for row in shops[0].rows("payment_intent")] == ["succeeded"] * 2


#: Each request of a top-up that writes, by its place among those of the same path.
WRITES = {
    "create": ("/v1/payment_intents", 0),
    "confirm": ("/v1/payment_intents", 1),
    "grant": ("/v1/customers", 0),
    "mark": ("/v1/payment_intents", 2),
}
TROUBLE = {
    "the answer is lost": {"kind": "lost"},
    "nothing arrives": {"kind": "lost", "effect": False},
    "an error is stored": {"kind": "status", "status": 500, "stored": True},
    "done, and an error is stored": {"kind": "status", "status": 500, "stored": True, "effect": True},
}


@pytest.mark.parametrize("trouble", TROUBLE.values(), ids=TROUBLE)
@pytest.mark.parametrize(("path", "skip"), WRITES.values(), ids=WRITES)
async def test_trouble_at_any_step_charges_nobody_twice(
    open_shop: Open, path: str, skip: int, trouble: dict[str, Any]
) -> None:
    """Whatever becomes of an answer, calling again comes to one payment, and to its credits once."""
    shop = await agreed(open_shop)
    # As often as one request is repeated, so that the call itself fails.
    shop.stripe.emulator.faults.add(method="POST", path=path, skip=skip, times=3, **trouble)
    for _ in range(4):
        if isinstance(await shop.call(), Admission):
            break
    shop.stripe.emulator.faults.clear()
    assert await shop.is_served()
    assert paid(shop) == 2
    assert (await shop.billing.customer(ALICE)) is not None
    given = [row["amount"] for row in shop.rows("customer_balance_transaction") if row["description"] == "bought"]
    assert given == [-2, -2]


def test_a_top_up_needs_a_pack_and_a_limit() -> None:
    """What would charge people without a bound, or for a pack that is not sold, is refused when it is written."""
    packs = [CreditPack(100, "$9.99", "Starter")]
    with pytest.raises(ConfigurationError, match="needs a pack and a limit for each month"):
        Credits(packs, top_up="Starter")
    with pytest.raises(ConfigurationError, match="no credit pack is called 'Big'"):
        Credits(packs, top_up="Big", top_up_limit=1)
    with pytest.raises(ConfigurationError, match="top_up_limit=0 cannot be used"):
        Credits(packs, top_up="Starter", top_up_limit=0)
