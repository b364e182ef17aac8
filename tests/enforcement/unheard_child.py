"""A process whose engines hold usage that Stripe never takes, ending by its second argument. Run by test_endings_late.

Prints how many seconds the end took, and how many it would have taken one engine after the other.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
from typing import Final

import anyio
import anyio.lowlevel

from stripe_meter.domain.rates import parse_price
from stripe_meter.enforcement.engine import Engine
from stripe_meter.settings import Settings

ENGINES: Final = 3
CUSTOMERS: Final = 70
DEADLINE: Final = 2.0
#: Seconds after which a second signal is one that somebody meant.
AGAIN: Final = 1.1


def main(url: str, ending: str) -> None:
    # Registered first, so it runs last.
    began: list[float] = []
    deadline = 30 * DEADLINE if ending == "sigterm, again" else DEADLINE
    atexit.register(lambda: print(time.monotonic() - began[0], ENGINES * DEADLINE, flush=True))
    heard: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    engines = [Engine(settings=Settings(emulator=url)) for _ in range(ENGINES)]
    for part, engine in enumerate(engines):
        engine.thread.deadline = deadline
        engine.thread.call_blocking(lambda _: anyio.lowlevel.checkpoint(), 30.0)
        for number in range(part * CUSTOMERS, (part + 1) * CUSTOMERS):
            engine.thread.add(f"cus_{number}", "mcp.summarize", 1 + number, parse_price("$0.05")[0].unit_amount)
    began.append(time.monotonic())
    if ending != "exit":
        os.kill(os.getpid(), signal.SIGTERM)
    if ending == "sigterm, again":
        time.sleep(AGAIN)
        os.kill(os.getpid(), signal.SIGTERM)
    while ending == "sigterm" and not heard:
        time.sleep(0.01)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
