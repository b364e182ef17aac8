"""Usage on its way to a Stripe that is slow, limiting, failing, lying or gone."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import pytest

from stripe_meter.domain.usage import MeterEvent
from stripe_meter.emulator import EmulatorServer
from stripe_meter.enforcement.engine import Engine
from stripe_meter.enforcement.gate import Admission
from stripe_meter.gateway.gateway import Gateway
from stripe_meter.gateway.meter_events import SingleRoad
from tests.conftest import a_tool, pay
from tests.enforcement.streams import EVENTS, alter_gateway, attempts, many

pytestmark = pytest.mark.anyio


async def calls(engine: Engine, stripe: EmulatorServer, number: int) -> str:
    """`number` paid calls; returns the customer."""
    tool = a_tool()
    caller = await pay(engine, stripe, tool)
    customer = ""
    for _ in range(number):
        admission = engine.admit_warm(tool, caller) or await engine.admit(tool, caller)
        assert isinstance(admission, Admission)
        admission.settle(1)
        customer = str(admission.customer)
    return customer


def on_the_meter(stripe: EmulatorServer) -> int:
    """What Stripe has counted, from its own meter events."""
    stripe.settle()
    sent = {
        record.body["identifier"]: int(record.body["payload"]["value"])
        for record in stripe.emulator.requests
        if record.path == EVENTS and record.status == 200
    }
    return sum(sent.values())


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 429},
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 503},
        {"kind": "lost"},
        {"kind": "garbage"},
    ],
    ids=lambda fault: str(fault.get("status", fault["kind"])),
)
async def test_usage_arrives_once_whatever_stripe_does_first(
    engine: Engine, stripe: EmulatorServer, fault: dict[str, Any]
) -> None:
    """Repeated with the same identifier until Stripe has it: nothing lost, nothing counted twice."""
    stripe.emulator.faults.add(method="POST", path=EVENTS, times=2, **fault)
    await calls(engine, stripe, 7)
    assert engine.flush(20.0)
    assert on_the_meter(stripe) == 7
    stats = engine.stats()
    assert (stats.accepted, stats.delivered, stats.pending, stats.rejected) == (7, 7, 0, 0)
    identifiers = {
        r.body["identifier"] for r in stripe.emulator.requests if r.path == EVENTS and "identifier" in r.body
    }
    assert len(identifiers) == 1


async def test_a_stored_failure_is_repeated_under_a_new_key_with_the_same_identifier(
    engine: Engine, stripe: EmulatorServer
) -> None:
    """Stripe replays a stored 500 under its idempotency key for a day; the identifier keeps it from counting twice."""
    stripe.emulator.faults.add(method="POST", path=EVENTS, times=1, kind="status", status=500, effect=True, stored=True)
    await calls(engine, stripe, 3)
    assert engine.flush(20.0)
    sent = attempts(stripe)
    assert len({record.body["identifier"] for record in sent}) == 1
    assert len({record.idempotency_key for record in sent}) == len(sent) == 2
    assert on_the_meter(stripe) == 3 or sent[-1].status == 400


async def test_an_event_that_stripe_refuses_is_counted_and_logged(
    engine: Engine, stripe: EmulatorServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Every charge ends in exactly one of delivered, pending, rejected."""
    stripe.emulator.faults.add(method="POST", path=EVENTS, times=1, kind="status", status=400)
    with caplog.at_level(logging.ERROR, "stripe_meter"):
        customer = await calls(engine, stripe, 4)
        assert engine.flush(10.0)
    stats = engine.stats()
    assert (stats.accepted, stats.delivered, stats.rejected) == (4, 0, 4)
    assert any(customer in record.getMessage() and "is lost" in record.getMessage() for record in caplog.records)


async def test_a_flush_that_runs_out_of_time_says_so_and_keeps_everything(
    engine: Engine, stripe: EmulatorServer
) -> None:
    """`flush` is a question with a deadline, not a promise."""
    stripe.emulator.faults.add(method="POST", path=EVENTS, times=100, kind="status", status=503, stored=False)
    await calls(engine, stripe, 5)
    assert engine.flush(0.2) is False
    assert engine.stats().pending == 5
    stripe.emulator.faults.clear()
    assert engine.flush(20.0) is True
    assert on_the_meter(stripe) == 5


