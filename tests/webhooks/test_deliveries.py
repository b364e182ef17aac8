"""What may come in at the webhook address, and what is answered."""

from __future__ import annotations

import gzip
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
import stripe as sdk

from stripe_meter.emulator import EmulatorServer
from stripe_meter.emulator.webhooks import signature
from stripe_meter.enforcement.engine import Engine
from stripe_meter.enforcement.webhooks import inbox
from stripe_meter.errors import ConfigurationError
from stripe_meter.settings import Settings
from stripe_meter.web.webhook import LARGEST
from tests.webhooks.conftest import SECRET, body_of, events, send, sender, until, worked_off

pytestmark = pytest.mark.anyio

Make = Callable[..., Engine]


def an_event(**more: Any) -> str:
    """About a customer whom nobody here knows, so nothing follows from it."""
    row = {"id": "cus_1", "object": "customer"}
    event = {"id": "evt_1", "object": "event", "type": "customer.updated", "data": {"object": row}}
    return json.dumps({**event, **more})


async def refused(engine: Engine, body: bytes, signed: str | None, status: int = 400) -> str:
    """The answer to a delivery that must change nothing: one sentence that repeats nothing."""
    headers = {} if signed is None else {"Stripe-Signature": signed}
    async with sender(engine) as http:
        answer = await http.post("/billing/webhook", content=body, headers=headers)
    assert answer.status_code == status
    assert engine.sales.webhooks.stats == inbox.InboxStats(0, 0, 0)
    assert set(answer.json()) == {"error"}
    assert answer.headers["cache-control"] == "no-store"
    assert SECRET not in answer.text
    assert "evt_" not in answer.text
    return str(answer.json()["error"])


def now() -> int:
    return int(time.time())


async def test_a_genuine_delivery_is_taken_at_once(hooked: Engine, stripe: EmulatorServer) -> None:
    """Stripe waits for the answer, so the work comes after it."""
    stripe.emulator.faults.add(kind="slow", seconds=2.0, path="/v1/refunds")
    refund = an_event(type="refund.created", data={"object": {"id": "re_1", "object": "refund"}})
    async with sender(hooked) as http:
        answer = await send(http, refund)
        assert (answer.status_code, answer.json()) == (200, {"received": True})
        assert hooked.sales.webhooks.stats.waiting > 0


@pytest.mark.parametrize(
    "forged",
    [
        "",
        "t=,v1=",
        "v1=abc",
        f"t={'9' * 400},v1=00",
        "t=1,v0=abc",
        "nonsense",
        "t=1=2,v1=\u00e9",
        "v1=" + "0" * 1900,
        "v1=" + "0" * 5000,
    ],
)
async def test_a_signature_that_is_none_is_refused(hooked: Engine, forged: str) -> None:
    """Whatever stands in the header."""
    headers = {b"Stripe-Signature": forged.encode("latin-1")}
    async with sender(hooked) as http:
        answer = await http.post("/billing/webhook", content=an_event().encode(), headers=headers)
    assert answer.status_code == 400
    assert hooked.sales.webhooks.stats.received == 0


async def test_a_forged_delivery_is_refused(hooked: Engine, stripe: EmulatorServer) -> None:
    """Anybody can send here; only Stripe knows the secret, and Stripe is not even asked."""
    body = an_event()
    before = len(stripe.emulator.requests)
    said = await refused(hooked, body.encode(), signature(body, "whsec_anotherSecret", now()))
    assert said == await refused(hooked, body.encode(), f"t={now()},v1={'0' * 64}")
    assert await refused(hooked, body.encode(), None) == "A Stripe-Signature header is needed."
    assert len(stripe.emulator.requests) == before


async def test_a_body_that_was_changed_or_cut_is_refused(hooked: Engine) -> None:
    """The signature is over every byte."""
    body = an_event()
    signed = signature(body, SECRET, now())
    raw = body.encode()
    for changed in (raw[:-1], raw + b" ", raw.replace(b"cus_1", b"cus_2"), b"", b"\xff\xfe", gzip.compress(raw)):
        assert "does not fit" in await refused(hooked, changed, signed)


