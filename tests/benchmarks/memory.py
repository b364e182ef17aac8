"""Memory: what a hundred thousand customers cost, and whether it grows under load.

Each part runs in a process of its own and reads its resident set (RSS) from the kernel, after a collection.

    accounts        snapshots made from Stripe's JSON as a cold read makes them, with the caller each belongs to and
                    what the tool they called costs them, in a server that has served a call; `mb` is the growth,
                    `bytes_each` the same for one
    flusher_keys    customers with usage that is not sent yet
    soak            calls over the in-memory client and usage of 500 customers for `--minutes` (10; 0.2 in the quick
                    form): RSS over time, and growth and slope of its second half, in which caches are warm

The quick form makes a tenth of the accounts and keys and scales `mb` up.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.request import Request, urlopen

from mcp import Client

from stripe_meter import StripeMeter
from stripe_meter.domain.identity import Caller
from stripe_meter.enforcement.engine import LOCAL_KEY
from stripe_meter.enforcement.gate import Admission
from stripe_meter.settings import EMULATOR_KEY
from tests.benchmarks import burst, event_sink, harness, seller
from tests.benchmarks.harness import Report
from tests.benchmarks.stripe_process import StripeProcess

if TYPE_CHECKING:
    from stripe_meter.gateway.gateway import Gateway

CUSTOMERS: Final = 100_000
SOAK_MINUTES: Final = 10.0
_QUICK_MINUTES: Final = 0.2
_SAMPLES: Final = 60
_SOAK_CUSTOMERS: Final = 500
_PATIENCE: Final = 900.0


def rss() -> float:
    """Megabytes (10⁶ bytes) that this process holds."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def served(stripe: StripeProcess, billing: StripeMeter) -> str:
    """A server that has served a paid call; returns the caller's key."""
    key = os.environ[LOCAL_KEY] = await seller.subscribe(billing)
    async with Client(seller.metered_server(billing)[0]) as client:
        await client.call_tool(seller.NAME, {"text": "x"})
    return key


def accounts(number: int) -> Report:
    """Fill the account cache."""
    with StripeProcess() as stripe:
        billing = seller.billing_at(stripe.url)
        key = asyncio.run(served(stripe, billing))
        customer = "_".join(key.split("_")[1:3])
        asked = Request(
            f"{stripe.url}/v1/customers/{customer}?expand[]=subscriptions",
            headers={"Authorization": f"Bearer {EMULATOR_KEY}"},
        )
        with urlopen(asked, timeout=30) as answer:
            template = answer.read().decode()
        before = rss()
        billing.engine.thread.call_blocking(lambda gateway: fill(billing, gateway, template, customer, number), 800.0)
        after = rss()
        billing.close()
    return _grown(before, after, number)


async def fill(billing: StripeMeter, gateway: Gateway, template: str, customer: str, number: int) -> None:
    """Read that many customers as if each were Stripe's answer to a cold call, and decide that call."""
    import stripe

    engine = billing.engine
    (tool,) = engine.tools
    subscription = json.loads(template)["subscriptions"]["data"][0]["id"]
    for n in range(number):
        text = template.replace(customer, f"cus_{n:014}").replace(subscription, f"sub_1{n:023}")
        found = stripe.Customer.construct_from(json.loads(text), EMULATOR_KEY)
        account = engine._accounts.put(await gateway.accounts.snapshot(found))
        credential = b"k" + hashlib.sha256(text.encode()).digest()
        caller = Caller(credential, api_key=f"smk_cus_{n:014}_{n:040}", client="203.0.113.7")
        admission = await engine._decision._judge(gateway, engine._callers.remember(caller, account), tool, caller)
        assert isinstance(admission, Admission), admission
        admission.release()


def flusher_keys(number: int) -> Report:
    """Fill the flusher while next to nothing is sent."""
    with event_sink.running(burst.ANSWER_SECONDS) as url:
        engine = burst.RatedEngine(url, burst.Road("rate_1", 1.0))
        engine.thread.call_blocking(_nothing, 30.0)
        before = rss()
        for n in range(number):
            engine.thread.add(f"cus_{n:014}", "mcp.summarize", 1, burst.UNIT_AMOUNT)
        after = rss()
    return _grown(before, after, number)


