"""Subscriptions: a fee, calls included, and what follows when they are used."""

from __future__ import annotations

import pytest

from stripe_meter import Subscription
from tests.scenarios.shop import BROKEN, Priced
from tests.scenarios.world import World

pytestmark = pytest.mark.anyio

clock_moves = pytest.mark.only_on(
    "emulator", "cassette", reason="Checkout makes no customers on test clocks, and nobody else's time can be moved"
)


@clock_moves
async def test_overage_stands_on_the_next_invoice_beside_the_fee(world: World) -> None:
    """$49.99 at once, for 5 calls: 3 small ones and one that takes 2. Then 1 x 25 + 2 x 25 = 75 cents of overage.

    The next invoice: 4999 + 75 = 5074 cents.
    """
    plan = Subscription("pro", "$49.99/month", included=5, overage="$0.25")
    async with world.shop(plan, look="1 call", dig="2 calls") as shop:
        key = await world.pays(shop, await shop.call("look"))
        assert world.bills(key.customer) == [4999]
        costs = [(await shop.call(tool, key=key)).cost for tool in ("look", "look", "look", "dig", "look", "dig")]
        assert costs == ["0 usd", "0 usd", "0 usd", "0 usd", "25 usd", "50 usd"]
    world.days_pass(32)
    assert world.bills(key.customer) == [4999, 5074]


@clock_moves
async def test_a_fixed_price_is_never_exceeded(world: World) -> None:
    """$5 for 2 calls and no more, failed ones not counted; next month they start anew: 500 and 500 cents."""
    plan = Subscription("basic", "$5/month", included=2, overage="$0.25", hard_cap=True)
    async with world.shop(plan, look="1 call") as shop:
        key = await world.pays(shop, await shop.call("look"))
        await shop.call("look", BROKEN, key=key)
        await shop.calls(2, "look", key=key)
        refused = await shop.call("look", key=key)
        assert refused.refusal["reason"] == "allowance_used"
        assert "The calls of your plan (2) are used until 02 December 2026" in refused.text
    world.days_pass(32)
    async with world.shop(plan, look="1 call") as shop:
        await shop.calls(2, "look", key=key)
        assert (await shop.call("look", key=key)).refusal["reason"] == "allowance_used"
    assert world.bills(key.customer) == [500, 500]


async def test_a_yearly_plan_is_billed_by_the_year(world: World) -> None:
    """$499 for 2 calls, a third for 25 cents; the invoice of the second year: 49900 + 25 = 49925 cents."""
    plan = Subscription("pro", "$499/year", included=2, overage="$0.25")
    async with world.shop(plan, look="1 call") as shop:
        key = await world.subscriber(shop, plan="pro")
        await shop.calls(3, "look", key=key)
    await world.on_the_meter(key.customer, calls=3)
    assert (await world.end_of_month(key.customer)).total == 49925


@clock_moves
async def test_a_trial_ends_with_its_days_and_its_calls(world: World) -> None:
    """Nothing for 14 days and 3 calls; then $10 for 2 calls, and a third for 50 cents: 0, 1000, 1000 + 50 cents."""
    plan = Subscription("pro", "$10/month", included=2, overage="$0.50", trial_days=14, trial_calls=3)
    async with world.shop(plan, look="1 call") as shop:
        key = await world.pays(shop, await shop.call("look"))
        assert [(await shop.call("look", key=key)).cost for _ in range(3)] == ["0 usd"] * 3
        refused = await shop.call("look", key=key)
        assert refused.refusal["reason"] == "allowance_used"
        assert "The calls of your trial (3) are used until 16 November 2026" in refused.text
    world.days_pass(15)
    async with world.shop(plan, look="1 call") as shop:
        costs = [(await shop.call("look", key=key)).cost for _ in range(3)]
        assert costs == ["0 usd", "0 usd", "50 usd"]
    world.days_pass(31)
    assert world.bills(key.customer) == [0, 1000, 1050]


async def test_a_locked_tool_is_opened_by_the_plan_with_its_feature(world: World) -> None:
    """Whoever is on the small plan is told which plan unlocks it, and is billed nothing but the small plan."""
    basic = Subscription("basic", "$5/month", included=10)
    pro = Subscription("pro", "$20/month", included=10, features=["digging"])
    async with world.shop(basic, pro, look="1 call", dig=Priced("1 call", feature="digging")) as shop:
        small, big = await world.subscriber(shop, plan="basic"), await world.subscriber(shop, plan="pro")
        refused = await shop.call("dig", key=small)
        assert refused.refusal["reason"] == "feature_locked"
        assert "pro unlocks" in refused.text
        await shop.calls(1, "look", key=small)
        await shop.calls(2, "dig", key=big)
    await world.on_the_meter(small.customer, calls=1)
    await world.on_the_meter(big.customer, calls=2)
    assert [bill.total for bill in await world.end_of_month_of(small.customer, big.customer)] == [500, 2000]
