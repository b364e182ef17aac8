"""What a call costs: by the call and by the piece, below a cent, in two currencies, and when Stripe says otherwise."""

from __future__ import annotations

import pytest

from tests.scenarios.shop import Priced
from tests.scenarios.world import World

pytestmark = pytest.mark.anyio


async def test_a_price_below_a_cent_adds_up_on_the_invoice(world: World) -> None:
    """40 calls at $0.0375 are $1.50; rounded one by one they would be $1.60."""
    async with world.shop(ping="$0.0375") as shop:
        key = await world.subscriber(shop)
        assert (await shop.call("ping", key=key)).cost == "3.75 usd"
        await shop.calls(39, "ping", key=key)
    await world.on_the_meter(key.customer, ping=40)
    assert (await world.end_of_month(key.customer)).total == 150


async def test_words_are_counted_and_billed_exactly(world: World) -> None:
    """A dynamic price is a quantity at a fixed rate, so the invoice stays readable."""
    by_word = Priced("$0.002 per word", lambda call: len(call.result.split()))
    async with world.shop(translate=by_word) as shop:
        key = await world.subscriber(shop)
        assert (await shop.call("translate", "one two three", key=key)).cost == "0.6 usd"
        assert (await shop.call("translate", "word " * 500, key=key)).cost == "100 usd"
    await world.on_the_meter(key.customer, translate=503)
    assert (await world.end_of_month(key.customer)).total == 101  # 100.6 cents


async def test_each_customer_pays_in_their_own_currency(world: World) -> None:
    """One tool, two prices; which one counts is the subscription's to say."""
    async with world.shop(summarize=("$0.50", "€0.40")) as shop:
        american, european = await world.subscriber(shop), await world.subscriber(shop, currency="eur")
        assert (await shop.call("summarize", key=american)).cost == "50 usd"
        assert (await shop.call("summarize", key=european)).cost == "40 eur"
        await shop.calls(2, "summarize", key=european)
    await world.on_the_meter(american.customer, summarize=1)
    await world.on_the_meter(european.customer, summarize=3)
    first, second = await world.end_of_month_of(american.customer, european.customer)
    assert (first.total, first.currency) == (50, "usd")
    assert (second.total, second.currency) == (120, "eur")


async def test_two_tools_are_two_lines_of_one_invoice(world: World) -> None:
    """Each tool has a meter and a price of its own."""
    async with world.shop(summarize="$0.50", translate="$0.10") as shop:
        key = await world.subscriber(shop)
        await shop.calls(2, "summarize", key=key)
        await shop.calls(3, "translate", key=key)
    await world.on_the_meter(key.customer, summarize=2, translate=3)
    invoice = await world.end_of_month(key.customer)
    assert sorted(line.amount for line in invoice.lines.data) == [30, 100]
    assert invoice.total == 130


async def test_a_tool_added_later_reaches_the_old_subscriber(world: World) -> None:
    """Without its item on the subscription Stripe would count the calls and never bill them."""
    async with world.shop(summarize="$0.50") as shop:
        key = await world.subscriber(shop)
        await shop.calls(1, "summarize", key=key)
    async with world.shop(summarize="$0.50", translate="$0.10") as shop:
        await shop.calls(2, "translate", key=key)
    await world.on_the_meter(key.customer, summarize=1, translate=2)
    assert (await world.end_of_month(key.customer)).total == 70


async def test_the_price_at_stripe_is_the_one_that_counts(world: World) -> None:
    """The author changed the code, but a price at Stripe stays what it is until they say so there."""
    async with world.shop(summarize="$0.50") as shop:
        key = await world.subscriber(shop)
    async with world.shop(summarize="$0.70") as shop:
        assert await shop.prices() == {"summarize": "$0.50 a call"}
        assert (await shop.call("summarize", key=key)).cost == "50 usd"


async def test_an_archived_price_still_bills_who_has_it(world: World) -> None:
    """Archiving takes a price off the shelf; subscriptions that hold it go on with it."""
    async with world.shop(summarize="$0.50") as shop:
        key = await world.subscriber(shop)
        await shop.calls(1, "summarize", key=key)
        world.seller.prices.update(world.prices("summarize")[0].id, {"active": False})
        await shop.calls(1, "summarize", key=key)
    subscription = world.seller.subscriptions.list({"customer": key.customer}).data[0]
    assert len(subscription["items"].data) == 1
    assert (await world.end_of_month(key.customer)).total == 100
