"""What an event changes for the caller, with Stripe's stand-in delivering by itself to a real port."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import stripe as sdk

from stripe_meter.domain.identity import METADATA_WALLET, ApiKey, Caller
from stripe_meter.domain.plans import CreditPack, Credits
from stripe_meter.emulator import EmulatorServer
from stripe_meter.enforcement.accounts import FRESH, FRESH_WHEN_TOLD
from stripe_meter.enforcement.engine import Engine
from stripe_meter.enforcement.webhooks import inbox
from stripe_meter.enforcement.webhooks.table import SNAPSHOT, THIN
from tests.conftest import PAGES, a_tool, pay
from tests.enforcement.test_engine import admitted, refused, someone
from tests.webhooks.conftest import address, deliver, events, send, sender, until, worked_off
from tests.webhooks.story import DAY, UNITS, Story, books_of, ledger

pytestmark = pytest.mark.anyio

Make = Callable[..., Engine]


@pytest.fixture
async def told(make_hooked: Make, stripe: EmulatorServer, client: sdk.StripeClient) -> Engine:
    """A server with endpoints at Stripe, made from the table."""
    url = await address(make_hooked())  # The address is needed before the secrets are known, so of a first server.
    whole: Any = {"url": url, "enabled_events": list(SNAPSHOT)}
    thin: Any = {
        "name": "hook",
        "type": "webhook_endpoint",
        "event_payload": "thin",
        "enabled_events": list(THIN),
        "webhook_endpoint": {"url": url},
        "include": ["webhook_endpoint.signing_secret"],
    }
    made, destination = client.v1.webhook_endpoints.create(whole), client.v2.core.event_destinations.create(thin)
    assert destination.webhook_endpoint is not None
    secrets = f"{made.secret},{destination.webhook_endpoint.signing_secret}"
    engine = make_hooked(stripe_webhook_secret=secrets)
    moved = await address(engine)
    client.v1.webhook_endpoints.update(made.id, {"url": moved})
    client.v2.core.event_destinations.update(destination.id, {"webhook_endpoint": {"url": moved}})
    return engine


async def settled(engine: Engine, stripe: EmulatorServer) -> None:
    """Everything was delivered and worked off."""
    before = -1
    while before != (before := len(stripe.emulator.account.journal.log)):
        await engine.thread.call(lambda _: until(lambda: stripe.emulator.courier.idle), 30.0)
        await worked_off(engine)


def customer_of(caller: Caller) -> str:
    key = ApiKey.parse(caller.api_key or "")
    assert key is not None
    return key.customer


PAYG, PACK = a_tool(), a_tool("ask", price="1 credit")


async def test_a_cancelled_subscriber_is_refused_at_once(
    told: Engine, stripe: EmulatorServer, client: sdk.StripeClient
) -> None:
    """Without webhooks it takes up to an hour."""
    caller = await pay(told, stripe, PAYG)
    (await admitted(told, PAYG, caller)).settle(1)
    assert told.flush()
    (live,) = client.v1.subscriptions.list({"customer": customer_of(caller)}).data
    client.v1.subscriptions.cancel(live.id)
    await settled(told, stripe)
    assert (await refused(told, PAYG, caller)).reason == "payment_required"


async def test_a_revoked_key_and_a_deleted_customer_are_refused_at_once(
    told: Engine, stripe: EmulatorServer, client: sdk.StripeClient
) -> None:
    """Usage of somebody deleted is billed to nobody."""
    one, other = await pay(told, stripe, PAYG), await pay(told, stripe, PAYG)
    key = ApiKey.parse(one.api_key or "")
    assert key is not None
    client.v1.customers.update(key.customer, {"metadata": {key.metadata_key: ""}})
    client.v1.customers.delete(customer_of(other))
    await settled(told, stripe)
    for caller in (one, other):
        assert (await refused(told, PAYG, caller)).reason == "identity_required"


async def test_who_pays_a_failed_invoice_is_served_at_once(
    told: Engine, stripe: EmulatorServer, client: sdk.StripeClient
) -> None:
    """Past due stops them, paying lets them go on."""
    caller = await pay(told, stripe, PAYG, card="4000000000000341")
    (await admitted(told, PAYG, caller)).settle(1000)
    assert told.flush()
    stripe.advance(32 * DAY)
    await settled(told, stripe)
    refusal = await refused(told, PAYG, caller)
    assert "your last invoice is not paid" in refusal.text
    (invoice,) = client.v1.invoices.list({"customer": customer_of(caller), "status": "open"}).data
    card = client.v1.payment_methods.attach("pm_card_visa", {"customer": customer_of(caller)})
    client.v1.invoices.pay(invoice.id, {"payment_method": card.id})
    await settled(told, stripe)
    await admitted(told, PAYG, caller)


async def test_a_dispute_stops_its_customer_until_it_is_won(
    told: Engine, make_hooked: Make, stripe: EmulatorServer, client: sdk.StripeClient
) -> None:
    """Everywhere: the mark is on the customer. The disputed pack's credits are gone, and come back."""
    caller = await pay(told, stripe, PACK, card="4000000000000259")
    customer = customer_of(caller)
    stripe.advance(1)
    await settled(told, stripe)
    for engine in (told, make_hooked()):
        refusal = await refused(engine, PACK, caller)
        assert (refusal.reason, refusal.checkout_url) == ("payment_required", None)
        assert "a payment of yours is disputed" in refusal.text
    assert books_of(stripe, customer) == (0, True)
    (dispute,) = client.v1.disputes.list().data
    client.v1.disputes.update(dispute.id, {"evidence": {"uncategorized_text": "winning_evidence"}})
    await settled(told, stripe)
    assert books_of(stripe, customer) == (100, False)
    (await admitted(told, PACK, caller)).settle(1)


