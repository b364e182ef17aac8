"""From the first refusal to the invoice."""

from __future__ import annotations

import pytest

from tests.scenarios.shop import BROKEN
from tests.scenarios.world import Declined, World

pytestmark = pytest.mark.anyio


async def test_a_stranger_pays_and_is_billed_by_the_call(world: World) -> None:
    """The whole promise in one story: refused with a link, paid, served with a key, metered, invoiced."""
    async with world.shop(summarize="$0.05") as shop:
        refused = await shop.call("summarize")
        assert refused.is_error
        assert refused.refusal["reason"] == "identity_required"
        assert "$0.05" in refused.text
        assert refused.link in refused.text

        key = await world.pays(shop, refused)
        served = await shop.call("summarize", "a page", key=key)
        assert (served.text, served.cost) == ("A PAGE", "5 usd")
        await shop.calls(11, "summarize", key=key)
    await world.on_the_meter(key.customer, summarize=12)
    invoice = await world.end_of_month(key.customer)
    assert (invoice.total, invoice.currency, invoice.status) == (60, "usd", "paid")


async def test_a_tool_that_fails_is_free(world: World) -> None:
    """Only work that succeeded is charged."""
    async with world.shop(summarize="$0.25") as shop:
        key = await world.subscriber(shop)
        await shop.calls(2, "summarize", key=key)
        failed = await shop.call("summarize", BROKEN, key=key)
        assert failed.is_error
        assert failed.cost == "free"
        await shop.calls(1, "summarize", key=key)
    await world.on_the_meter(key.customer, summarize=3)
    assert (await world.end_of_month(key.customer)).total == 75


async def test_a_declined_card_buys_nothing(world: World) -> None:
    """The payer reads why, and the same link takes another card."""
    async with world.shop(summarize="$0.05") as shop:
        refused = await shop.call("summarize")
        with pytest.raises(Declined, match="declined"):
            await world.pays(shop, refused, card="declined")
        key = await world.pays(shop, refused)
        assert (await shop.call("summarize", key=key)).cost == "5 usd"


@pytest.mark.only_on("emulator", "cassette", reason="a person has to confirm the payment in a browser")
async def test_a_card_that_asks_for_3d_secure_is_confirmed_in_checkout(world: World) -> None:
    """Confirmed once, the card is charged without its owner from then on."""
    async with world.shop(summarize="$1") as shop:
        key = await world.pays(shop, await shop.call("summarize"), card="asks for 3-D Secure")
        await shop.calls(2, "summarize", key=key)
    invoice = await world.end_of_month(key.customer)
    assert (invoice.total, invoice.status) == (200, "paid")