@pytest.mark.parametrize("kind", ["customer.updated", "payment_intent.succeeded", "refund.created", "of.tomorrow"])
@pytest.mark.parametrize("data", [None, [1], "x", 5, {}, {"object": None}, {"object": []}, {"object": {"id": None}}])
async def test_an_event_about_nothing_is_taken_and_nothing_follows(hooked: Engine, kind: str, data: object) -> None:
    """Stripe grows new kinds and shapes; one that we do not know must neither fail nor come again."""
    odd = {"id": ["re_1"], "customer": {"id": "cus_1"}, "metadata": ["stripe_meter"]}
    async with sender(hooked) as http:
        for number, shape in enumerate((data, {"object": odd})):
            answer = await send(http, an_event(id=f"evt_{number}", type=kind, data=shape))
            assert (answer.status_code, answer.json()) == (200, {"received": True})
    await worked_off(hooked)
    assert hooked.sales.webhooks.stats == inbox.InboxStats(2, 0, 0)


async def test_an_old_delivery_is_refused(hooked: Engine) -> None:
    """A recorded delivery is worth nothing after five minutes; one that took four is fine."""
    body = an_event()
    assert "older than 300 seconds" in await refused(hooked, body.encode(), signature(body, SECRET, now() - 330))
    moved = signature(body, SECRET, now() - 330).replace(f"t={now() - 330}", f"t={now()}")
    assert "does not fit" in await refused(hooked, body.encode(), moved)
    async with sender(hooked) as http:
        assert (await send(http, body, at=time.time() - 240)).status_code == 200


async def test_a_replayed_delivery_is_taken_and_does_nothing(
    hooked: Engine, stripe: EmulatorServer, client: sdk.StripeClient
) -> None:
    """Stripe repeats itself too, so it is no error; but a read is not spent on it."""
    card = client.v1.payment_methods.attach("pm_card_visa", {"customer": client.v1.customers.create({}).id})
    paid: Any = {"amount": 900, "currency": "usd", "payment_method": card.id, "customer": card.customer}
    paid["confirm"] = True
    intent = client.v1.payment_intents.create(paid)
    client.v1.refunds.create({"payment_intent": intent.id})
    (refund,) = events(stripe, "refund.created")
    async with sender(hooked) as http:
        await send(http, body_of(refund))
        await worked_off(hooked)
        before = len(stripe.emulator.requests)
        for _ in range(5):
            assert (await send(http, body_of(refund))).status_code == 200
        await worked_off(hooked)
    assert len(stripe.emulator.requests) == before
    assert hooked.sales.webhooks.stats.received == 6


async def test_an_oversized_body_is_refused_before_it_is_read(hooked: Engine) -> None:
    """Ten megabytes from anybody must cost nothing, whether their size is said or not."""
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while read < 10_000_000:
            read += 65536
            yield b"x" * 65536

    assert "at most" in await refused(hooked, b"x" * (LARGEST + 1), signature("x", SECRET, now()), 413)
    async with sender(hooked) as http:
        answer = await http.post("/billing/webhook", content=endless(), headers={"Stripe-Signature": "t=1,v1=0"})
    assert answer.status_code == 413
    assert read <= LARGEST + 2 * 65536


@pytest.mark.parametrize(
    "body",
    [
        "[]",
        "null",
        '"event"',
        "{}",
        '{"id":"evt_1","object":"event"}',
        '{"id":"../v1","object":"event","type":"refund.created"}',
        '{"id":1,"object":"event","type":"refund.created"}',
        '{"id":"evt_1","object":"charge","type":"refund.created"}',
        '{"id":"evt_1","object":[],"type":"refund.created"}',
        '{"id":"evt_1","object":"event","type":{}}',
        "{",
        "",
        pytest.param("[" * 100_000 + "]" * 100_000, id="deep list"),
        pytest.param('{"a":' * 60_000 + "1" + "}" * 60_000, id="deep object"),
        pytest.param('{"id":"evt_1","object":"event","x":' + "[" * 5000 + "]" * 5000 + "}", id="deep field"),
        pytest.param('{"id":' + "9" * 6000 + "}", id="long number"),
    ],
)
async def test_what_is_signed_and_no_event_is_refused(hooked: Engine, body: str) -> None:
    """A secret that was used for something else must not be a way to crash the server."""
    async with sender(hooked) as http:
        answer = await send(http, body)
    assert (answer.status_code, answer.json()) == (400, {"error": "The body is no event."})


@pytest.mark.parametrize("row", [None, [], {"id": ["x"]}, {"id": "re_1/../../x"}, {"id": "\u0000"}, {"customer": 7}])
async def test_an_odd_object_in_an_event_does_no_harm(hooked: Engine, stripe: EmulatorServer, row: Any) -> None:
    """Only ids of the form of ids are ever asked for."""
    async with sender(hooked) as http:
        answer = await send(http, an_event(type="refund.created", data={"object": row}))
    assert answer.status_code == 200
    await worked_off(hooked)
    assert not [r for r in stripe.emulator.requests if r.path.startswith("/v1/refunds")]