async def test_the_seller_may_go_on_serving_in_a_dispute(
    make_hooked: Make, stripe: EmulatorServer, client: sdk.StripeClient
) -> None:
    """`pause_on_dispute=False`: the credits go all the same, and the mark that stays stops nobody."""
    engine = make_hooked(pause_on_dispute=False)
    caller = await pay(engine, stripe, PACK, card="4000000000000259")
    stripe.advance(1)
    await deliver(engine, events(stripe, "charge.dispute.created"))
    assert books_of(stripe, customer_of(caller)) == (0, True)
    assert (await refused(engine, PACK, caller)).reason == "credits_exhausted"


async def test_the_seller_may_change_their_mind_in_a_dispute(
    make_hooked: Make, stripe: EmulatorServer, client: sdk.StripeClient
) -> None:
    """Switched off while a dispute is open, the pause ends at once; and the mark goes when the dispute is won."""
    strict = make_hooked()
    caller = await pay(strict, stripe, PACK)
    link = await strict.sales.checkout(customer_of(caller), pack="Starter", pages=PAGES)
    stripe.complete_checkout(link, card="4000000000000259")
    stripe.advance(1)
    await deliver(strict, events(stripe, "charge.dispute.created"))
    assert "is disputed" in (await refused(strict, PACK, caller)).text
    lenient = make_hooked(pause_on_dispute=False)
    (await admitted(lenient, PACK, caller)).settle(1)
    (dispute,) = client.v1.disputes.list().data
    client.v1.disputes.update(dispute.id, {"evidence": {"uncategorized_text": "winning_evidence"}})
    await deliver(lenient, events(stripe, "charge.dispute.closed"))
    (await admitted(make_hooked(), PACK, caller)).settle(1)


async def test_a_dispute_stops_nobody_who_is_not_our_customer(
    hooked: Engine, stripe: EmulatorServer, client: sdk.StripeClient
) -> None:
    """The seller's account sells other things too."""
    customer = client.v1.customers.create({}).id
    card = client.v1.payment_methods.attach("pm_card_createDispute", {"customer": customer})
    paid: Any = {"amount": 900, "currency": "usd", "payment_method": card.id, "customer": customer, "confirm": True}
    client.v1.payment_intents.create(paid)
    stripe.advance(1)
    disputed = events(stripe, "charge.dispute.created")
    assert len(disputed) == 1
    await deliver(hooked, disputed)
    marks = client.v1.customers.retrieve(customer).metadata
    assert marks is not None
    assert marks.to_dict() == {}


