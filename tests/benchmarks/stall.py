"""Whether a slow Stripe, much usage or a tool that blocks the loop hold each other up.

Calls of a metered tool over the SDK's in-memory client, 1 ms apart, in phases of one run one after the other; beside
them a probe sleeps 2 ms at a time and notes how late the loop wakes it. Medians over the runs; a ratio compares with
the idle phase of the same run.

    bare              the tool without the library
    idle              metered, Stripe prompt
    stripe_5s         metered, Stripe answers meter events after 5 s
    keys_300          metered, while another 300 customers a second use something for the first time
    blocked_loop      an async tool keeps the loop busy for 3 s: usage delivered to Stripe during that time
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from mcp import Client

from stripe_meter import StripeMeter
from stripe_meter.enforcement.engine import LOCAL_KEY
from tests.benchmarks import burst, event_sink, harness, seller
from tests.benchmarks.harness import Report
from tests.benchmarks.stripe_process import StripeProcess

SLOW_SECONDS: Final = 5.0
BLOCK_SECONDS: Final = 3.0
KEYS_A_SECOND: Final = 300
_PAUSE: Final = 0.001
_PROBE: Final = 0.002


@dataclass(slots=True)
class Phase:
    """Samples of one phase of one run: microseconds a call, milliseconds of lateness."""

    calls: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Side:
    """A connected client, and the key that its server finds in the environment."""

    client: Client
    key: str


@dataclass(frozen=True, slots=True)
class Bench:
    """The sides, and the engine that takes the many keys."""

    bare: Side
    idle: Side
    slow: Side
    keys: burst.RatedEngine


async def phase(side: Side, calls: int) -> Phase:
    """Paced calls with the probe beside them."""
    os.environ[LOCAL_KEY] = side.key
    await side.client.call_tool(seller.NAME, {"text": "x"})
    seen = Phase()
    probe = asyncio.create_task(_probe(seen.late))
    for _ in range(calls):
        began = harness.clock()
        await side.client.call_tool(seller.NAME, {"text": "x"})
        seen.calls.append((harness.clock() - began) / 1000)
        await asyncio.sleep(_PAUSE)
    probe.cancel()
    return seen


async def _probe(late: list[float]) -> None:
    while True:
        began = time.perf_counter()
        await asyncio.sleep(_PROBE)
        late.append(1000 * (time.perf_counter() - began - _PROBE))


async def one_run(bench: Bench, calls: int) -> dict[str, Phase]:
    """Every phase once."""
    seen = {
        "bare": await phase(bench.bare, calls),
        "idle": await phase(bench.idle, calls),
        "stripe_5s": await phase(bench.slow, calls),
    }
    feeding = asyncio.create_task(_feed(bench.keys))
    seen["keys_300"] = await phase(bench.idle, calls)
    feeding.cancel()
    return seen


async def _feed(engine: burst.RatedEngine) -> None:
    began, fed = time.monotonic(), 0
    while True:
        for number in range(fed, int(KEYS_A_SECOND * (time.monotonic() - began))):
            engine.thread.add(f"cus_{began}_{number}", "mcp.summarize", 1, burst.UNIT_AMOUNT)
            fed = number + 1
        await asyncio.sleep(0.005)


def summed_up(runs: list[dict[str, Phase]]) -> Report:
    """Medians over the runs, ratios to `idle` within each."""
    report: Report = {}
    for name in runs[0]:
        p50 = [harness.percentile(run[name].calls, 0.5) for run in runs]
        p99 = [harness.percentile(run[name].calls, 0.99) for run in runs]
        late = [run[name].late for run in runs]
        report[name] = {
            "p50_us": round(statistics.median(p50), 1),
            "p99_us": round(statistics.median(p99), 1),
            "loop_late_p99_ms": round(statistics.median(harness.percentile(one, 0.99) for one in late), 2),
            "loop_late_max_ms": round(max(max(one) for one in late), 2),
        }
        for share, figures in ((0.5, p50), (0.99, p99)):
            idle = [harness.percentile(run["idle"].calls, share) for run in runs]
            ratio = statistics.median(one / other for one, other in zip(figures, idle, strict=True))
            report[name][f"p{round(100 * share)}_ratio"] = round(ratio, 2)
    return report


async def blocked_loop(billing: StripeMeter) -> Report:
    """Pending usage when the loop stops, and how much of it is at Stripe when the loop goes on."""
    seen: list[Any] = []

    async def block() -> str:
        seen.append(billing.stats())
        time.sleep(BLOCK_SECONDS)  # noqa: ASYNC251  # the mistake that is measured
        seen.append(billing.stats())
        return "done"

    server, _ = seller.metered_server(billing)
    server.add_tool(billing.metered("free")(block))
    async with Client(server) as client:
        for _ in range(100):
            await client.call_tool(seller.NAME, {"text": "x"})
        await client.call_tool("block", {})
    before, after = seen
    return {
        "blocked_seconds": BLOCK_SECONDS,
        "pending_before": before.pending,
        "delivered_meanwhile": after.delivered - before.delivered,
        "pending_after": after.pending,
    }


@contextlib.asynccontextmanager
async def selling(url: str, **settings: Any) -> AsyncIterator[tuple[StripeMeter, str]]:
    """A seller at `url` with a caller who paid; ended by its own handle."""
    billing = seller.billing_at(url, **settings)
    try:
        yield billing, await seller.subscribe(billing)
    finally:
        await asyncio.to_thread(billing.close)


@contextlib.contextmanager
def many_keys() -> Iterator[burst.RatedEngine]:
    """An engine that may send a thousand events a second."""
    with event_sink.running(burst.ANSWER_SECONDS) as url:
        engine = burst.RatedEngine(url, burst.Road("rate_1000", burst.LIVE))
        try:
            yield engine
        finally:
            engine.close()


async def measure(*, quick: bool) -> Report:
    """All phases, then the blocked loop."""
    runs, calls = (3, 300) if quick else (5, 1000)
    # A slow stand-in of its own; the timeout is above its delay, so that its answers do come.
    with StripeProcess() as prompt, StripeProcess() as slow, many_keys() as keys:
        async with selling(prompt.url) as (idle, key), selling(slow.url, timeout=8.0) as (waiting, slow_key):
            slow.slow(SLOW_SECONDS)
            servers = seller.metered_server(idle)[0], seller.metered_server(waiting)[0]
            async with Client(seller.bare_server()) as bare, Client(servers[0]) as first, Client(servers[1]) as second:
                bench = Bench(Side(bare, key), Side(first, key), Side(second, slow_key), keys)
                report = summed_up([await one_run(bench, calls) for _ in range(runs)])
            os.environ[LOCAL_KEY] = key
            report["blocked_loop"] = await blocked_loop(idle)
            slow.prompt()
    return {"stripe_answers_after_seconds": SLOW_SECONDS, "keys_a_second": KEYS_A_SECOND, **report}


def run(chosen: argparse.Namespace) -> Report:
    seller.quiet()
    return asyncio.run(measure(quick=chosen.quick))


if __name__ == "__main__":
    raise SystemExit(harness.main("stall", __doc__, run))