async def test_events_that_are_not_in_the_table_are_ignored(hooked: Engine, stripe: EmulatorServer) -> None:
    """An endpoint may send more than was asked for."""
    async with sender(hooked) as http:
        assert (await send(http, an_event(type="price.created"))).status_code == 200
        assert (await send(http, an_event(type="something.new", object="v2.core.event"))).status_code == 200
    await worked_off(hooked)
    assert hooked.sales.webhooks.stats == inbox.InboxStats(2, 0, 0)


async def test_while_a_secret_is_rotated_both_are_good(make_hooked: Make) -> None:
    """So that no event is lost between the change in the Dashboard and the restart of the last server."""
    engine = make_hooked(stripe_webhook_secret=f" whsec_newSecret , {SECRET},")
    async with sender(engine) as http:
        for secret in ("whsec_newSecret", SECRET):
            assert (await send(http, an_event(id=f"evt_{secret}"), secret=secret)).status_code == 200
        assert (await send(http, an_event(), secret="whsec_thirdSecret")).status_code == 400
    assert engine.sales.webhooks.stats.received == 2


async def test_without_a_secret_there_is_no_such_address(make_engine: Make) -> None:
    """What cannot be verified is not read."""
    engine = make_engine()
    async with sender(engine) as http:
        answer = await send(http, an_event())
    assert (answer.status_code, answer.json()) == (404, {"error": "This server takes no webhooks."})


async def test_only_post_is_allowed(hooked: Engine) -> None:
    """Nothing is shown there."""
    async with sender(hooked) as http:
        assert (await http.get("/billing/webhook")).status_code == 405


def test_a_secret_that_is_none_is_named_without_being_shown() -> None:
    """The author reads at the start what is wrong, not in the log of the first delivery."""
    with pytest.raises(ConfigurationError, match="stripe-meter webhook create") as caught:
        Settings(stripe_webhook_secret="sk_test_pastedByMistake")
    assert "STRIPE_WEBHOOK_SECRET has not the form" in str(caught.value)
    assert "pastedByMistake" not in str(caught.value)
    assert SECRET not in repr(Settings(stripe_webhook_secret=SECRET))


async def test_a_full_inbox_says_come_again(
    hooked: Engine, stripe: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded; Stripe keeps for three days what is answered with anything but a 2xx."""
    monkeypatch.setattr(inbox, "MOST", 3)
    stripe.emulator.faults.add(kind="slow", seconds=1.0, path="/v1/refunds", times=9)

    def refund(number: int) -> str:
        row = {"id": f"re_{number}", "object": "refund"}
        return an_event(id=f"evt_{number}", type="refund.created", data={"object": row})

    async with sender(hooked) as http:
        codes = [(await send(http, refund(number))).status_code for number in range(5)]
        assert codes == [200, 200, 200, 503, 503]
        full = await send(http, refund(4))
        assert (full.headers["retry-after"], full.json()) == ("10", {"error": "Too many events wait already."})
        await worked_off(hooked)
        assert (await send(http, refund(4))).status_code == 200


async def test_what_stripe_cannot_answer_now_is_tried_again(
    hooked: Engine, stripe: EmulatorServer, client: sdk.StripeClient, caplog: pytest.LogCaptureFixture
) -> None:
    """An event is acknowledged already, so nobody else repeats it; one that is for nobody ends with a sentence."""
    stripe.emulator.faults.add(kind="status", status=503, path="/v1/refunds", times=4)
    with caplog.at_level(logging.ERROR):
        async with sender(hooked) as http:
            event = an_event(
                id="evt_lost", type="refund.created", data={"object": {"id": "re_none", "object": "refund"}}
            )
            assert (await send(http, event)).status_code == 200
            await until(lambda: hooked.sales.webhooks.stats.failed == 1)
    assert "stripe events resend evt_lost" in caplog.text
    assert sum(r.path == "/v1/refunds/re_none" for r in stripe.emulator.requests) >= 5


async def test_a_truncated_upload_changes_nothing(hooked: Engine) -> None:
    """The connection breaks before the body is whole."""

    async def broken() -> AsyncIterator[bytes]:
        yield an_event().encode()[:20]
        raise httpx.ReadError("gone")

    async with sender(hooked) as http:
        with pytest.raises(httpx.ReadError):
            await http.post(
                "/billing/webhook",
                content=broken(),
                headers={"Stripe-Signature": signature(an_event(), SECRET, now()), "Content-Length": "100"},
            )
    assert hooked.sales.webhooks.stats.received == 0
