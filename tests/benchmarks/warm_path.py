"""What `@metered` adds to a warm call: microseconds at four depths of the stack, and where they go.

The tool returns its argument, so a figure is what is around it. Every depth times the metered call in turns with the
bare one in the same run (`harness`); the flusher sends meanwhile, to a stand-in for Stripe in another process.

    direct        the decorated function with the framework's own Context of an HTTP request that shows `x-api-key`,
                  captured from a real request; `direct_env` the same with the key in the server's environment
    call_tool     `MCPServer.call_tool` with that context: plus validation and conversion by the SDK
    in_memory     the SDK's client on an in-memory transport, protocol 2026-07-28; billing attached, receipts in `_meta`
    http          the same over streamable HTTP on loopback, one client, server in a process of its own
    enqueue       handing one call's usage to the flusher, net of reading the clock
    breakdown     nanoseconds of each step of `direct`, each timed alone in loops; `wrapper_rest` is what remains of
                  `added`, and `receipt_meta` is what the attached server does for the answer's `_meta`

`stripe_requests_on_warm_path` counts requests at the stand-in over 10,000 warm calls, but for the flusher's own meter
events, which `meter_events` counts.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any, Final

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.mcpserver import Context, MCPServer

from stripe_meter import StripeMeter
from stripe_meter.domain.rates import parse_price
from stripe_meter.domain.tools import Tool
from stripe_meter.enforcement.engine import LOCAL_KEY
from stripe_meter.enforcement.gate import Admission
from stripe_meter.mcp.caller import read_caller
from tests.benchmarks import harness, imports, seller, twin_server
from tests.benchmarks.harness import Added, Effort, Report
from tests.benchmarks.stripe_process import METER_EVENTS, StripeProcess

#: p99 needs many samples, and the direct calls are cheap; only the slow depths are cut short in the quick form.
_DIRECT: Final = Effort(5, 4000)
_FULL: Final = {"in_memory": Effort(5, 2000), "http": Effort(5, 2000)}
_QUICK: Final = {"in_memory": Effort(5, 600), "http": Effort(5, 250, 50)}
_WARM_CALLS: Final = 10_000
_ROUNDS: Final = 25
_LOOP: Final = 400
_UNIT_AMOUNT: Final = Decimal(5)


class Bench:
    """One seller, the twin servers, and a captured context."""

    def __init__(self, stripe: StripeProcess, key: str, billing: StripeMeter) -> None:
        self.stripe, self.key, self.billing = stripe, key, billing
        self.bare = seller.bare_server()
        self.metered, self.tool = seller.metered_server(billing)
        self.http_ctx: Any = None

    def direct(self, ctx: Any) -> harness.Call:
        """The metered tool, called as the framework would."""
        tool = self.tool
        return lambda: tool(text="x", stripe_meter_ctx=ctx)

    async def capture(self) -> None:
        """Keep the context of a real HTTP request."""
        kept: list[Any] = []
        server: MCPServer[Any] = MCPServer("Capture")

        async def keep(ctx: Context[Any, Any]) -> str:
            kept.append(ctx)
            return "kept"

        server.add_tool(keep)
        app = server.streamable_http_app()
        async with (
            server.session_manager.run(),
            httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), headers={"x-api-key": self.key}) as http,
            Client(streamable_http_client("http://127.0.0.1:8000/mcp", http_client=http)) as client,
        ):
            await client.call_tool("keep", {})
        self.http_ctx = self.of(kept[0].request_context)

    def of(self, request_context: Any) -> Context[Any, Any]:
        """A context of the metered server for one request."""
        return Context(request_context=request_context, mcp_server=self.metered)


async def direct(bench: Bench) -> dict[str, Added]:
    async def bare() -> object:
        return await seller.summarize(text="x")

    http = await harness.interleaved(bare, bench.direct(bench.http_ctx), _DIRECT)
    with environment_key(bench.key):
        env = await harness.interleaved(bare, bench.direct(bench.of(None)), _DIRECT)
    return {"direct": http, "direct_env": env}


async def call_tool(bench: Bench) -> Added:
    bare_ctx: Context[Any, Any] = Context(request_context=bench.http_ctx.request_context, mcp_server=bench.bare)
    arguments = {"text": "x"}
    return await harness.interleaved(
        lambda: bench.bare.call_tool("summarize", arguments, bare_ctx),
        lambda: bench.metered.call_tool("summarize", arguments, bench.http_ctx),
        _DIRECT,
    )


async def in_memory(bench: Bench, effort: Effort) -> Added:
    with environment_key(bench.key):
        async with Client(bench.bare) as bare, Client(bench.metered) as metered:
            return await clients(bare, metered, effort)


async def http(bench: Bench, effort: Effort) -> Added:
    with twin_server.running(bench.stripe.url) as url:
        async with connected(f"{url}/bare/mcp", bench.key) as bare, connected(f"{url}/metered/mcp", bench.key) as paid:
            return await clients(bare, paid, effort)


async def clients(bare: Client, metered: Client, effort: Effort) -> Added:
    first = await metered.call_tool("summarize", {"text": "x"})
    if first.is_error:
        raise RuntimeError(f"the metered tool refuses its payer: {first.content}")
    return await harness.interleaved(
        lambda: bare.call_tool("summarize", {"text": "x"}),
        lambda: metered.call_tool("summarize", {"text": "x"}),
        effort,
    )


@contextlib.asynccontextmanager
async def connected(url: str, key: str) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(headers={"x-api-key": key}, timeout=30) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        yield client


@contextlib.contextmanager
def environment_key(key: str) -> Any:
    """The key in the environment, as on stdio."""
    os.environ[LOCAL_KEY] = key
    try:
        yield
    finally:
        del os.environ[LOCAL_KEY]


def enqueue(bench: Bench) -> Added:
    """The flusher's `add` against reading the clock twice."""
    add, clock = bench.billing.engine.thread.add, harness.clock
    runs = []
    for _ in range(5):
        empty: list[int] = []
        taken: list[int] = []
        for _ in range(_DIRECT.calls):
            began = clock()
            empty.append(clock() - began)
            began = clock()
            add("cus_benchmark", "mcp.summarize", 1, _UNIT_AMOUNT)
            taken.append(clock() - began)
        runs.append((empty, taken))
    return harness.summed_up(runs)


