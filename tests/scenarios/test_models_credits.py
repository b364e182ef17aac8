"""Credits: bought in packs beforehand, and a hard stop when they are used."""

from __future__ import annotations

from typing import Final

import pytest

from stripe_meter import CreditPack, Credits
from tests.scenarios.shop import BROKEN
from tests.scenarios.world import World

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.only_on("emulator", "cassette", reason="a pack is paid on a page, by a person in a browser"),
]

PLAN: Final = Credits([CreditPack(100, "$9.99", "Starter")])


async def test_a_pack_is_bought_used_up_and_bought_again(world: World) -> None:
    """100 credits are 3 calls of 30, and 10 are left; a second pack makes it 110, and 80 after one more call.

    Two packs: 999 and 999 cents.
    """
    async with world.shop(PLAN, look="30 credits") as shop:
        refused = await shop.call("look")
        assert refused.refusal["reason"] == "identity_required"
        key = await world.pays(shop, refused)
        assert (await shop.call("look", BROKEN, key=key)).cost == "free"
        assert [(await shop.call("look", key=key)).cost for _ in range(3)] == ["30 credits"] * 3
        refused = await shop.call("look", key=key)
        assert refused.refusal["reason"] == "credits_exhausted"
        assert "needs 30 credits and 10 credits are left" in refused.text
        assert refused.link in refused.text

        assert await world.pays_again(shop, refused) is None
        assert (await shop.call("look", key=key)).cost == "30 credits"
    assert world.credits(key.customer) == 80
    assert world.bills(key.customer) == [999, 999]


async def test_credits_outlive_the_server(world: World) -> None:
    """What a server held for its calls is back when it ends: 100 - 2 x 30 = 40, then 40 - 30 = 10."""
    async with world.shop(PLAN, look="30 credits") as shop:
        key = await world.pays(shop, await shop.call("look"))
        await shop.calls(2, "look", key=key)
    assert world.credits(key.customer) == 40
    async with world.shop(PLAN, look="30 credits") as shop:
        await shop.calls(1, "look", key=key)
        assert (await shop.call("look", key=key)).refusal["reason"] == "credits_exhausted"
    assert world.credits(key.customer) == 10
    assert world.bills(key.customer) == [999]


async def test_a_refunded_call_gives_its_credits_back(world: World) -> None:
    """100 - 2 x 30 = 40, and 30 back are 70, however often the same receipt is shown."""
    async with world.shop(PLAN, look="30 credits") as shop:
        key = await world.pays(shop, await shop.call("look"))
        await shop.calls(1, "look", key=key)
        served = await shop.call("look", key=key)
        for _ in range(2):
            await shop.billing.refund(served.receipt)
    assert world.credits(key.customer) == 70
