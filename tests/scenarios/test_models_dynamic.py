"""Calls of different size: counted from the result or in the tool, bounded, by the block; and charges taken back."""

from __future__ import annotations

import pytest

from stripe_meter import current_call
from tests.scenarios.shop import BROKEN, Priced
from tests.scenarios.world import World

pytestmark = pytest.mark.anyio


def fetch(text: str) -> str:
    """A tool that counts pages while it works, and charges nothing for what it still remembered."""
    for page in text.split():
        if page == "remembered":
            current_call().cancel()
        current_call().add(3 if page == "long" else 1)
    return text


async def test_a_call_never_costs_more_than_its_bound(world: World) -> None:
    """At 2 cents a word: 20 words are 40 cents, 80 are charged as 50, 100 cents; 40 + 100 = 140."""
    by_word = Priced("$0.02 per word", lambda call: len(call.result.split()), max_units=50)
    async with world.shop(translate=by_word) as shop:
        key = await world.subscriber(shop)
        assert (await shop.call("translate", "word " * 20, key=key)).cost == "40 usd"
        assert (await shop.call("translate", "word " * 80, key=key)).cost == "100 usd"
    await world.on_the_meter(key.customer, translate=70)
    assert (await world.end_of_month(key.customer)).total == 140


async def test_a_tool_counts_while_it_works(world: World) -> None:
    """At 10 cents a page: 1 + 3 + 1 = 5 pages are 50 cents, 1 page is 10; a cancelled and a failed call are free."""
    async with world.shop(fetch=Priced("$0.10 per page", work=fetch)) as shop:
        key = await world.subscriber(shop)
        costs = [
            (await shop.call("fetch", text, key=key)).cost
            for text in ("short long short", "short", "long remembered", BROKEN)
        ]
        assert costs == ["50 usd", "10 usd", "free", "free"]
    await world.on_the_meter(key.customer, fetch=6)
    assert (await world.end_of_month(key.customer)).total == 60


async def test_a_started_block_is_paid_in_full(world: World) -> None:
    """At 25 cents per started 100 words: 100 words are 1 block, 101 are 2, 1 is 1; 4 x 25 = 100 cents."""
    by_block = Priced("$0.25 per started 100 words", lambda call: len(call.result.split()))
    async with world.shop(translate=by_block) as shop:
        key = await world.subscriber(shop)
        costs = [(await shop.call("translate", "word " * count, key=key)).cost for count in (100, 101, 1)]
        assert costs == ["25 usd", "50 usd", "25 usd"]
    await world.on_the_meter(key.customer, translate=4)
    assert (await world.end_of_month(key.customer)).total == 100


async def test_a_charge_is_taken_back_before_the_invoice(world: World) -> None:
    """3 calls of 50 cents, one refunded, twice by mistake: 2 x 50 = 100 cents."""
    async with world.shop(look="$0.50") as shop:
        key = await world.subscriber(shop)
        await shop.calls(2, "look", key=key)
        served = await shop.call("look", key=key)
        for _ in range(2):
            assert await shop.billing.refund(served.receipt) == "evt"
    await world.on_the_meter(key.customer, look=2)
    assert (await world.end_of_month(key.customer)).total == 100


async def test_a_billed_charge_is_credited_on_its_invoice(world: World) -> None:
    """3 x 50 = 150 cents are billed, and a credit note gives 50 of them back, once."""
    async with world.shop(look="$0.50") as shop:
        key = await world.subscriber(shop)
        await shop.calls(2, "look", key=key)
        served = await shop.call("look", key=key)
    await world.on_the_meter(key.customer, look=3)
    invoice = await world.end_of_month(key.customer)
    assert invoice.total == 150
    async with world.shop(look="$0.50") as shop:
        notes = {await shop.billing.refund(served.receipt) for _ in range(2)}
    listed = world.seller.credit_notes.list({"customer": key.customer}).data
    assert [(note.id, note.invoice, note.amount) for note in listed] == [(notes.pop(), invoice.id, 50)]
