"""Every way to sell at once on one server: each caller pays from the right pocket."""

from __future__ import annotations

import pytest

from stripe_meter import CreditPack, Credits, Free, PayAsYouGo, Subscription
from tests.scenarios.world import World

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.only_on("emulator", "cassette", reason="a pack is paid on a page, by a person in a browser"),
]


async def test_four_callers_pay_in_four_ways(world: World) -> None:
    """Everybody has one free call a month; after it,

    * who has bought nothing is refused, and billed nothing;
    * who has a plan uses 2 included calls and pays 30 cents for one more: 2000 + 1 x 30 = 2030 cents;
    * who has a pack pays 3 x 10 of 100 credits, so 70 are left: 999 cents;
    * who pays as they go pays 3 x 50 = 150 cents.
    """
    plans = (
        Credits([CreditPack(100, "$9.99", "Starter")]),
        Free(calls=1),
        Subscription("pro", "$20/month", included=2, overage="$0.30"),
        PayAsYouGo(),
    )
    async with world.shop(*plans, look=("$0.50", "10 credits")) as shop:
        prepaid = await world.pays(shop, await shop.call("look"))
        free, metered = world.acquaintance(), await world.subscriber(shop)
        subscribed = await world.subscriber(shop, plan="pro")
        costs = {
            key: [(await shop.call("look", key=key)).cost for _ in range(4)]
            for key in (free, subscribed, prepaid, metered)
        }
        assert costs[free] == ["free call", "free", "free", "free"]
        assert costs[subscribed] == ["free call", "0 usd", "0 usd", "30 usd"]
        assert costs[prepaid] == ["free call", "10 credits", "10 credits", "10 credits"]
        assert costs[metered] == ["free call", "50 usd", "50 usd", "50 usd"]
        assert (await shop.call("look", key=free)).refusal["reason"] == "allowance_used"
    invoices = await world.end_of_month_of(subscribed.customer, metered.customer)
    assert [invoice.total for invoice in invoices] == [2030, 150]
    assert world.bills(prepaid.customer) == [999]
    assert world.credits(prepaid.customer) == 70
    assert world.bills(free.customer) == []
