"""Several processes on one customer with 10,000 credits; then one of them is killed and replaced on the way.

    python -m tests.benchmarks.credits [--json] [--quick]

The stand-in for Stripe is a process of its own on loopback. `overspent` is what was served beyond what was bought,
`lost` what can be neither served nor found again; both after the recovery that follows the recovery age. `bound` is
what the policy allows: the part of the killed process's slice that its last write had not proven.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from stripe_meter.domain.identity import METADATA_WALLET, Caller
from stripe_meter.domain.refusals import Refusal
from stripe_meter.emulator.browser import pay_by_forms
from stripe_meter.enforcement.gate import Admission
from tests.benchmarks import harness
from tests.benchmarks.credits_caller import BOUGHT, Counter, a_tool, engine_at, with_key
from tests.benchmarks.stripe_process import StripeProcess

PROCESSES: Final = 4
#: Of all calls, when the first process is killed.
KILLED_AT: Final = 0.4
PACE: Final = 0.0005
_END_SECONDS: Final = 120.0
_RECOVERY: Final = 15 * 60 + 120
Row = dict[str, Any]


class Child:
    """One process that spends."""

    def __init__(
        self, url: str, key: str, counter: Path, on_crash: str, bought: int = BOUGHT, pace: float = PACE, **env: str
    ) -> None:
        counter.write_bytes(bytes(8))
        self.counter = Counter(counter)
        arguments = [url, key, str(counter), on_crash, str(bought), str(pace)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.credits_caller", *arguments],
            cwd=harness.ROOT,
            env={**os.environ, **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def get_ready(self) -> None:
        assert self.process.stdout is not None
        if self.process.stdout.readline().strip() != "ready":
            raise RuntimeError("a caller did not start")

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self._close()

    def report(self) -> Row:
        assert self.process.stdout is not None
        out = self.process.stdout.read()
        self.process.wait(_END_SECONDS)
        self._close()
        found: Row = json.loads(out)
        return found

    def _close(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


async def buy(url: str, bought: int = BOUGHT) -> str:
    """Buy the pack as a stranger; returns the API key."""
    engine = engine_at(url, bought=bought)
    try:
        # Apart from the call, whose answer has a deadline: the machine may be busy.
        await engine.prepare([a_tool()])
        refusal = await engine.admit(a_tool(), Caller(b"stranger", client="203.0.113.7"))
        assert isinstance(refusal, Refusal)
        back = await asyncio.to_thread(pay_by_forms, str(refusal.checkout_url), "4242424242424242", "a@example.com")
        query = parse_qs(urlsplit(back).query)
        done = await engine.sales.complete(query["session_id"][0], query["claim"][0])
        assert done.key is not None
        return done.key.reveal()
    finally:
        engine.close()


def books(stripe: StripeProcess) -> tuple[int, dict[str, tuple[int, int]]]:
    """The wallet's credit, and of each chain the sum of its amounts and its highest proven use."""
    objects = stripe.state()["objects"]
    customers = objects["customer"].values() if isinstance(objects["customer"], dict) else objects["customer"]
    by_id = {row["id"]: row for row in customers}
    wallet = next(row["metadata"][METADATA_WALLET] for row in by_id.values() if METADATA_WALLET in row["metadata"])
    listed = objects["customer_balance_transaction"]
    sums: dict[str, tuple[int, int]] = {}
    for row in listed.values() if isinstance(listed, dict) else listed:
        if row["customer"] == wallet and row["metadata"].get("sm") == "chain":
            total, used = sums.get(row["metadata"]["c"], (0, 0))
            sums[row["metadata"]["c"]] = total + row["amount"], max(used, int(row["metadata"]["u"]))
    return -by_id[wallet]["balance"], sums


def run(on_crash: str, *, kill: bool) -> Row:
    """One customer's credits, spent by several processes."""
    with StripeProcess() as stripe, tempfile.TemporaryDirectory() as folder:
        key = asyncio.run(buy(stripe.url))
        since = len(stripe.requests())
        made = iter(range(1000))

        def start() -> Child:
            return Child(stripe.url, key, Path(folder) / f"counter-{next(made)}", on_crash)

        children = [start() for _ in range(PROCESSES)]
        for child in children:
            child.get_ready()
        for child in children:
            child.go()
        killed: list[Child] = []
        if kill:
            while sum(child.counter.value for child in children) < KILLED_AT * BOUGHT:
                time.sleep(0.005)
            killed.append(children.pop(0))
            killed[0].kill()
            children.append(start())
            children[-1].get_ready()
            children[-1].go()
        reports = [child.report() for child in children]
        pids = [child.pid for child in (*killed, *children)]
        _, sums = books(stripe)
        bound = sum(max(0, total - used) for total, used in sums.values())
        if kill:
            # The killed one counts as dead after the recovery age; a last process finds what it left.
            stripe.advance(_RECOVERY)
            last = start()
            last.get_ready()
            last.go()
            reports.append(last.report())
            pids.append(last.pid)
        served = sum(report["served"] for report in reports) + sum(child.counter.value for child in killed)
        credit, sums = books(stripe)
        writes = [r for r in stripe.requests(since) if r["method"] == "POST" and "/balance_transactions" in r["path"]]
        warm = [sample for report in reports for sample in report["warm"]]
        return {
            "on_crash": on_crash,
            "bought": BOUGHT,
            "served": served,
            "refused": sum(report["refused"] for report in reports),
            "credit_left": credit,
            "overspent": max(0, served - BOUGHT),
            "lost": max(0, BOUGHT - served - credit),
            "bound": bound,
            "within_bound": served + credit - BOUGHT <= bound if on_crash == "return" else served <= BOUGHT,
            "stripe_writes": len(writes),
            "processes": len(pids),
            "pids": pids,
            "killed_pids": [child.pid for child in killed],
            "warm_calls": len(warm),
            "warm_added_p50_us": harness.micros(harness.percentile(warm, 0.5)),
            "warm_added_p99_us": harness.micros(harness.percentile(warm, 0.99)),
        }


async def alone(url: str, key: str, effort: harness.Effort) -> Row:
    """A warm call paid in credits against a bare one, in turns, in a process that does nothing else."""
    engine, caller, tool = engine_at(url), with_key(key), a_tool()
    await engine.prepare([tool])

    async def bare() -> None:
        return None

    async def paid() -> None:
        admission = engine.admit_warm(tool, caller) or await engine.admit(tool, caller)
        assert isinstance(admission, Admission)
        admission.settle(1)

    try:
        return (await harness.interleaved(bare, paid, effort)).micros()
    finally:
        engine.close()


def measure(options: argparse.Namespace) -> Row:
    report: Row = {}
    with StripeProcess() as stripe:
        harness.tell("warm calls alone …")
        key = asyncio.run(buy(stripe.url))
        effort = harness.Effort(runs=2 if options.quick else 5, calls=1500)
        warm = asyncio.run(alone(stripe.url, key, effort))
    for name, on_crash, kill in (
        ("nobody killed", "return", False),
        ("one killed, return", "return", True),
        ("one killed, keep", "keep", True),
    ):
        harness.tell(f"{name} …")
        report[name] = run(on_crash, kill=kill)
        if options.quick and kill:
            break
    return {"warm_alone": warm, "runs": report}


if __name__ == "__main__":
    sys.exit(harness.main("credits", __doc__, measure))
