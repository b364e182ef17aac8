"""Faults below HTTP, faults by seed, and webhooks that come twice and in any order."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import pytest
import stripe

from stripe_meter.emulator import Emulator, EmulatorServer
from stripe_meter.emulator.events import Delivery
from stripe_meter.emulator.wire import BEHAVIOURS, Behaviour, FaultyWire, plan_from
from tests.emulator.conftest import KEY

HEAD = {"Authorization": f"Bearer {KEY}", "Idempotency-Key": "k"}


def post(wire: FaultyWire, timeout: float = 5) -> httpx.Response:
    """Make a customer through the wire, on a connection of its own."""
    return httpx.post(f"{wire.url}/v1/customers", headers=HEAD, data={"name": "A"}, timeout=timeout)


def made(emulator: Emulator) -> int:
    """How many customers there are."""
    return len(list(emulator.account.store.all("customer")))


def test_good_wire_changes_nothing(server: EmulatorServer, emulator: Emulator) -> None:
    """After its plan the wire carries everything."""
    with FaultyWire(server.url) as wire:
        assert post(wire).json()["name"] == "A"
        assert httpx.get(f"{wire.url}/v1/customers", headers=HEAD).json()["object"] == "list"
    assert wire.taken == ["ok", "ok"]
    assert made(emulator) == 1


@pytest.mark.parametrize(("behaviour", "effects"), [("rst_before", 0), ("rst_after", 1), ("half", 1)])
def test_broken_connection_may_or_may_not_have_taken_effect(
    server: EmulatorServer, emulator: Emulator, behaviour: Behaviour, effects: int
) -> None:
    """A reset tells nothing about the effect; the key makes the retry safe."""
    with FaultyWire(server.url, [behaviour]) as wire:
        with pytest.raises(httpx.TransportError):
            post(wire)
        assert made(emulator) == effects
        replayed = post(wire).headers.get("Idempotent-Replayed")
    assert (replayed == "true") is bool(effects)
    assert made(emulator) == 1


def test_silent_connection_ends_with_the_clients_patience(server: EmulatorServer, emulator: Emulator) -> None:
    """A request that hangs reaches nobody."""
    with FaultyWire(server.url, ["hang"]) as wire:
        with pytest.raises(httpx.ReadTimeout):
            post(wire, timeout=0.2)
        assert made(emulator) == 0


def test_silence_ends_with_the_wire(server: EmulatorServer) -> None:
    """Closing the wire lets go of whoever still waits."""
    failed: list[Exception] = []

    def wait() -> None:
        try:
            post(wire, timeout=20)
        except httpx.TransportError as error:
            failed.append(error)

    with FaultyWire(server.url, ["hang"]) as wire:
        waiting = threading.Thread(target=wait)
        waiting.start()
        while not wire.taken:
            threading.Event().wait(0.01)
    waiting.join()
    assert len(failed) == 1


def test_sdk_gets_through_a_faulty_wire(server: EmulatorServer, emulator: Emulator) -> None:
    """The SDK retries broken connections under the same key, so the effect happens once."""
    with FaultyWire(server.url, ["rst_after", "rst_before"]) as wire:
        transport: Any = stripe.RequestsClient(timeout=5)
        options: dict[str, Any] = {"base_addresses": {"api": wire.url}, "http_client": transport}
        client = stripe.StripeClient(KEY, max_network_retries=2, **options)
        assert client.v1.customers.create({"name": "A"}).name == "A"
        transport.close()
    assert wire.taken == ["rst_after", "rst_before", "ok"]
    assert made(emulator) == 1


def test_sdk_with_requests_gives_up_on_half_an_answer(server: EmulatorServer, emulator: Emulator) -> None:
    """Its requests transport does not retry a truncated body, although the effect has happened (SDK 16.1, run)."""
    with FaultyWire(server.url, ["half"]) as wire:
        transport: Any = stripe.RequestsClient(timeout=5)
        options: dict[str, Any] = {"base_addresses": {"api": wire.url}, "http_client": transport}
        client = stripe.StripeClient(KEY, max_network_retries=2, **options)
        with pytest.raises(stripe.APIConnectionError):
            client.v1.customers.create({"name": "A"})
        transport.close()
    assert (wire.taken, made(emulator)) == (["half"], 1)


def test_closed_target_closes_the_client(server: EmulatorServer) -> None:
    """Nobody behind the wire is a broken connection, and so is a client that says nothing."""
    with FaultyWire("http://127.0.0.1:9", []) as wire, pytest.raises(httpx.TransportError):
        post(wire)


def test_plan_of_a_seed_repeats() -> None:
    """A failing seed can be had again."""
    assert plan_from(7, 50) == plan_from(7, 50)
    assert plan_from(7, 50) != plan_from(8, 50)
    assert set(plan_from(1, 500)) == set(BEHAVIOURS)
    assert set(plan_from(1, 50, faulty=0.0)) == {"ok"}


def outcomes(seed: int) -> list[int | str]:
    """What twenty requests meet under the plan of a seed."""
    emulator = Emulator(lag=0)
    emulator.faults.plan_from(seed, 20, faulty=0.5)
    found: list[int | str] = []
    headers = {"Authorization": HEAD["Authorization"]}
    with EmulatorServer(emulator) as server, httpx.Client(base_url=server.url, headers=headers) as client:
        for _ in range(20):
            try:
                answer = client.get("/v1/customers")
            except httpx.TransportError:
                found.append("broken")
            else:
                found.append(answer.status_code if answer.headers["content-type"] == "application/json" else "garbage")
    return found


def test_faults_of_a_seed_repeat_over_http() -> None:
    """The same seed gives the same outcomes, request by request."""
    first = outcomes(3)
    assert outcomes(3) == first
    assert outcomes(4) != first
    assert 200 in first
    assert len(set(first)) > 2


def test_planned_faults_hit_the_planned_requests() -> None:
    """Good and bad requests alternate exactly as the dice fell."""
    emulator = Emulator()
    planned = emulator.faults.plan_from(5, 30, faulty=0.4)
    hits = [emulator.faults.take("GET", "/v1/customers") is not None for _ in range(30)]
    assert sum(hits) == len(planned) > 5
    assert emulator.faults.take("GET", "/v1/customers") is None
    assert not all(hits[: len(planned)])


class Inbox:
    """A webhook receiver that keeps the names of the customers it is told about."""

    def __init__(self) -> None:
        self.names: list[str] = []
        inbox = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                inbox.names.append(body["data"]["object"]["name"])
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    """A running receiver."""
    box = Inbox()
    thread = threading.Thread(target=box.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield box
    box.server.shutdown()
    thread.join()
    box.server.server_close()


def test_webhooks_can_come_twice(v1: Any, emulator: Emulator, server: EmulatorServer, inbox: Inbox) -> None:
    """Stripe may deliver an event more than once (docs.stripe.com/webhooks)."""
    emulator.switches.webhook_duplicates = 1
    url = f"http://127.0.0.1:{inbox.server.server_address[1]}/"
    v1.webhook_endpoints.create({"url": url, "enabled_events": ["customer.created"]})
    v1.customers.create({"name": "A"})
    server.settle()
    assert inbox.names == ["A", "A"]


@pytest.mark.parametrize("order", ["reversed", "shuffled"])
def test_webhooks_come_in_no_promised_order(emulator: Emulator, order: Any) -> None:
    """Delivery order is a switch; the shuffled one repeats with its seed (docs.stripe.com/webhooks)."""

    def taken() -> list[str]:
        emulator = Emulator()
        emulator.switches.webhook_order, emulator.switches.webhook_seed = order, 5
        waiting = emulator.account.journal.waiting
        for number in range(6):
            waiting.append(_delivery(str(number)))
        return [emulator.courier.next().event for _ in range(6)]

    assert taken() == taken()
    assert taken() != sorted(taken())
    assert sorted(taken()) == list("012345")


def _delivery(event: str) -> Any:
    return Delivery(event, "customer.created", "we_1", "http://127.0.0.1:9/")
