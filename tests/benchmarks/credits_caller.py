"""One server process that spends a customer's credits until there are none: a child of `credits` and of the adversary.

    python -m tests.benchmarks.credits_caller STRIPE_URL API_KEY COUNTER ON_CRASH BOUGHT PACE

Says "ready" when it is warm, starts when it reads a line, and says at the end what it did and still holds. The number
of calls served stands in the file COUNTER, where it survives `kill -9`.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import struct
import sys
from pathlib import Path
from time import perf_counter_ns
from typing import Literal, cast

from stripe_meter.domain.identity import Caller, credential
from stripe_meter.domain.plans import CreditPack, Credits
from stripe_meter.domain.rates import parse_price
from stripe_meter.domain.refusals import Refusal
from stripe_meter.domain.tools import Tool
from stripe_meter.enforcement.engine import Engine
from stripe_meter.enforcement.gate import Admission
from stripe_meter.settings import Settings

BOUGHT = 10_000
#: Refusals for want of an answer from Stripe after which a caller tries no more.
PATIENCE = 200
#: Seconds for giving back at the end. What does not fit a server's budget counts as a kill, and these are told apart.
DRAIN = 60.0


def plan(on_crash: str, bought: int) -> Credits:
    return Credits([CreditPack(bought, "$100", "Big")], on_crash=cast('Literal["return", "keep"]', on_crash))


def a_tool() -> Tool:
    return Tool("summarize", parse_price("1 credit"))


def engine_at(url: str, on_crash: str = "return", bought: int = BOUGHT) -> Engine:
    return Engine((plan(on_crash, bought),), Settings(emulator=url, public_url="http://127.0.0.1:9"))


def with_key(key: str) -> Caller:
    return Caller(credential("k", key), api_key=key, client="203.0.113.7")


class Counter:
    """A number that outlives its process."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 8)

    def add(self) -> None:
        struct.pack_into("q", self._memory, 0, self.value + 1)

    @property
    def value(self) -> int:
        return int(struct.unpack_from("q", self._memory)[0])


async def spend(engine: Engine, caller: Caller, counter: Counter, pace: float) -> dict[str, object]:
    """Call until the credits are gone."""
    tool, warm, refused, unavailable = a_tool(), [], 0, 0
    while True:
        began = perf_counter_ns()
        admission = engine.admit_warm(tool, caller)
        admitted = perf_counter_ns()
        if admission is None:
            verdict = await engine.admit(tool, caller)
            if isinstance(verdict, Refusal):
                refused += 1
                if verdict.reason == "credits_exhausted":
                    break
                unavailable += 1
                if unavailable > PATIENCE:
                    break
                await asyncio.sleep(0.05)
                continue
            assert isinstance(verdict, Admission)
            verdict.settle(1)
        else:
            if pace:
                await asyncio.sleep(pace)
            ended = perf_counter_ns()
            admission.settle(1)
            warm.append(admitted - began + perf_counter_ns() - ended)
        counter.add()
    return {"served": counter.value, "refused": refused, "unavailable": unavailable, "warm": warm}


def main(url: str, key: str, path: str, on_crash: str, bought: str, pace: str) -> None:
    engine, caller = engine_at(url, on_crash, int(bought)), with_key(key)
    engine.thread.deadline = DRAIN
    asyncio.run(engine.prepare([a_tool()]))
    print("ready", flush=True)
    sys.stdin.readline()
    report = asyncio.run(spend(engine, caller, Counter(Path(path)), float(pace)))
    engine.close()
    assert engine.thread.holdings is not None
    report["held"] = sum(units for _, units in engine.thread.holdings.remainder())
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
