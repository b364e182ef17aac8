"""A process that holds a caller's credits and ends in the way its argument names. Run by test_credit_endings.

Prints how many calls it served.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time

from stripe_meter.domain.identity import Caller
from stripe_meter.enforcement.engine import Engine
from stripe_meter.enforcement.gate import Admission
from tests.benchmarks.credits_caller import a_tool, engine_at, with_key

CALLS = 40


def call(engine: Engine, caller: Caller, times: int = CALLS) -> None:
    for _ in range(times):
        admission = engine.admit_warm(a_tool(), caller) or engine.admit_blocking(a_tool(), caller)
        assert isinstance(admission, Admission), admission
        admission.settle(1)
    print(f"served {times}", flush=True)


async def serve(engine: Engine, caller: Caller) -> None:
    """A loop with a call still running when SIGTERM comes."""
    call(engine, caller)
    running = await engine.admit(a_tool(), caller)
    assert isinstance(running, Admission)
    os.kill(os.getpid(), signal.SIGTERM)
    while not engine.stopping:  # noqa: ASYNC110  # set by a signal, in no loop
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    running.settle(1)
    print("served 1", flush=True)
    await asyncio.sleep(30)


def main(url: str, key: str, ending: str) -> None:
    engine, caller = engine_at(url), with_key(key)
    if ending == "loop":
        asyncio.run(serve(engine, caller))
    call(engine, caller)
    if ending == "exception":
        raise RuntimeError("the author's own mistake")
    if ending == "sigterm":
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)
    if ending == "sigterm without usage":
        assert engine.flush()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)
    if ending == "fork":
        pid = os.fork()
        call(engine, caller, 10)
        if pid:
            os.waitpid(pid, 0)
    if ending == "close":
        engine.close()
        os._exit(0)
    if ending == "failed":
        admission = engine.admit_warm(a_tool(), caller) or engine.admit_blocking(a_tool(), caller)
        assert isinstance(admission, Admission)
        admission.release()


if __name__ == "__main__":
    main(*sys.argv[1:])
