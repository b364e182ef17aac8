"""Thin events: error reports of meter events, and the destinations that receive them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest
import stripe

from stripe_meter.emulator import EmulatorServer
from tests.emulator.conftest import KEY

if TYPE_CHECKING:
    from tests.emulator.conftest import Shop

REPORT = "v1.billing.meter.error_report_triggered"
NO_METER = "v1.billing.meter.no_meter_found"


@pytest.fixture
def client(server: EmulatorServer) -> Iterator[Any]:
    """The whole SDK client."""
    transport: Any = stripe.RequestsClient(timeout=10)
    base: Any = {"api": server.url, "meter_events": server.url}
    yield stripe.StripeClient(KEY, base_addresses=base, http_client=transport)
    transport.close()


@pytest.fixture
def mailbox() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """A receiver on this machine: its address, and (body, signature) of what it got."""
    got: list[tuple[str, str]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            got.append((body, self.headers["Stripe-Signature"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook", got
    server.shutdown()
    server.server_close()
    thread.join()


def destination(client: Any, url: str, *types: str, **more: Any) -> Any:
    """A webhook destination that shows its secret."""
    params = {
        "name": "hook",
        "type": "webhook_endpoint",
        "event_payload": "thin",
        "enabled_events": list(types) or [REPORT, NO_METER],
        "webhook_endpoint": {"url": url},
        "include": ["webhook_endpoint.signing_secret", "webhook_endpoint.url"],
    }
    return client.v2.core.event_destinations.create({**params, **more})


def test_rejected_events_become_one_report_of_their_meter(shop: Shop, client: Any) -> None:
    """Asynchronous validation ends in v1.billing.meter.error_report_triggered (API reference: thin events)."""
    head = {"idempotency_key": "my-key"}
    payload = {"stripe_customer_id": shop.customer, "value": "many"}
    shop.v1.billing.meter_events.create({"event_name": "calls", "payload": payload}, head)
    shop.use("1", payload={"stripe_customer_id": "cus_none", "value": "1"})
    shop.server.advance(1)
    (event,) = client.v2.core.events.list({"object_id": shop.meter}).data
    assert (event.type, event.related_object.id, event.data.reason.error_count) == (REPORT, shop.meter, 2)
    kinds = {one.code: one for one in event.data.reason.error_types}
    assert set(kinds) == {"meter_event_invalid_value", "meter_event_customer_not_found"}
    sample = kinds["meter_event_invalid_value"].sample_errors[0]
    assert sample.request.identifier == "my-key"
    assert event.data.validation_start <= event.data.validation_end
    assert client.v2.core.events.retrieve(event.id).id == event.id
    assert shop.server.emulator.violations == []


def test_event_without_a_meter_is_no_meter_found(shop: Shop, client: Any) -> None:
    """v1.billing.meter.no_meter_found has no related object (API reference: thin events)."""
    shop.use(event_name="unknown")
    shop.server.advance(1)
    (event,) = client.v2.core.events.list({"types": [NO_METER]}).data
    assert event.data.reason.error_types[0].code == "no_meter"
    assert client.v2.core.events.list({"types": [REPORT]}).data == []


def test_destination_receives_a_thin_signed_notification(shop: Shop, client: Any, mailbox: Any) -> None:
    """The body has no data; the SDK verifies it and fetches event and meter (docs.stripe.com/event-destinations)."""
    url, got = mailbox
    made = destination(client, url)
    shop.use("many")
    shop.server.advance(1)
    shop.server.settle()
    ((body, signature),) = got
    note: Any = client.parse_event_notification(body, signature, made.webhook_endpoint.signing_secret)
    assert '"data"' not in body
    assert (note.type, note.related_object.id) == (REPORT, shop.meter)
    assert note.fetch_event().data.reason.error_count == 1
    assert note.fetch_related_object().event_name == "calls"


def test_snapshot_destination_receives_snapshot_events(shop: Shop, client: Any, mailbox: Any) -> None:
    """A destination with event_payload=snapshot is a webhook endpoint by another name."""
    url, got = mailbox
    made = destination(client, url, "customer.created", event_payload="snapshot")
    shop.v1.customers.create({"email": "x@example.com"})
    shop.server.settle()
    ((body, signature),) = got
    event = client.construct_event(body, signature, made.webhook_endpoint.signing_secret)
    assert event.data.object.email == "x@example.com"


def test_destination_shows_address_and_secret_only_on_request(client: Any) -> None:
    """`include` asks for them (API reference: event destinations)."""
    made = destination(client, "http://127.0.0.1:9/x")
    assert made.webhook_endpoint.url.endswith("/x")
    core = client.v2.core.event_destinations
    assert "webhook_endpoint" not in core.retrieve(made.id)
    assert core.retrieve(made.id, {"include": ["webhook_endpoint.url"]}).webhook_endpoint.url.endswith("/x")


def test_destination_is_changed_switched_and_deleted(shop: Shop, client: Any) -> None:
    """The life of a destination (API reference: event destinations)."""
    core = client.v2.core.event_destinations
    made = destination(client, "http://127.0.0.1:9/x")
    changed = core.update(made.id, {"name": "new", "webhook_endpoint": {"url": "http://127.0.0.1:9/y"}})
    assert changed.name == "new"
    assert core.disable(made.id).status_details.disabled.reason == "user"
    shop.use("many")
    shop.server.advance(1)
    assert not shop.server.emulator.account.journal.log
    assert core.enable(made.id).status == "enabled"
    core.delete(made.id)
    assert core.list().data == []


def test_lists_of_v2_follow_next_page_url(client: Any) -> None:
    """API v2 pages by address, not by cursor (API v2 overview)."""
    for _ in range(5):
        destination(client, "http://127.0.0.1:9/x")
    page = client.v2.core.event_destinations.list({"limit": 2})
    assert len(page.data) == 2
    assert len(list(page.auto_paging_iter())) == 5
    with pytest.raises(stripe.InvalidRequestError):
        client.raw_request("get", "/v2/core/events?page=x")


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "amazon_eventbridge"},
        {"webhook_endpoint": {"url": "http://example.com/hook"}},
        {"enabled_events": []},
        {"event_payload": "thick"},
    ],
)
def test_destination_that_makes_no_sense_is_refused(client: Any, wrong: dict[str, Any]) -> None:
    """Only webhooks on this machine are emulated."""
    with pytest.raises(stripe.InvalidRequestError):
        destination(client, "http://127.0.0.1:9/x", **wrong)


def test_destination_needs_an_address(client: Any) -> None:
    """A webhook without an address is nothing."""
    params = {"name": "x", "type": "webhook_endpoint", "event_payload": "thin", "enabled_events": [REPORT]}
    with pytest.raises(stripe.InvalidRequestError):
        client.v2.core.event_destinations.create(params)


def test_enums_of_api_v2_are_closed_in_requests(client: Any) -> None:
    """The SDK leaves enums open for readers of answers; a request with an unknown value is a 400 (OpenAPI, `enum`)."""
    with pytest.raises(stripe.InvalidRequestError) as caught:
        destination(client, "http://127.0.0.1:9/x", type="carrier_pigeon")
    assert "Invalid value for type" in str(caught.value)
    made = destination(client, "http://127.0.0.1:9/x")
    with pytest.raises(stripe.InvalidRequestError):
        client.v2.core.event_destinations.update(made.id, {"include": ["webhook_endpoint.colour"]})
