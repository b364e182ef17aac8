"""Pay-as-you-go: what heavy users save, what tools of one price share, and prices far below a cent."""

from __future__ import annotations

from typing import Final

import pytest

from stripe_meter import PayAsYouGo
from stripe_meter.domain.usage import Call
from tests.scenarios.shop import Priced
from tests.scenarios.world import World

pytestmark = pytest.mark.anyio

DISCOUNTS: Final = [(100, 10), (500, 20)]


def words(call: Call) -> int:
    return len(call.result.split())


async def test_whoever_uses_more_pays_less_for_the_rest(world: World) -> None:
    """600 words at 1 cent, 10 % off after 100, 20 % off after 500.

    100 x 1 + 400 x 0.9 + 100 x 0.8 = 100 + 360 + 80 = 540 cents.
    """
    async with world.shop(PayAsYouGo(DISCOUNTS), translate=Priced("$0.01 per word", words)) as shop:
        key = await world.subscriber(shop)
        await shop.calls(1, "translate", "word " * 450, key=key)
        await shop.calls(1, "translate", "word " * 150, key=key)
    await world.on_the_meter(key.customer, translate=600)
    assert (await world.end_of_month(key.customer)).total == 540


async def test_each_currency_has_its_own_discounted_price(world: World) -> None:
    """150 words: 100 x 1 + 50 x 0.9 = 145 cents in the United States; 100 x 2 + 50 x 1.8 = 290 in Europe."""
    price = Priced(("$0.01 per word", "€0.02 per word"), words)
    async with world.shop(PayAsYouGo(DISCOUNTS), translate=price) as shop:
        american, european = await world.subscriber(shop), await world.subscriber(shop, currency="eur")
        for key in (american, european):
            await shop.calls(1, "translate", "word " * 150, key=key)
    for key in (american, european):
        await world.on_the_meter(key.customer, translate=150)
    first, second = await world.end_of_month_of(american.customer, european.customer)
    assert (first.total, first.currency) == (145, "usd")
    assert (second.total, second.currency) == (290, "eur")


async def test_tools_of_one_price_share_a_meter_and_its_discount(world: World) -> None:
    """80 + 70 words at 2 cents: 100 x 2 + 50 x 1.8 = 290 cents. Counted apart they would never reach the discount."""
    price = Priced("$0.02 per word", words)
    plan = PayAsYouGo(DISCOUNTS, meter="price")
    async with world.shop(plan, summarize=price, translate=price) as shop:
        key = await world.subscriber(shop)
        await shop.calls(1, "summarize", "word " * 80, key=key)
        await shop.calls(1, "translate", "word " * 70, key=key)
    await world.on_the_meter(key.customer, price=150)
    invoice = await world.end_of_month(key.customer)
    assert invoice.total == 290
    assert len({line.pricing.price_details.price for line in invoice.lines.data}) == 1


async def test_a_thousandth_of_a_cent_is_not_lost(world: World) -> None:
    """1,240 + 760 tokens at $0.00025 are 31 + 19 = 50 cents; each call alone is no whole number of cents per token."""
    async with world.shop(embed=Priced("$0.25 per 1000 tokens", words)) as shop:
        key = await world.subscriber(shop)
        assert (await shop.call("embed", "token " * 1240, key=key)).cost == "31 usd"
        assert (await shop.call("embed", "token " * 760, key=key)).cost == "19 usd"
    await world.on_the_meter(key.customer, embed=2000)
    assert (await world.end_of_month(key.customer)).total == 50
