"""From somebody the author's code knows to a customer in Stripe."""

from __future__ import annotations

import asyncio

import pytest

from stripe_meter import PayAsYouGo, Principal
from tests.sales.conftest import ALICE, Open

pytestmark = pytest.mark.anyio


async def test_a_principal_is_one_customer(open_shop: Open) -> None:
    """Asked at once by two processes, and again after the idempotency key is forgotten."""
    shops = [await open_shop(PayAsYouGo(), price="$0.05") for _ in range(2)]
    found = set(await asyncio.gather(*(shop.billing.customer(ALICE) for shop in shops for _ in range(3))))
    shops[0].stripe.advance(2 * 86_400)
    found.add(await shops[1].billing.customer(ALICE))
    assert found == {row["id"] for row in shops[0].rows("customer")}
    assert len(found) == 1


async def test_a_principal_with_any_characters_is_found_again(open_shop: Open) -> None:
    """Quotes, backslashes and line breaks in a subject cannot widen the search to somebody else."""
    shop = await open_shop(PayAsYouGo(), price="$0.05")
    names = ["o'brien", 'x" OR metadata["a"]:"b', "back\\slash", "two\nlines", "', '🙂"]
    people = [Principal("https://login.example", name) for name in names]
    first = [await shop.billing.customer(person) for person in people]
    shop.stripe.advance(2 * 86_400)
    assert [await shop.billing.customer(person) for person in people] == first
    assert len(set(first)) == len(names)


async def test_of_two_customers_the_oldest_is_used_for_ever(open_shop: Open) -> None:
    """Search may lag for longer than idempotency keys live; what comes of that is marked for the seller to see."""
    shop = await open_shop(PayAsYouGo(), price="$0.05")
    oldest = await shop.billing.customer(ALICE)
    shop.stripe.advance(2 * 86_400)
    form = {f"metadata[{name}]": value for name, value in shop.rows("customer")[0]["metadata"].items()}
    second = shop.post("/v1/customers", **form)["id"]
    shop.stripe.advance(2 * 86_400)
    assert [await shop.billing.customer(ALICE) for _ in range(2)] == [oldest] * 2
    assert [row["id"] for row in shop.rows("customer") if "stripe_meter_duplicate_of" in row["metadata"]] == [second]


async def test_the_customer_of_a_link_is_the_one_who_calls(open_shop: Open) -> None:
    """The author's code and a tool call mean the same person by the same principal."""
    shop = await open_shop(PayAsYouGo(), price="$0.05")
    await shop.pay(await shop.billing.checkout(ALICE))
    assert await shop.is_served()
    assert len(shop.rows("customer")) == 1
