"""Several processes behind one endpoint: what the others, whom no event reaches, know and when."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import stripe as sdk

from stripe_meter.domain.identity import ApiKey, Caller
from stripe_meter.emulator import EmulatorServer
from stripe_meter.enforcement.accounts import AHEAD, FRESH_WHEN_TOLD
from stripe_meter.enforcement.engine import Engine
from tests.conftest import a_tool, pay
from tests.enforcement.test_engine import admitted, refused
from tests.webhooks.conftest import deliver, events

pytestmark = pytest.mark.anyio

PAYG, PACK = a_tool(), a_tool("ask", price="1 credit")


@pytest.fixture
async def two(
    make_hooked: Callable[..., Engine], stripe: EmulatorServer, client: sdk.StripeClient
) -> tuple[Engine, Engine]:
    """Two processes that know of webhooks by an event that each of them got: one hears what follows, one does not."""
    client.v1.products.create({"name": "something else"})
    (some,) = events(stripe, "product.created")
    hearing, deaf = make_hooked(), make_hooked()
    for engine in (hearing, deaf):
        await deliver(engine, [some])
        assert engine._accounts.fresh == FRESH_WHEN_TOLD
    return hearing, deaf


@contextmanager
def what_follows(stripe: EmulatorServer) -> Iterator[list[dict[str, Any]]]:
    """The events of a block, there once it is over."""
    before = len(events(stripe))
    follows: list[dict[str, Any]] = []
    yield follows
    follows.extend(events(stripe)[before:])


def key_of(caller: Caller) -> ApiKey:
    key = ApiKey.parse(str(caller.api_key))
    assert key is not None
    return key


def later(engine: Engine, stripe: EmulatorServer, seconds: float) -> None:
    now = time.monotonic()
    engine.keep_time_by(lambda: now + seconds, stripe.emulator.clock.now)


async def test_a_purchase_counts_in_every_process_at_the_next_call(
    two: tuple[Engine, Engine], stripe: EmulatorServer, client: sdk.StripeClient
) -> None:
    """Whoever has paid may call the process that did not hear of it, which looks before it refuses them once more."""
    hearing, deaf = two
    caller = await pay(hearing, stripe, PACK)
    for _ in range(100):
        (await admitted(hearing, PACK, caller)).settle(1)
    refusals = [await refused(engine, PACK, caller) for engine in two]
    with what_follows(stripe) as follows:
        stripe.complete_checkout(str(refusals[0].checkout_url))
    await deliver(hearing, follows)
    for engine in (deaf, hearing):
        (await admitted(engine, PACK, caller)).settle(1)


@pytest.mark.parametrize("change", ["cancelled", "revoked", "deleted"])
async def test_whoever_has_left_is_served_elsewhere_for_a_day_at_most(
    two: tuple[Engine, Engine], stripe: EmulatorServer, client: sdk.StripeClient, change: str
) -> None:
    """The process that hears of it refuses at once; the other one when its snapshot is a day old, as is written."""
    hearing, deaf = two
    caller = await pay(hearing, stripe, PAYG)
    key = key_of(caller)
    for engine in two:
        (await admitted(engine, PAYG, caller)).settle(1)
        assert engine.flush()
    with what_follows(stripe) as follows:
        if change == "cancelled":
            (live,) = client.v1.subscriptions.list({"customer": key.customer}).data
            client.v1.subscriptions.cancel(live.id)
        elif change == "revoked":
            client.v1.customers.update(key.customer, {"metadata": {key.metadata_key: ""}})
        else:
            client.v1.customers.delete(key.customer)
    await deliver(hearing, follows)
    reason = "payment_required" if change == "cancelled" else "identity_required"
    assert (await refused(hearing, PAYG, caller)).reason == reason
    later(deaf, stripe, FRESH_WHEN_TOLD - AHEAD - 60)
    (await admitted(deaf, PAYG, caller)).release()
    later(deaf, stripe, FRESH_WHEN_TOLD + 1)
    assert (await refused(deaf, PAYG, caller)).reason == reason


async def test_a_dispute_stops_a_process_that_meets_its_customer_later(
    two: tuple[Engine, Engine], stripe: EmulatorServer, client: sdk.StripeClient
) -> None:
    """The mark is on the customer, so only who read them before goes on."""
    caller = await pay(two[0], stripe, PACK, card="4000000000000259")
    stripe.advance(1)
    await deliver(two[0], events(stripe, "charge.dispute.created"))
    for engine in two:
        assert "a payment of yours is disputed" in (await refused(engine, PACK, caller)).text


async def test_a_subscription_that_ends_with_its_period_ends_everywhere(
    two: tuple[Engine, Engine], stripe: EmulatorServer, client: sdk.StripeClient
) -> None:
    """Each process knows when the period ends, and reads the customer then, whoever heard of the end."""
    hearing, deaf = two
    caller = await pay(hearing, stripe, PAYG)
    for engine in two:
        (await admitted(engine, PAYG, caller)).settle(1)
        assert engine.flush()
    (live,) = client.v1.subscriptions.list({"customer": key_of(caller).customer}).data
    client.v1.subscriptions.update(live.id, {"cancel_at_period_end": True})
    stripe.advance(32 * 86_400)
    later(deaf, stripe, FRESH_WHEN_TOLD - AHEAD - 60)
    assert (await refused(deaf, PAYG, caller)).reason == "payment_required"