async def warm_requests(bench: Bench) -> dict[str, int]:
    """What reaches Stripe during 10,000 warm calls."""
    bench.billing.flush(30.0)
    since = len(bench.stripe.requests())
    for _ in range(_WARM_CALLS):
        await bench.metered.call_tool("summarize", {"text": "x"}, bench.http_ctx)
    bench.billing.flush(30.0)
    paths = [(request["method"], request["path"]) for request in bench.stripe.requests(since)]
    events = paths.count(("POST", METER_EVENTS))
    return {"stripe_requests_on_warm_path": len(paths) - events, "meter_events": events, "warm_calls": _WARM_CALLS}


def breakdown(bench: Bench) -> Report:
    """Nanoseconds of each step alone, all in the same rounds; `settle` includes `enqueue` and making the receipt."""
    engine, ctx, tool = bench.billing.engine, bench.http_ctx, Tool(seller.NAME, parse_price(seller.PRICE))
    caller, add = read_caller(ctx, engine), engine.thread.add

    def admit() -> Admission:
        admission = engine.admit_warm(tool, caller)
        assert admission is not None
        return admission

    admission = admit()
    receipt = admission.settle(1)
    charge = admission.charge
    assert receipt is not None
    assert charge is not None
    said, sealer = receipt.say()[0], engine.sales.sealer
    taken = _alone(
        {
            "nothing": lambda: None,
            "bare": lambda: _to_its_end(seller.summarize(text="x")),
            "direct": lambda: _to_its_end(bench.tool(text="x", stripe_meter_ctx=ctx)),
            "read_caller": lambda: read_caller(ctx, engine),
            "admit_warm": admit,
            "settle": lambda: admit().settle(1),
            "enqueue": lambda: add("cus_benchmark", "mcp.summarize", 1, _UNIT_AMOUNT),
            "receipt_meta": lambda: {**said, "id": sealer.seal(receipt, charge)},
        }
    )
    steps = {name: value - taken["nothing"] for name, value in taken.items()}
    steps["added"] = steps["direct"] - steps["bare"]
    steps["settle"] -= steps["admit_warm"]
    steps["wrapper_rest"] = steps["added"] - steps["read_caller"] - steps["admit_warm"] - steps["settle"]
    shown = "added", "read_caller", "admit_warm", "settle", "wrapper_rest", "enqueue", "receipt_meta"
    return {f"{name}_ns": round(steps[name]) for name in shown}


def _to_its_end(call: Any) -> None:
    """Run a coroutine that awaits nothing."""
    with contextlib.suppress(StopIteration):
        call.send(None)


def _alone(steps: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Nanoseconds a time of each step: loops in turns, median over the rounds."""
    rounds = []
    for _ in range(_ROUNDS):
        taken = {}
        for name, step in steps.items():
            began = harness.clock()
            for _ in range(_LOOP):
                step()
            taken[name] = (harness.clock() - began) / _LOOP
        rounds.append(taken)
    return {name: statistics.median(taken[name] for taken in rounds) for name in steps}


async def measure(*, quick: bool) -> Report:
    """All depths, one after the other."""
    efforts, report = (_QUICK if quick else _FULL), Report()
    with StripeProcess() as stripe:
        billing = seller.billing_at(stripe.url)
        try:
            bench = Bench(stripe, await seller.subscribe(billing), billing)
            await bench.capture()
            await bench.direct(bench.http_ctx)()
            for name, added in (await direct(bench)).items():
                report[name] = added.micros()
            report["call_tool"] = (await call_tool(bench)).micros()
            report["in_memory"] = (await in_memory(bench, efforts["in_memory"])).micros()
            over_http = await http(bench, efforts["http"])
            percent = round(100 * over_http.added_p50 / over_http.bare_p50, 2)
            report["http"] = {**over_http.micros(), "added_percent": percent}
            queued = enqueue(bench)
            report["enqueue_p50_us"] = harness.micros(queued.added_p50)
            report["enqueue_p99_us"] = harness.micros(queued.added_p99)
            report.update(await warm_requests(bench))
            report["breakdown"] = breakdown(bench)
        finally:
            billing.close()
    imported = imports.measure(5 if quick else imports.ROUNDS, frozenset({"import_stripe_meter"}))
    report["import_net_ms"] = imported["import_stripe_meter"]["net_ms"]
    return report


def run(chosen: argparse.Namespace) -> Report:
    seller.quiet()
    return asyncio.run(measure(quick=chosen.quick))


if __name__ == "__main__":
    raise SystemExit(harness.main("warm_path", __doc__, run))
