"""The same paid tool under PayMCP and under ours, with a Stripe that answers after 100 ms.

PayMCP lives in an environment of its own, made for this run from versions that work together (0.9.1 with the MCP SDK
1.30; it does not work with 2.x), and asks a stub that says yes to everything. Ours asks the emulator, delayed by the
same 100 ms, because it would not believe the stub. Both are called in memory by the client of their SDK, which differ
in speed, so `added` is against the bare tool of the same side.

    p50_ms, added_p50_ms      one paid call; PayMCP's pay-per-call is two calls, with the payer's own time not counted
    stripe_requests_a_call    that the call waits for; ours sends usage later, counted as `events_sent`
    ten_callers_ms            ten callers at once, until the last has their result
    loop_stall_ms             longest time that a ticker on the same loop was kept waiting beside one call

`cold` is our first call of a customer in a new process. Where PayMCP cannot be installed, the report says so.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from mcp import Client

from stripe_meter import StripeMeter
from stripe_meter.enforcement.engine import LOCAL_KEY
from tests.benchmarks import harness, peer_stub, seller
from tests.benchmarks.harness import Report
from tests.benchmarks.peer_paymcp import CALLS, stall
from tests.benchmarks.stripe_process import METER_EVENTS, StripeProcess

ANSWER_SECONDS: Final = 0.1
WANTED: Final = ("paymcp==0.9.1", "mcp>=1.30,<2")
_INSTALL_SECONDS: Final = 300.0
_RUN_SECONDS: Final = 120.0

BETTER_AT: Final = {
    "paymcp": [
        "several payment providers (Adyen, Coinbase, PayPal, Square, Walleot, x402), where ours knows Stripe alone",
        "a single payment for a single call: the caller needs no subscription and no key",
        "paid before the tool runs: no usage waits in memory, so kill -9 can lose none",
        "keeps a paid result for a client that dropped before it came",
        "no background thread and no cache that could be out of date",
    ],
    "stripe_meter": [
        "a warm call asks Stripe nothing and waits for nothing",
        "a slow Stripe or many callers do not stall the event loop",
        "prices below Stripe's minimum for one payment, because usage is invoiced together",
        "works with the current MCP SDK 2.x and FastMCP 4, and with sync tools",
    ],
}


class Missing(Exception):
    """PayMCP cannot be had here; the message says why."""


def paymcp(stub: str) -> Report:
    """Make the environment, run PayMCP's half in it."""
    with tempfile.TemporaryDirectory(prefix="peers-") as directory:
        python = Path(directory) / "venv" / "bin" / "python"
        _run([sys.executable, "-m", "venv", str(python.parents[1])], _INSTALL_SECONDS)
        _run([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *WANTED], _INSTALL_SECONDS)
        half = Path(__file__).with_name("peer_paymcp.py")
        report: Report = json.loads(_run([str(python), str(half), stub], _RUN_SECONDS).splitlines()[-1])
    for kind in ("pay_per_call", "subscription"):
        report[kind]["added_p50_ms"] = round(report[kind]["p50_ms"] - report["bare_p50_ms"], 2)
    return report


def _run(command: list[str], patience: float) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=patience, check=True)
    except subprocess.CalledProcessError as error:
        raise Missing(f"{Path(command[0]).name} {command[1:4]}: {error.stderr[-400:]}") from None
    except (subprocess.TimeoutExpired, OSError) as error:
        raise Missing(str(error)[:400]) from None
    return done.stdout


async def ours(stripe: StripeProcess) -> Report:
    """Our half: cold once, then warm."""
    billing = seller.billing_at(stripe.url)
    try:
        os.environ[LOCAL_KEY] = await seller.subscribe(billing)
    finally:
        await asyncio.to_thread(billing.close)
    stripe.slow(ANSWER_SECONDS, "/v1")
    billing = seller.billing_at(stripe.url)
    try:
        async with Client(seller.bare_server()) as bare, Client(seller.metered_server(billing)[0]) as client:
            bare_p50 = statistics.median([await _took(bare) for _ in range(200)])
            cold = await _cold(client, stripe)
            warm = await _warm(client, stripe, billing)
    finally:
        await asyncio.to_thread(billing.close)
    warm["added_p50_ms"] = round(warm["p50_ms"] - bare_p50, 3)
    return {"bare_p50_ms": round(bare_p50, 3), "cold": cold, "warm": warm}


async def _cold(client: Client, stripe: StripeProcess) -> Report:
    since, late = len(stripe.requests()), await stall(lambda: _took(client))
    asked = [request for request in stripe.requests(since) if request["path"] != METER_EVENTS]
    return {"stripe_requests": len(asked), "loop_stall_ms": round(late, 1)}


async def _warm(client: Client, stripe: StripeProcess, billing: StripeMeter) -> Report:
    await asyncio.to_thread(billing.flush)
    since, sent = len(stripe.requests()), billing.stats().events_sent
    taken = [await _took(client) for _ in range(CALLS)]
    began = time.perf_counter()
    await asyncio.gather(*(_took(client) for _ in range(CALLS)))
    together = 1000 * (time.perf_counter() - began)
    late = await stall(lambda: _took(client))
    await asyncio.to_thread(billing.flush)
    asked = [request for request in stripe.requests(since) if request["path"] != METER_EVENTS]
    return {
        "p50_ms": round(statistics.median(taken), 3),
        "stripe_requests_a_call": len(asked) / CALLS,
        "events_sent": billing.stats().events_sent - sent,
        "ten_callers_ms": round(together, 1),
        "loop_stall_ms": round(late, 1),
    }


async def _took(client: Client) -> float:
    began = time.perf_counter()
    result = await client.call_tool(seller.NAME, {"text": "x"})
    if result.is_error:
        raise RuntimeError(f"refused: {result.content}")
    return 1000 * (time.perf_counter() - began)


def run(chosen: argparse.Namespace) -> Report:
    seller.quiet()
    report: Report = {"stripe_answers_after_seconds": ANSWER_SECONDS}
    with StripeProcess() as stripe:
        report["stripe_meter"] = asyncio.run(ours(stripe))
    with contextlib.ExitStack() as stack:
        try:
            report["paymcp"] = paymcp(stack.enter_context(peer_stub.running(ANSWER_SECONDS)))
        except Missing as error:
            report["paymcp"] = {"missing": str(error)}
    return {**report, "better_at": BETTER_AT}


if __name__ == "__main__":
    raise SystemExit(harness.main("peers", __doc__, run))
