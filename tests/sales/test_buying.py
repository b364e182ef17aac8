"""Charging a saved card for a pack that its owner asks for."""

from __future__ import annotations

import asyncio

import pytest

from stripe_meter import Credits
from stripe_meter.enforcement.selling import Bought
from stripe_meter.errors import ConfigurationError
from tests.sales.conftest import ALICE, ASKS_ALWAYS, BIG, FAILS_LATER, STARTER, Open

pytestmark = pytest.mark.anyio

CREDITS = Credits([STARTER, BIG])


async def test_a_saved_card_is_charged_once_for_each_occasion(open_shop: Open) -> None:
    """One order, asked for at once, by two processes and a day and a half later, is one payment and one grant."""
    shops = [await open_shop(CREDITS) for _ in range(2)]
    await shops[0].pay(await shops[0].billing.save_card(ALICE))
    asked = [shop.billing.buy(ALICE, "Starter", once="order 17") for shop in shops for _ in range(2)]
    bought = set(await asyncio.gather(*asked))
    shops[0].stripe.advance(36 * 3600)
    bought.add(await shops[1].billing.buy(ALICE, "Starter", once="order 17"))
    [payment] = shops[0].rows("payment_intent")
    assert bought == {Bought(payment["id"])}
    assert (payment["status"], payment["amount"]) == ("succeeded", 999)
    assert await shops[0].is_served(times=2)
    assert (await shops[0].refusal()).reason == "credits_exhausted"
    assert (await shops[0].billing.buy(ALICE, "Starter", once="order 18")).payment != payment["id"]
    assert await shops[0].is_served(times=2)


async def test_without_a_card_there_is_a_link(open_shop: Open) -> None:
    """Nothing is charged; the link sells the same pack."""
    shop = await open_shop(CREDITS)
    bought = await shop.billing.buy(ALICE, "Big", once="1")
    assert bought.payment is None
    assert shop.rows("payment_intent") == []
    await shop.pay(str(bought.url))
    assert await shop.is_served(times=50)


@pytest.mark.parametrize("card", [FAILS_LATER, ASKS_ALWAYS], ids=["declined", "3-D Secure"])
async def test_a_card_that_does_not_pay_leads_to_checkout(open_shop: Open, card: str) -> None:
    """The payment is cancelled, so that it cannot be paid beside the link; the same pack is paid there, once."""
    shop = await open_shop(CREDITS)
    await shop.pay(await shop.billing.save_card(ALICE), card)
    bought = [await shop.billing.buy(ALICE, "Starter", once="1") for _ in range(2)]
    assert bought[0] == bought[1]
    assert bought[0].payment is None
    assert [row["status"] for row in shop.rows("payment_intent")] == ["canceled"]
    await shop.pay(str(bought[0].url))
    assert [row["amount_received"] for row in shop.rows("payment_intent")] == [0, 999]
    assert await shop.is_served(times=2)
    assert (await shop.refusal()).reason == "credits_exhausted"
    # Whoever asks again for what was paid by the link in the card's place has it.
    paid = await shop.billing.buy(ALICE, "Starter", once="1")
    assert paid == Bought(shop.rows("payment_intent")[1]["id"])
    assert len(shop.rows("payment_intent")) == 2


async def test_without_a_card_one_occasion_is_still_one_payment(open_shop: Open) -> None:
    """An author who asks again after the link was paid, days later and from another process, gets no second link."""
    shops = [await open_shop(CREDITS) for _ in range(2)]
    await shops[0].pay(str((await shops[0].billing.buy(ALICE, "Starter", once="order 17")).url))
    shops[0].stripe.advance(36 * 3600)
    [payment] = shops[0].rows("payment_intent")
    for shop in shops:
        assert await shop.billing.buy(ALICE, "Starter", once="order 17") == Bought(payment["id"])
    assert (await shops[1].billing.buy(ALICE, "Starter", once="order 18")).url is not None


async def test_an_occasion_names_one_purchase(open_shop: Open) -> None:
    """Another pack under the same name is a mistake of the author's and was not paid; no name is one too."""
    shop = await open_shop(CREDITS)
    await shop.pay(await shop.billing.save_card(ALICE))
    await shop.billing.buy(ALICE, "Starter", once="order 17")
    with pytest.raises(ConfigurationError, match="named another purchase before"):
        await shop.billing.buy(ALICE, "Big", once="order 17")
    with pytest.raises(ConfigurationError, match="names no occasion"):
        await shop.billing.buy(ALICE, "Big", once=" ")
    assert [row["amount"] for row in shop.rows("payment_intent")] == [999]
