"""A process with paid calls that ends in the way its second argument names. Run by test_endings."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
import threading
import time

from stripe_meter.domain.identity import Caller
from stripe_meter.domain.rates import parse_price
from stripe_meter.domain.tools import Tool
from stripe_meter.enforcement.engine import Engine
from stripe_meter.enforcement.gate import Admission
from stripe_meter.settings import Settings
from tests.conftest import with_key

CALLS = 40


def call(engine: Engine, tool: Tool, caller: Caller, number: int = CALLS) -> None:
    for _ in range(number):
        admission = engine.admit_warm(tool, caller) or engine.admit_blocking(tool, caller)
        assert isinstance(admission, Admission), admission
        admission.settle(1)


def in_child(engine: Engine, tool: Tool, caller: Caller) -> None:
    call(engine, tool, caller, 10)


async def serve(engine: Engine, tool: Tool, caller: Caller) -> None:
    """A loop with calls still running when SIGTERM comes, as a server's would be."""
    call(engine, tool, caller)

    async def slow_tool() -> None:
        admission = engine.admit_warm(tool, caller)
        assert admission is not None
        while not engine.stopping:  # noqa: ASYNC110  # set by a signal, in no loop
            await asyncio.sleep(0.01)
        admission.settle(1)
        await admission.delivered()

    tasks = [asyncio.create_task(slow_tool()) for _ in range(5)]
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.gather(*tasks)
    await asyncio.sleep(30)


def main(url: str, ending: str, key: str) -> None:
    engine = Engine(settings=Settings(emulator=url, public_url="http://127.0.0.1:9"))
    tool, caller = Tool("summarize", parse_price("$0.05")), with_key(key)
    if ending == "loop":
        asyncio.run(serve(engine, tool, caller))
    call(engine, tool, caller)
    if ending == "exception":
        raise RuntimeError("the author's own mistake")
    if ending == "sigterm":
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)
    if ending == "sigterm chained":
        print("chained", flush=True)
    if ending == "fork":
        pid = os.fork()
        call(engine, tool, caller, 10)
        if pid:
            os.waitpid(pid, 0)
    if ending == "multiprocessing":
        process = multiprocessing.get_context("fork").Process(target=in_child, args=(engine, tool, caller))
        process.start()
        process.join()
    if ending == "thread":
        thread = threading.Thread(target=call, args=(engine, tool, caller, 10))
        thread.start()
        thread.join()
    if ending == "close":
        engine.close()
        os._exit(0)


def chained(signum: int, frame: object) -> None:
    print("the author's handler ran", flush=True)
    sys.exit(0)


if __name__ == "__main__":
    if sys.argv[2] == "chained":
        signal.signal(signal.SIGTERM, chained)
        main(sys.argv[1], "sigterm", sys.argv[3])
    else:
        main(sys.argv[1], sys.argv[2], sys.argv[3])
