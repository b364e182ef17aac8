"""Stripe answers too late, with an error, or not at all: nobody pays twice, and nothing is given away."""

from __future__ import annotations

import pytest

from tests.scenarios.world import World

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.only_on("emulator", "cassette", reason="Stripe cannot be told to fail"),
]


async def test_a_rate_limited_account_is_asked_again(world: World) -> None:
    """A caller does not see a 429 that a second try a moment later would not have met."""
    async with world.shop(summarize="$0.05") as shop:
        key = await world.subscriber(shop)
        world.fault(path=f"/v1/customers/{key.customer}", kind="status", status=429)
        assert (await shop.call("summarize", key=key)).cost == "5 usd"
    assert world.refusals(429) == 1


async def test_a_rate_limited_meter_event_is_sent_again(world: World) -> None:
    """The call was answered long ago; its usage arrives once."""
    async with world.shop(summarize="$0.05") as shop:
        key = await world.subscriber(shop)
        world.fault(path="/v1/billing/meter_events", kind="status", status=429, times=2)
        await shop.calls(1, "summarize", key=key)
    await world.on_the_meter(key.customer, summarize=1)
    assert world.refusals(429) == 2


async def test_usage_that_stripe_has_counted_before_its_error_is_not_counted_again(world: World) -> None:
    """Stripe stored its failure under the key, so the repeat has a new key, and is told that the identifier exists."""
    async with world.shop(summarize="$0.05") as shop:
        key = await world.subscriber(shop)
        world.fault(path="/v1/billing/meter_events", kind="status", status=500, stored=True, effect=True)
        await shop.calls(1, "summarize", key=key)
    await world.on_the_meter(key.customer, summarize=1)


async def test_a_repeated_identifier_counts_once(world: World) -> None:
    """What the flusher relies on: one identifier, one event, whatever the idempotency key."""
    async with world.shop(summarize="$0.05") as shop:
        key = await world.subscriber(shop)
    event = {
        "event_name": f"{world.namespace}.summarize",
        "payload": {"stripe_customer_id": key.customer, "value": "3"},
        "identifier": f"{world.namespace}-by-hand",
        "timestamp": world.opening,
    }
    world.seller.billing.meter_events.create(event)
    with pytest.raises(Exception, match="already exists with identifier"):
        world.seller.billing.meter_events.create(event)
    await world.on_the_meter(key.customer, summarize=3)


@pytest.mark.only_on("emulator", reason="a lost answer leaves nothing to record")
async def test_a_lost_answer_is_not_a_lost_call_nor_a_second_one(world: World) -> None:
    """The connection broke after Stripe had counted; the repeat under the same key gets the stored answer."""
    async with world.shop(summarize="$0.05") as shop:
        key = await world.subscriber(shop)
        world.fault(path="/v1/billing/meter_events", kind="lost", effect=True)
        await shop.calls(2, "summarize", key=key)
    await world.on_the_meter(key.customer, summarize=2)


async def test_while_stripe_is_down_a_stranger_is_told_when_to_come_back(world: World) -> None:
    """A server that starts in an outage refuses with a time instead of serving on credit."""
    async with world.shop(summarize="$0.05") as shop:
        key = await world.subscriber(shop)
        world.fault(path=f"/v1/customers/{key.customer}", kind="status", status=503, times=3)
        refused = await shop.call("summarize", key=key)
        assert refused.refusal["reason"] == "billing_unavailable"
        assert refused.refusal["retry_after_seconds"] > 0
        assert (await shop.call("summarize", key=key)).cost == "5 usd"