async def test_a_refunded_pack_is_a_debt_where_it_was_used(
    told: Engine, make_hooked: Make, stripe: EmulatorServer, client: sdk.StripeClient
) -> None:
    """Thirty of a hundred were used: the refund leaves a debt, which the next pack pays first."""
    caller = await pay(told, stripe, PACK)
    customer = customer_of(caller)
    for _ in range(30):
        (await admitted(told, PACK, caller)).settle(1)
    (payment,) = client.v1.payment_intents.list({"customer": customer}).data
    client.v1.refunds.create({"payment_intent": payment.id})
    await settled(told, stripe)
    await told.thread.call(lambda _: told._decision.prepaid.give_back(), 5.0)
    fresh = make_hooked()
    refusal = await refused(fresh, PACK, caller)
    assert refusal.reason == "credits_exhausted"
    assert "you owe 30 credits of a payment that went back, so 31 credits are missing" in refusal.text
    (pocket,) = [p for p in (await fresh.desk.status(customer)).pockets if p.name == "credits"]
    assert "30 credits are owed of a payment that went back" in pocket.why
    told.close()
    assert books_of(stripe, customer) == (-30, False)


@pytest.mark.parametrize("cents", [(300, 300, 300), (333, 567), (1, 1, 898), (450, 449, 1), (100,) * 9])
async def test_refunds_in_parts_take_what_one_refund_takes(
    make_hooked: Make, stripe: EmulatorServer, client: sdk.StripeClient, cents: tuple[int, ...]
) -> None:
    """A third of a hundred credits, three times, is a hundred: no unit is left of a pack that was paid back."""
    story = Story(stripe, client)
    payment = story.buy("in parts")
    for number, amount in enumerate(cents, 1):
        client.v1.refunds.create({"payment_intent": payment, "amount": amount})
        await deliver(make_hooked(), events(stripe, "refund.created"))  # each process hears the first ones again
        left = UNITS - UNITS * sum(cents[:number]) // 900
        assert books_of(stripe, story.buyers["in parts"]) == (left, False)


async def test_refunds_in_parts_are_the_same_heard_backwards(
    hooked: Engine, stripe: EmulatorServer, client: sdk.StripeClient
) -> None:
    """Stripe promises no order, and a refund that is heard of early takes its own share and no other's."""
    story = Story(stripe, client)
    payment = story.buy("in parts")
    for amount in (300, 1, 299, 300):
        client.v1.refunds.create({"payment_intent": payment, "amount": amount})
    await deliver(hooked, events(stripe, "refund.created")[::-1])
    customer = story.buyers["in parts"]
    assert books_of(stripe, customer) == (0, False)
    taken = [amount for owner, amount, said in ledger(stripe) if owner == customer and "refunded" in said]
    assert taken == [33, 33, 34]


async def test_a_payment_link_that_names_a_wallet_pays_its_owner(told: Engine, stripe: EmulatorServer) -> None:
    """Whoever has paid must be given something, and credits of a wallet's own would be nobody's."""
    customer = customer_of(await pay(told, stripe, PACK))
    wallet = stripe.emulator.account.store.get("customer", customer)["metadata"][METADATA_WALLET]
    link = await told.sales.payment_link("starter", wallet)
    async with httpx.AsyncClient() as http:
        session = (await http.get(link)).headers["location"]
    stripe.complete_checkout(session, email="friend@example.com")
    await settled(told, stripe)
    assert told.sales.webhooks.stats.failed == 0
    assert books_of(stripe, customer) == (200, False)


async def test_a_purchase_that_page_and_webhook_tell_of_is_one_line(
    told: Engine, stripe: EmulatorServer, caplog: pytest.LogCaptureFixture
) -> None:
    """An auditor who counts the lines counts what was sold."""
    await pay(told, stripe, PACK)
    await settled(told, stripe)
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == "stripe_meter.audit"]
    assert [line["how"] for line in lines if line["kind"] == "purchase"] == ["checkout"]


async def test_a_pack_whose_payer_never_came_back_is_there(told: Engine, stripe: EmulatorServer) -> None:
    """The page was closed, and another process made the link: only the webhook knows."""
    caller = someone()
    refusal = await refused(told, PACK, caller)
    told._purchases._open.clear()
    stripe.complete_checkout(str(refusal.checkout_url), email="caller@example.com")
    await settled(told, stripe)
    await admitted(told, PACK, caller)