async def test_closing_logs_exactly_what_stripe_never_took(
    make_engine: Callable[..., Engine], stripe: EmulatorServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The remainder is stated, never guessed."""
    engine = make_engine()
    engine.thread.deadline = 0.3
    stripe.emulator.faults.add(method="POST", path=EVENTS, times=100, kind="status", status=503, stored=False)
    customer = await calls(engine, stripe, 6)
    engine.thread.deadline = 0.3
    with caplog.at_level(logging.ERROR, "stripe_meter"):
        engine.close()
    assert f"6 on mcp.summarize of {customer}" in caplog.text


async def test_a_revoked_key_keeps_usage_waiting(
    make_engine: Callable[..., Engine], stripe: EmulatorServer, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not the event's fault, so the event is not given up."""
    engine = make_engine()
    await calls(engine, stripe, 2)
    stripe.emulator.revoke("sk_test_emulator")
    with caplog.at_level(logging.ERROR, "stripe_meter"):
        assert engine.flush(2.0) is False
    assert engine.stats().pending == 2
    assert "usage is waiting" in caplog.text
    assert "sk_test_emulator" not in caplog.text
    engine.thread.deadline = 0.2


async def test_a_silent_acceptance_of_a_repeated_identifier_counts_once(stripe: EmulatorServer, engine: Engine) -> None:
    """Sources disagree on how Stripe answers a repeated identifier; both ways end in one delivery."""
    stripe.emulator.switches.duplicate_identifier = "silent"
    stripe.emulator.faults.add(method="POST", path=EVENTS, times=1, kind="lost")
    await calls(engine, stripe, 3)
    assert engine.flush(20.0)
    assert engine.stats().delivered == 3
    assert on_the_meter(stripe) == 3


async def test_usage_is_at_stripe_within_a_second(engine: Engine, stripe: EmulatorServer) -> None:
    """The window is shorter than a second; no flush is asked for here."""
    await calls(engine, stripe, 3)
    await engine.thread.call(lambda _: engine.thread._drained(), 5.0)
    assert engine.stats().delivered == 3


async def test_customers_whose_usage_waits_hold_up_nobody_else(engine: Engine, stripe: EmulatorServer) -> None:
    """Many more than may be on the wire at once are put off for a minute; the others' usage goes past them."""
    stripe.emulator.faults.add(path=EVENTS, kind="status", status=503, retry_after=60, times=280)
    await many(engine, stripe, 290)
    async with asyncio.timeout(50):
        while engine.stats().delivered < 10:  # noqa: ASYNC110  # it is counted in a thread
            await asyncio.sleep(0.05)
    assert engine.stats().pending == 280


async def test_a_process_that_ends_does_not_wait_as_long_as_stripe_asks(
    make_engine: Callable[..., Engine], stripe: EmulatorServer
) -> None:
    """It has five seconds, and what it does not send by then is lost."""
    engine = make_engine()
    stripe.emulator.faults.add(path=EVENTS, kind="status", status=429, retry_after=60, times=1)
    await calls(engine, stripe, 3)
    engine.flush(1.0)
    assert engine.stats().pending == 3
    engine.close()
    assert engine.stats().delivered == 3


async def test_a_bug_on_the_way_holds_no_usage(
    engine: Engine, stripe: EmulatorServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever goes wrong while an event is sent, it is logged and the event is repeated."""

    class Stumbling(SingleRoad):
        has_stumbled = False

        async def send(self, events: Sequence[MeterEvent], attempt: int) -> None:
            if not self.has_stumbled:
                self.has_stumbled = True
                raise RuntimeError("nobody thought of this")
            await super().send(events, attempt)

    def stumble(gateway: Gateway) -> None:
        gateway.single = Stumbling(gateway.connection)

    alter_gateway(engine, stumble)
    with caplog.at_level(logging.ERROR, "stripe_meter"):
        await calls(engine, stripe, 3)
        assert engine.flush(20.0)
    assert on_the_meter(stripe) == 3
    assert "RuntimeError" in caplog.text


class Proxy(ThreadingHTTPServer):
    """Answers in a proxy's way first, then as Stripe would."""

    def __init__(self, odd: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.odd = odd
        self.identifiers: list[str] = []


class Answering(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Proxy)
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        seen = self.server.identifiers
        seen.append(form["identifier"][0])
        body = self.server.odd if len(seen) == 1 else b'{"object": "billing.meter_event"}'
        self.send_response(503 if len(seen) == 1 else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on stderr."""


@pytest.fixture
def proxy(request: pytest.FixtureRequest) -> Iterator[Proxy]:
    """Between us and Stripe, with the odd answer that the test names."""
    with Proxy(request.param) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "proxy",
    [b'{"error": "upstream connect error"}', b'{"error": null}', b'{"error": "invalid_grant"}', b'["?"]', b"busy"],
    indirect=True,
)
async def test_no_answer_of_a_proxy_ends_a_delivery(proxy: Proxy, make_engine: Callable[..., Engine]) -> None:
    """The SDK stumbles over errors that are not in Stripe's form; that key's usage would wait for ever."""
    engine = make_engine(emulator=f"http://127.0.0.1:{proxy.server_port}")
    engine.thread.add("cus_1", "mcp.summarize", 3, Decimal(5))
    assert engine.flush(20.0)
    assert engine.stats().delivered == 1
    assert len(proxy.identifiers) == 2
    assert len(set(proxy.identifiers)) == 1
