"""Customers over time: keys, cards that stop working, deletion, and what a restart knows."""

from __future__ import annotations

import pytest

from tests.scenarios.world import World

pytestmark = pytest.mark.anyio


async def test_a_revoked_key_is_refused_with_a_link_after_the_restart(world: World) -> None:
    """A running server may go on for an hour with what it knew; one that starts asks Stripe."""
    async with world.shop(summarize="$0.05") as shop:
        key = await world.subscriber(shop)
        await shop.calls(1, "summarize", key=key)
        world.revoke_key(key)
    async with world.shop(summarize="$0.05") as shop:
        refused = await shop.call("summarize", key=key)
        assert refused.refusal["reason"] == "identity_required"
        assert "not valid" in refused.text
        assert refused.link in refused.text


async def test_a_second_key_of_a_customer_bills_the_same_customer(world: World) -> None:
    """A lost key is replaced without a new subscription."""
    async with world.shop(summarize="$0.05") as shop:
        key = await world.subscriber(shop)
        other = world.issue_key(key.customer)
        await shop.calls(1, "summarize", key=key)
        await shop.calls(2, "summarize", key=other)
    await world.on_the_meter(key.customer, summarize=3)


async def test_a_deleted_customer_is_a_stranger_again(world: World) -> None:
    """What the seller deletes at Stripe is not billed by a server that starts afterwards."""
    async with world.shop(summarize="$0.05") as shop:
        key = await world.subscriber(shop)
        await shop.calls(1, "summarize", key=key)
    world.seller.customers.delete(key.customer)
    async with world.shop(summarize="$0.05") as shop:
        refused = await shop.call("summarize", key=key)
        assert refused.refusal["reason"] == "identity_required"


async def test_a_customer_without_a_subscription_is_sent_to_checkout(world: World) -> None:
    """The seller made them by hand and gave them a key; what is missing is the card."""
    async with world.shop(summarize="$0.05") as shop:
        key = world.issue_key(world.seller.customers.create({"metadata": {"stripe_meter": world.namespace}}).id)
        refused = await shop.call("summarize", key=key)
        assert refused.refusal["reason"] == "payment_required"
        assert refused.link in refused.text


async def test_a_card_that_stops_working_leads_to_the_open_invoice(world: World) -> None:
    """Who owes a month is not served another one, and is told where to pay."""
    async with world.shop(summarize="$1") as shop:
        key = await world.subscriber(shop, card="declined later")
        await shop.calls(2, "summarize", key=key)
    await world.on_the_meter(key.customer, summarize=2)
    invoice = await world.end_of_month(key.customer)
    assert (invoice.total, invoice.status) == (200, "open")
    async with world.shop(summarize="$1") as shop:
        refused = await shop.call("summarize", key=key)
        assert refused.refusal["reason"] == "payment_required"
        assert refused.link == invoice.hosted_invoice_url


async def test_a_restarted_server_makes_nothing_twice(world: World) -> None:
    """It finds its catalogue and its customers where it left them: at Stripe."""
    async with world.shop(summarize="$0.05") as shop:
        key = await world.subscriber(shop)
        await shop.calls(1, "summarize", key=key)
        before = world.prices("summarize")[0].id
    async with world.shop(summarize="$0.05") as shop:
        await shop.calls(1, "summarize", key=key)
        assert world.prices("summarize")[0].id == before
    await world.on_the_meter(key.customer, summarize=2)
