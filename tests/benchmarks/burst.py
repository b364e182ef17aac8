"""30,000 calls as fast as a loop can make them: how soon Stripe has all of them, in how many requests.

Stripe is a sink that answers after 50 ms and counts. Each call is handed to the flusher as the gate does when it
settles one (what comes before that is `warm_path`'s). The flusher is as it is, only its road is set from here: 25/s as
in a sandbox, 1,000/s as for live meter events, and the v2 stream, which a process takes by itself in live mode alone.
Per scenario:

    calls, delivered      must be equal; `delivered` is the sum over events, each identifier counted once
    requests              with usage in them; `sessions` are the stream's own
    repeated              identifiers that came twice (Stripe would recognise them)
    seconds_calling       for the calls themselves, with the flusher at work beside them
    seconds_to_drain      from the last call until nothing is pending
    most_at_once          requests in flight together
    cpu_ms_per_event      processor time of this process for each event, calls included

Many customers at 25/s take two minutes by arithmetic, so the quick form leaves them out.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from stripe_meter.enforcement.engine import Engine
from stripe_meter.settings import Settings
from tests.benchmarks import event_sink, harness, seller
from tests.benchmarks.harness import Report

if TYPE_CHECKING:
    from stripe_meter.enforcement.flusher.thread import StripeThread
    from stripe_meter.gateway.gateway import Gateway

CALLS: Final = 30_000
CUSTOMERS: Final = 3_000
UNIT_AMOUNT: Final = Decimal(5)
ANSWER_SECONDS: Final = 0.05
SANDBOX: Final = 25.0
LIVE: Final = 1000.0


@dataclass(frozen=True, slots=True)
class Road:
    """How usage may travel: requests a second, and whether by the stream."""

    name: str
    rate: float
    is_stream: bool = False


ROADS: Final = (Road("rate_25", SANDBOX), Road("rate_1000", LIVE), Road("stream", LIVE, is_stream=True))


class RatedEngine(Engine):
    """An engine whose gateway sends meter events by one road."""

    def __init__(self, url: str, road: Road) -> None:
        super().__init__(settings=Settings(emulator=url, public_url=seller.PAGES, **seller.NO_BOUNDS))
        self._road = road

    def _open(self, thread: StripeThread) -> Gateway:
        from stripe_meter.gateway.limiter import RateLimiter
        from stripe_meter.gateway.meter_events import StreamRoad

        gateway = super()._open(thread)
        gateway.connection.event_limiter = RateLimiter(self._road.rate)
        gateway.stream = StreamRoad(gateway.connection) if self._road.is_stream else None
        return gateway


def burst(road: Road, customers: int) -> Report:
    """One scenario with a sink and an engine of its own."""
    with event_sink.running(ANSWER_SECONDS) as url:
        engine = RatedEngine(url, road)
        try:
            engine.thread.call_blocking(_nothing, 30.0)
            who, add = [f"cus_{number}" for number in range(customers)], engine.thread.add
            began, cpu = time.monotonic(), time.process_time()
            for number in range(CALLS):
                add(who[number % customers], "mcp.summarize", 1, UNIT_AMOUNT)
            called = time.monotonic()
            engine.flush(2 * customers / road.rate + 30.0)
            drained, cpu = time.monotonic(), time.process_time() - cpu
            tally = event_sink.tally_of(url)
        finally:
            engine.close()
    return {
        "calls": CALLS,
        "delivered": tally["delivered"],
        "undelivered": CALLS - tally["delivered"],
        "requests": tally["requests"],
        "seconds_to_drain": round(drained - called, 3),
        "seconds_calling": round(called - began, 3),
        "repeated": tally["repeated"],
        "most_at_once": tally["most_at_once"],
        "sessions": tally["sessions"],
        "cpu_ms_per_event": round(1000 * cpu / max(1, tally["events"]), 3),
    }


async def _nothing(gateway: Gateway) -> None:
    """The import of the SDK is no part of a burst in a running server."""


def measure(*, quick: bool) -> Report:
    """Every road, for one customer and for many."""
    report: Report = {"stripe_answers_after_seconds": ANSWER_SECONDS, "one_customer": {}, "many_customers": {}}
    for road in ROADS:
        for name, customers in (("one_customer", 1), ("many_customers", CUSTOMERS)):
            if quick and road.rate == SANDBOX and customers > 1:
                continue
            report[name][road.name] = burst(road, customers)
            harness.tell(f"{name} {road.name}: {report[name][road.name]}")
    return report


def run(chosen: argparse.Namespace) -> Report:
    return measure(quick=chosen.quick)


if __name__ == "__main__":
    raise SystemExit(harness.main("burst", __doc__, run))