async def _nothing(gateway: Gateway) -> None:
    """Only to have the Stripe thread up."""


def _grown(before: float, after: float, number: int) -> Report:
    each = (after - before) / number
    return {
        "number": number,
        "empty_mb": round(before, 1),
        "mb": round(each * CUSTOMERS, 1),
        "bytes_each": round(each * 1e6),
    }


async def soak(minutes: float) -> Report:
    """Load at a steady pace, and RSS meanwhile."""
    with StripeProcess() as stripe:
        billing = seller.billing_at(stripe.url)
        try:
            os.environ[LOCAL_KEY] = await seller.subscribe(billing)
            async with Client(seller.metered_server(billing)[0]) as client:
                samples, calls = await _load(client, billing, minutes)
            stats = billing.stats()
        finally:
            await asyncio.to_thread(billing.close)
    half = samples[len(samples) // 2 :]
    # Of seconds no slope can be told: one page more would be a megabyte a minute.
    slope = {"mb_per_minute": round(_slope(half), 3)} if minutes >= 1 else {}
    return {
        "minutes": minutes,
        "calls": calls,
        "events_sent": stats.events_sent,
        "first_mb": round(samples[0][1], 1),
        "last_mb": round(samples[-1][1], 1),
        "second_half_mb": round(half[-1][1] - half[0][1], 1),
        **slope,
        "samples_mb": [round(mb, 1) for _, mb in samples],
    }


async def _load(client: Client, billing: StripeMeter, minutes: float) -> tuple[list[tuple[float, float]], int]:
    add, samples, calls = billing.engine.thread.add, list[tuple[float, float]](), 0
    began = time.monotonic()
    while (passed := (time.monotonic() - began) / 60) < minutes:
        if passed >= len(samples) * minutes / _SAMPLES:
            samples.append((passed, rss()))
        for _ in range(50):
            await client.call_tool(seller.NAME, {"text": "x" * 100})
            add(f"cus_{calls % _SOAK_CUSTOMERS}", "mcp.summarize", 1, burst.UNIT_AMOUNT)
            calls += 1
        await asyncio.sleep(0.02)
    return samples, calls


def _slope(samples: list[tuple[float, float]]) -> float:
    """Of the least-squares line."""
    mean_x = sum(x for x, _ in samples) / len(samples)
    mean_y = sum(y for _, y in samples) / len(samples)
    spread = sum((x - mean_x) ** 2 for x, _ in samples)
    return sum((x - mean_x) * (y - mean_y) for x, y in samples) / spread if spread else 0.0


def part(name: str, amount: float) -> None:
    """One part in this process; ends it without sending what was never meant to be sent."""
    seller.quiet()
    fill_with = {"accounts": accounts, "keys": flusher_keys}
    report = asyncio.run(soak(amount)) if name == "soak" else fill_with[name](int(amount))
    print(json.dumps(report), flush=True)
    os._exit(0)


def _apart(name: str, amount: float) -> Report:
    command = [sys.executable, "-m", "tests.benchmarks.memory", "--part", name, str(amount)]
    patience = _PATIENCE + (60 * amount if name == "soak" else 0)
    done = subprocess.run(command, cwd=harness.ROOT, stdout=subprocess.PIPE, check=True, timeout=patience)
    report: Report = json.loads(done.stdout)
    return report


def run(chosen: argparse.Namespace) -> Report:
    number = CUSTOMERS // 10 if chosen.quick else CUSTOMERS
    minutes = chosen.minutes or (_QUICK_MINUTES if chosen.quick else SOAK_MINUTES)
    report: Report = {}
    for name, title, amount in (
        ("accounts", "accounts", number),
        ("keys", "flusher_keys", number),
        ("soak", "soak", minutes),
    ):
        report[title] = _apart(name, amount)
        harness.tell(f"{title}: {report[title]}")
    return report


if __name__ == "__main__":
    if sys.argv[1:2] == ["--part"]:
        part(sys.argv[2], float(sys.argv[3]))
    raise SystemExit(harness.main("memory", __doc__, run, ("minutes", float)))
