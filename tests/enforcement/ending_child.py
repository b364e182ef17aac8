"""A process with paid calls that ends in the way its second argument names. Run by test_endings."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

from stripe_meter import metered
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


def send(*signals: signal.Signals) -> None:
    for number in signals:
        os.kill(os.getpid(), number)


def killed_by(number: signal.Signals) -> Callable[..., None]:
    def wait(*_: object) -> None:
        send(number)
        time.sleep(30)

    return wait


async def serve(engine: Engine, tool: Tool, caller: Caller, *signals: signal.Signals) -> None:
    """A loop with calls still running when the signals come, as a server's would be."""
    call(engine, tool, caller)

    async def slow_tool() -> None:
        admission = engine.admit_warm(tool, caller)
        assert admission is not None
        while not engine.stopping:  # noqa: ASYNC110  # set by a signal, in no loop
            await asyncio.sleep(0.01)
        admission.settle(1)
        await admission.delivered()

    tasks = [asyncio.create_task(slow_tool()) for _ in range(5)]
    send(*signals)
    await asyncio.gather(*tasks)
    await asyncio.sleep(30)


def outlive_main(engine: Engine, tool: Tool, caller: Caller) -> None:
    """A server in a thread of its own, whose main thread has nothing more to do."""
    while threading.main_thread().is_alive():
        time.sleep(0.01)
    call(engine, tool, caller, 10)


def while_draining(engine: Engine, tool: Tool, caller: Caller, number: signal.Signals) -> None:
    """Send a signal when the exit has begun to wait, with usage that is not even on its way then."""
    while engine.thread.tallies.waiting:
        time.sleep(0.01)
    call(engine, tool, caller, 10)

    def watch() -> None:
        while not engine.stopping:
            time.sleep(0.01)
        send(number)

    threading.Thread(target=watch, daemon=True).start()


def elsewhere(build: Callable[[], Engine]) -> Engine:
    """The engine of a process that only decorates, which comes with the first call, in a worker thread."""
    metered("$0.05")(call)
    built: list[Engine] = []
    thread = threading.Thread(target=lambda: built.append(build()))
    thread.start()
    thread.join()
    return built[0]


def main(url: str, ending: str, key: str) -> None:
    def build() -> Engine:
        return Engine(settings=Settings(emulator=url, public_url="http://127.0.0.1:9"))

    if ending == "nohup":
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if ending == "chained":
        signal.signal(signal.SIGTERM, chained)
    engine = elsewhere(build) if ending == "undecided" else build()
    tool, caller = Tool("summarize", parse_price("$0.05")), with_key(key)
    if ending == "loop":
        asyncio.run(serve(engine, tool, caller, signal.SIGTERM))
    if ending == "loop, twice":
        asyncio.run(serve(engine, tool, caller, signal.SIGTERM, signal.SIGTERM))
    call(engine, tool, caller)
    if ending in END:
        END[ending](engine, tool, caller)


def fork(engine: Engine, tool: Tool, caller: Caller) -> None:
    pid = os.fork()
    call(engine, tool, caller, 10)
    if pid:
        os.waitpid(pid, 0)


def in_child(engine: Engine, tool: Tool, caller: Caller) -> None:
    process = multiprocessing.get_context("fork").Process(target=call, args=(engine, tool, caller, 10))
    process.start()
    process.join()


def in_thread(engine: Engine, tool: Tool, caller: Caller) -> None:
    thread = threading.Thread(target=call, args=(engine, tool, caller, 10))
    thread.start()
    thread.join()


def holding_locks(engine: Engine, *_: object) -> None:
    engine.thread.before_fork()
    send(signal.SIGTERM)
    engine.thread.after_fork_in_parent()
    time.sleep(30)


def closed(engine: Engine, *_: object) -> None:
    engine.close()
    os._exit(0)


async def closed_early(engine: Engine) -> None:
    engine.close()
    send(signal.SIGTERM)
    await asyncio.sleep(30)


def raise_mistake(*_: object) -> None:
    raise RuntimeError("the author's own mistake")


def chained(signum: int, frame: object) -> None:
    print("the author's handler ran", flush=True)
    sys.exit(0)


END: dict[str, Callable[[Engine, Tool, Caller], None]] = {
    "exception": raise_mistake,
    "sigterm": killed_by(signal.SIGTERM),
    "chained": killed_by(signal.SIGTERM),
    "undecided": killed_by(signal.SIGTERM),
    "sighup": killed_by(signal.SIGHUP),
    "nohup": lambda *_: send(signal.SIGHUP),
    "holding locks": holding_locks,
    "exit, sigterm": lambda engine, tool, caller: while_draining(engine, tool, caller, signal.SIGTERM),
    "exit, sigint": lambda engine, tool, caller: while_draining(engine, tool, caller, signal.SIGINT),
    "fork": fork,
    "multiprocessing": in_child,
    "thread": in_thread,
    "thread outlives main": lambda *who: threading.Thread(target=outlive_main, args=who).start(),
    "close": closed,
    "closed, sigterm": lambda engine, *_: asyncio.run(closed_early(engine)),
}


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3])
