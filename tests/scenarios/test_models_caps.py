"""Spend caps: a runaway agent stops where the seller or the customer said so."""

from __future__ import annotations

import pytest

from stripe_meter import PayAsYouGo
from tests.scenarios.world import World

pytestmark = pytest.mark.anyio


async def test_spending_stops_at_the_cap(world: World) -> None:
    """$1 a month is 3 calls at 30 cents, also over a restart; a fourth would make $1.20: 3 x 30 = 90 cents."""
    async with world.shop(PayAsYouGo(), spend_cap="$1/month", look="$0.30") as shop:
        key = await world.subscriber(shop)
        await shop.calls(2, "look", key=key)
    await world.on_the_meter(key.customer, look=2, spend=2 * 30 * 1_000_000)
    async with world.shop(PayAsYouGo(), spend_cap="$1/month", look="$0.30") as shop:
        await shop.calls(1, "look", key=key)
        refused = await shop.call("look", key=key)
        assert refused.refusal["reason"] == "spend_cap"
        assert "your spending limit of $1.00 a month is reached" in refused.text
    await world.on_the_meter(key.customer, look=3)
    assert (await world.end_of_month(key.customer)).total == 90


async def test_a_customer_sets_a_lower_cap_of_their_own(world: World) -> None:
    """50 cents of their own instead of the seller's $1: 1 x 30 = 30 cents."""
    async with world.shop(PayAsYouGo(), spend_cap="$1/month", look="$0.30") as shop:
        key = await world.subscriber(shop)
        world.seller.customers.update(key.customer, {"metadata": {"stripe_meter_spend_cap": "50"}})
        await shop.calls(1, "look", key=key)
        assert "your spending limit of $0.50 a month" in (await shop.call("look", key=key)).text
    await world.on_the_meter(key.customer, look=1)
    assert (await world.end_of_month(key.customer)).total == 30