@pytest.mark.parametrize("restarted", [False, True], ids=["the same process", "after a restart"])
async def test_a_purchase_whose_webhook_never_comes_is_granted_all_the_same(
    make_engine: Make, stripe: EmulatorServer, restarted: bool
) -> None:
    """No endpoint, no success page: the caller's next calls find it."""
    plan = Credits([CreditPack(100, "$9.99", "Starter")])
    engine, caller = make_engine(plan), someone()
    refusal = await refused(engine, PACK, caller)
    stripe.complete_checkout(str(refusal.checkout_url), email="caller@example.com")
    if restarted:
        engine.close()
        engine = make_engine(plan)
    (await admitted(engine, PACK, caller)).settle(1)
    engine.close()
    rows = stripe.emulator.account.store.all("customer")
    (customer,) = (row["id"] for row in rows if METADATA_WALLET in row["metadata"])
    assert books_of(stripe, customer)[0] == 99


async def test_deliveries_that_fail_come_again(
    told: Engine, stripe: EmulatorServer, client: sdk.StripeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the server cannot take them Stripe keeps the events, and the caller is stopped later."""
    caller = await pay(told, stripe, PAYG)
    await settled(told, stripe)
    (live,) = client.v1.subscriptions.list({"customer": customer_of(caller)}).data
    with monkeypatch.context() as full:
        full.setattr(inbox, "MOST", 0)
        client.v1.subscriptions.cancel(live.id)
        await settled(told, stripe)
    assert stripe.emulator.account.journal.log[-1].status == 503
    await admitted(told, PAYG, caller)
    stripe.advance(5)
    await settled(told, stripe)
    assert (await refused(told, PAYG, caller)).reason == "payment_required"


async def test_usage_that_is_not_counted_is_told(
    told: Engine, stripe: EmulatorServer, client: sdk.StripeClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Stripe answers 200 first and rejects later; the report is logged and kept."""
    caller = await pay(told, stripe, PAYG)
    admission = await admitted(told, PAYG, caller)
    assert told.sales.meter_errors() == []
    for row in client.v1.billing.meters.list({"status": "active"}).data:
        client.v1.billing.meters.deactivate(row.id)
    admission.settle(1)
    assert told.flush()
    stripe.settle()
    stripe.advance(2)
    await settled(told, stripe)
    (error,) = told.sales.meter_errors()
    assert (error.code, error.count, error.meter is not None) == ("archived_meter", 1, True)
    assert "Stripe did not count 1 meter events" in caplog.text


async def test_a_server_that_is_told_reads_less(hooked: Engine, stripe: EmulatorServer) -> None:
    """A snapshot is served for a day instead of an hour, from the first genuine delivery on and not by hope."""
    caller = await pay(hooked, stripe, PAYG)
    assert hooked._accounts.fresh == FRESH
    event = '{"id":"evt_1","object":"event","type":"x"}'
    async with sender(hooked) as http:
        assert (await send(http, event, secret="whsec_forged")).status_code == 400
        assert hooked._accounts.fresh == FRESH
        assert (await send(http, event)).status_code == 200
    assert hooked._accounts.fresh == FRESH_WHEN_TOLD
    account = await hooked.thread.call(lambda _: hooked._accounts.refresh(customer_of(caller)), 5.0)
    await worked_off(hooked)
    left = account.fresh_until - hooked._accounts.monotonic()
    assert FRESH_WHEN_TOLD - 60 < left <= FRESH_WHEN_TOLD


async def test_an_event_about_somebody_unknown_here_costs_no_read(hooked: Engine, stripe: EmulatorServer) -> None:
    """Reads are rationed; who has not called is read when they call."""
    row = {"id": "in_1", "object": "invoice", "customer": "cus_somebody"}
    event = json.dumps({"id": "evt_1", "object": "event", "type": "invoice.paid", "data": {"object": row}})
    async with sender(hooked) as http:
        await send(http, event)
    await worked_off(hooked)
    assert [r.path for r in stripe.emulator.requests] == ["/v1/events"]
