"""Subscriptions whose payment went back: Stripe goes on with them, so they are ended here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import stripe as sdk

from stripe_meter.domain.identity import Caller
from stripe_meter.domain.plans import PayAsYouGo, Subscription
from stripe_meter.emulator import EmulatorServer
from stripe_meter.enforcement.engine import Engine
from tests.conftest import a_tool, pay
from tests.enforcement.test_engine import admitted, refused
from tests.webhooks.conftest import SECRET, deliver, events
from tests.webhooks.story import DAY

pytestmark = pytest.mark.anyio

PRO = Subscription("pro", "$10/month", included=2, overage="$0.25")
TOOL = a_tool()
Make = Callable[..., Engine]


def the_subscription(stripe: EmulatorServer) -> dict[str, Any]:
    (row,) = stripe.emulator.account.store.all("subscription")
    return row


async def subscriber(engine: Engine, stripe: EmulatorServer, card: str = "4242424242424242") -> Caller:
    """Somebody on the plan, who has made three calls: one more than it includes."""
    caller = await pay(engine, stripe, TOOL, card=card)
    stripe.advance(3600)
    for _ in range(3):
        (await admitted(engine, TOOL, caller)).settle(1)
    assert engine.flush()
    stripe.settle()
    stripe.advance(3600)
    return caller


def payment_of(client: sdk.StripeClient) -> str:
    """The payment of the newest invoice."""
    invoice = client.v1.invoices.list({"expand": ["data.payments"]}).data[0]
    assert invoice.payments is not None
    return str(invoice.payments.data[0].payment.payment_intent)


async def test_a_fee_refunded_as_a_whole_ends_its_subscription(
    make_engine: Make, stripe: EmulatorServer, client: sdk.StripeClient
) -> None:
    """In two parts, told twice: it ends with the last one, is renewed no more, and the call over the plan is billed."""
    engine = make_engine(PRO, stripe_webhook_secret=SECRET)
    caller, payment = await subscriber(engine, stripe), payment_of(client)
    client.v1.refunds.create({"payment_intent": payment, "amount": 400})
    await deliver(engine, events(stripe, "refund.created"))
    assert the_subscription(stripe)["status"] == "active"
    (await admitted(engine, TOOL, caller)).settle(0)
    client.v1.refunds.create({"payment_intent": payment})
    for _ in range(2):
        await deliver(engine, events(stripe, "refund.created"))
    assert the_subscription(stripe)["status"] == "canceled"
    assert (await refused(engine, TOOL, caller)).reason == "payment_required"
    stripe.advance(40 * DAY)
    assert [row.total for row in client.v1.invoices.list().data] == [25, 1000]


async def test_an_earlier_month_may_be_given_back(
    make_engine: Make, stripe: EmulatorServer, client: sdk.StripeClient
) -> None:
    """Goodwill for what is over says nothing about what goes on."""
    engine = make_engine(PRO, stripe_webhook_secret=SECRET)
    await subscriber(engine, stripe)
    first = payment_of(client)
    stripe.advance(32 * DAY)
    client.v1.refunds.create({"payment_intent": first})
    await deliver(engine, events(stripe, "refund.created"))
    assert the_subscription(stripe)["status"] == "active"


async def test_a_bill_for_usage_may_be_given_back(
    make_engine: Make, stripe: EmulatorServer, client: sdk.StripeClient
) -> None:
    """Pay-as-you-go bills what is over; who gets that back goes on as before."""
    engine = make_engine(PayAsYouGo(), stripe_webhook_secret=SECRET)
    caller = await pay(engine, stripe, TOOL)
    (await admitted(engine, TOOL, caller)).settle(100)
    assert engine.flush()
    stripe.settle()
    stripe.advance(32 * DAY)
    client.v1.refunds.create({"payment_intent": payment_of(client)})
    await deliver(engine, events(stripe, "refund.created"))
    assert the_subscription(stripe)["status"] == "active"


@pytest.mark.parametrize(("pauses", "ends"), [(True, "canceled"), (False, "active")])
async def test_a_lost_dispute_ends_what_would_go_on_charging(
    make_engine: Make, stripe: EmulatorServer, client: sdk.StripeClient, pauses: bool, ends: str
) -> None:
    """Whoever is refused for good must not pay a fee each month; where the author goes on serving, it goes on."""
    engine = make_engine(PRO, stripe_webhook_secret=SECRET, pause_on_dispute=pauses)
    await subscriber(engine, stripe, card="4000000000000259")
    stripe.advance(1)
    await deliver(engine, events(stripe, "charge.dispute.created"))
    assert the_subscription(stripe)["status"] == "active"
    (dispute,) = client.v1.disputes.list().data
    client.v1.disputes.close(dispute.id)
    await deliver(engine, events(stripe, "charge.dispute.closed"))
    assert the_subscription(stripe)["status"] == ends
