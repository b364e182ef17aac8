"""Free calls: counted without any subscription, and started anew on the reset day."""

from __future__ import annotations

import pytest

from stripe_meter import Free, PayAsYouGo
from tests.scenarios.shop import BROKEN
from tests.scenarios.world import World

pytestmark = pytest.mark.anyio


async def test_when_the_free_calls_are_used_the_next_one_is_refused(world: World) -> None:
    """A call that fails is not counted, and a restart does not start them anew. Nobody is billed anything."""
    async with world.shop(Free(calls=2), look="1 call") as shop:
        key = world.acquaintance()
        await shop.call("look", BROKEN, key=key)
        assert [(await shop.call("look", key=key)).cost for _ in range(2)] == ["free call", "free call"]
        refused = await shop.call("look", key=key)
        assert refused.refusal["reason"] == "allowance_used"
        assert "Your free calls (2) are used until" in refused.text
    await world.on_the_meter(key.customer, free=2)
    async with world.shop(Free(calls=2), look="1 call") as shop:
        assert (await shop.call("look", key=key)).refusal["reason"] == "allowance_used"
    assert world.bills(key.customer) == []


async def test_listed_tools_are_free_for_everybody(world: World) -> None:
    """A stranger uses them as often as they like; the others ask who is there."""
    async with world.shop(Free(calls=1, tools=["basic_*"]), PayAsYouGo(), basic_look="$0.05", dig="$1") as shop:
        for _ in range(3):
            assert (await shop.call("basic_look")).text == "A PAGE"
        assert (await shop.call("dig")).refusal["reason"] == "identity_required"


async def test_a_payer_is_billed_only_what_follows_the_free_calls(world: World) -> None:
    """2 free calls, then 3 x 50 = 150 cents."""
    async with world.shop(Free(calls=2), PayAsYouGo(), look="$0.50") as shop:
        key = await world.subscriber(shop)
        costs = [(await shop.call("look", key=key)).cost for _ in range(5)]
        assert costs == ["free call", "free call", "50 usd", "50 usd", "50 usd"]
    await world.on_the_meter(key.customer, free=2, look=3)
    assert (await world.end_of_month(key.customer)).total == 150


@pytest.mark.only_on("emulator", "cassette", reason="nobody can move the time of a Stripe account")
async def test_free_calls_start_anew_on_the_reset_day(world: World) -> None:
    """It is 2 November; the 15th comes in between."""
    plan = Free(calls=1, reset_day=15)
    async with world.shop(plan, look="1 call") as shop:
        key = world.acquaintance()
        assert (await shop.call("look", key=key)).cost == "free call"
        assert "until 15 November 2026 00:00 UTC" in (await shop.call("look", key=key)).text
    world.days_pass(12)
    async with world.shop(plan, look="1 call") as shop:
        assert (await shop.call("look", key=key)).refusal["reason"] == "allowance_used"
    world.days_pass(1)
    async with world.shop(plan, look="1 call") as shop:
        assert (await shop.call("look", key=key)).cost == "free call"
        assert "until 15 December 2026" in (await shop.call("look", key=key)).text
    assert world.bills(key.customer) == []
