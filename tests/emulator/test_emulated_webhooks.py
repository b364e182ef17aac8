"""Webhook endpoints, signed delivery, and the list of events."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest
import stripe

if TYPE_CHECKING:
    from stripe_meter.emulator import Emulator, EmulatorServer


class Receiver:
    """An HTTP server that keeps what it gets and answers with a chosen status."""

    def __init__(self) -> None:
        self.got: list[tuple[str, bytes]] = []
        self.status = 200
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((self.headers["Stripe-Signature"], body))
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                return None

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook?x=1"

    def types(self) -> list[str]:
        """Types of the events received."""
        return sorted(json.loads(body)["type"] for _, body in self.got)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A webhook receiver on loopback."""
    made = Receiver()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def test_secret_is_answered_on_creation_only(v1: Any, receiver: Receiver) -> None:
    """The signing secret is shown once (docs.stripe.com/api/webhook_endpoints/object)."""
    made = v1.webhook_endpoints.create({"url": receiver.url, "enabled_events": ["*"]})
    assert made.secret.startswith("whsec_")
    assert "secret" not in v1.webhook_endpoints.retrieve(made.id)
    assert "secret" not in v1.webhook_endpoints.list().data[0]


def test_delivery_carries_a_signature_the_sdk_accepts(v1: Any, server: EmulatorServer, receiver: Receiver) -> None:
    """Payloads are signed with t and v1 over the raw body (docs.stripe.com/webhooks#verify-manually)."""
    secret = v1.webhook_endpoints.create({"url": receiver.url, "enabled_events": ["customer.created"]}).secret
    made = v1.customers.create({"email": "a@b.c"})
    v1.products.create({"name": "not wanted"})
    server.settle()
    ((header, body),) = receiver.got
    event = stripe.Webhook.construct_event(body, header, secret)
    assert (event.type, event.data.object.id) == ("customer.created", made.id)
    assert v1.events.retrieve(event.id).pending_webhooks == 0


def test_failed_delivery_is_retried_a_bounded_number_of_times(
    v1: Any, emulator: Emulator, server: EmulatorServer, receiver: Receiver
) -> None:
    """A receiver that answers with an error gets the event again, three times (docs.stripe.com/webhooks)."""
    receiver.status = 500
    v1.webhook_endpoints.create({"url": receiver.url, "enabled_events": ["*"]})
    v1.customers.create({})
    for seconds in (0, 5, 60, 600, 6000):
        server.advance(seconds)
        server.settle()
    assert len(receiver.got) == 4
    assert len({body for _, body in receiver.got}) == 1
    assert [delivery.attempt for delivery in emulator.account.journal.log] == [1, 2, 3, 4]


def test_unreachable_receiver_is_noted(v1: Any, emulator: Emulator, server: EmulatorServer) -> None:
    """A connection error counts as a failed attempt."""
    v1.webhook_endpoints.create({"url": "http://127.0.0.1:9/hook", "enabled_events": ["*"]})
    v1.customers.create({})
    server.settle()
    assert emulator.account.journal.log[0].error == "ConnectionRefusedError"


def test_endpoint_over_https_is_spoken_to_with_tls(
    v1: Any, emulator: Emulator, server: EmulatorServer, receiver: Receiver
) -> None:
    """An https address is not silently downgraded."""
    v1.webhook_endpoints.create({"url": receiver.url.replace("http:", "https:"), "enabled_events": ["*"]})
    v1.customers.create({})
    server.settle()
    assert emulator.account.journal.log[0].error is not None
    assert receiver.got == []


def test_disabled_or_deleted_endpoint_gets_nothing(v1: Any, server: EmulatorServer, receiver: Receiver) -> None:
    """A disabled endpoint receives no events (docs.stripe.com/api/webhook_endpoints/update)."""
    endpoints = v1.webhook_endpoints
    made = endpoints.create({"url": receiver.url, "enabled_events": ["*"]})
    changed = endpoints.update(made.id, {"disabled": True, "description": "d", "metadata": {"a": "b"}})
    assert (changed.status, changed.description) == ("disabled", "d")
    v1.customers.create({})
    endpoints.update(made.id, {"disabled": False, "enabled_events": ["product.created"], "url": receiver.url})
    v1.products.create({"name": "x"})
    server.settle()
    assert receiver.types() == ["product.created"]
    assert endpoints.delete(made.id).deleted
    v1.products.create({"name": "y"})
    server.settle()
    assert len(receiver.got) == 1


def test_delivery_to_an_endpoint_deleted_meanwhile_is_dropped(
    v1: Any, emulator: Emulator, server: EmulatorServer, receiver: Receiver
) -> None:
    """A retry whose endpoint is gone ends quietly."""
    receiver.status = 500
    made = v1.webhook_endpoints.create({"url": receiver.url, "enabled_events": ["*"]})
    v1.customers.create({})
    server.settle()
    v1.webhook_endpoints.delete(made.id)
    server.advance(5)
    server.settle()
    assert len(receiver.got) == 1


@pytest.mark.parametrize(
    "url", ["https://example.com/hook", "ftp://127.0.0.1/", "http:///nohost", "nonsense", "http://127.0.0.1:x/"]
)
def test_only_loopback_addresses_are_accepted(v1: Any, url: str) -> None:
    """A stand-in for Stripe sends nothing off this machine (emulator design)."""
    with pytest.raises(stripe.InvalidRequestError):
        v1.webhook_endpoints.create({"url": url, "enabled_events": ["*"]})


def test_other_addresses_are_accepted_by_switch(v1: Any, emulator: Emulator) -> None:
    """The refusal of foreign addresses can be turned off; localhost is always fine."""
    emulator.switches.remote_webhooks = True
    url = "https://example.com/hook"
    assert v1.webhook_endpoints.create({"url": url, "enabled_events": ["invoice.paid"]}).url == url
    emulator.switches.remote_webhooks = False
    assert v1.webhook_endpoints.create({"url": "http://localhost:9/", "enabled_events": ["invoice.paid"]}).id


def test_events_are_listed_by_type(v1: Any, emulator: Emulator) -> None:
    """`type`, `types[]` and wildcards; thirty days back (docs.stripe.com/api/events/list)."""
    v1.products.create({"name": "x"})
    v1.customers.create({})

    def found(**params: Any) -> list[str]:
        return [event.type for event in v1.events.list(params).data]

    assert found() == ["customer.created", "product.created"]
    assert found(type="product.*") == found(types=["product.created", "price.created"]) == ["product.created"]
    with pytest.raises(stripe.InvalidRequestError):
        found(type="a", types=["b"])
    emulator.clock.advance(31 * 86_400)
    assert found() == []


def test_event_names_the_request_that_caused_it(v1: Any) -> None:
    """Events carry request id and idempotency key; background ones carry none (docs.stripe.com/api/events/object)."""
    made = v1.customers.create({"name": "A"}, {"idempotency_key": "k1"})
    event = v1.events.list().data[0]
    assert (event.request.idempotency_key, event.data.object.id) == ("k1", made.id)
    v1.customers.update(made.id, {"name": "B"})
    assert v1.events.retrieve(event.id).data.object.name == "A"
