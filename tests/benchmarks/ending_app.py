"""A server whose process is about to end: what `endings` starts, by the public API alone.

    python -m tests.benchmarks.ending_app FRAMEWORK TRANSPORT ENDING PORT

FRAMEWORK is `mcp`, `mcp1`, `fastmcp` or `fastmcp3`, TRANSPORT `stdio` or `http`. `app` is the factory for ASGI servers,
which takes the framework from the environment. Every run of a tool is one line of the file named by the environment, so
that what was done is known without Stripe and without the client. Call number n of a tool is charged 2^n units, so that
a sum of units tells which calls are in it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import uvicorn

from stripe_meter import Call, StripeMeter, metered

FRAMEWORK: Final = "ENDINGS_FRAMEWORK"
NOTES: Final = "ENDINGS_NOTES"
#: Calls that the process makes by itself: before it serves in the endings that fork, after it served in others.
OWN_CALLS: Final = 10
_PRICE: Final = "$0.000001 per unit"


def note(line: str) -> None:
    """Append a line; short appends of several processes do not mix."""
    with open(os.environ[NOTES], "a", encoding="utf-8") as notes:  # noqa: PTH123  # as small as it gets
        notes.write(line + "\n")


def build(framework: str, stop: Callable[[], None], *, is_bare: bool = False) -> Any:
    """The server; its tool `stop_serving` calls `stop`. A bare one has decorated tools and no StripeMeter."""
    if framework == "mcp":
        from mcp.server.mcpserver import MCPServer

        server: Any = MCPServer("Ending", log_level="ERROR")
    elif framework == "mcp1":
        fastmcp1 = importlib.import_module("mcp.server.fastmcp")  # not there beside the current SDK
        server = fastmcp1.FastMCP("Ending", log_level="ERROR")
    else:
        from fastmcp import FastMCP

        server = FastMCP("Ending")
    _add_tools(server)
    if not is_bare:
        billing = StripeMeter()
        billing.attach(server)
        _add_free_tools(server, billing, stop)
    return server


def _units(call: Call) -> int:
    return 1 << int(call.arguments["number"])


def _add_tools(server: Any) -> None:
    async def work(number: int) -> str:
        note(f"done work {number}")
        return "done"

    async def own_work(number: int) -> str:
        note(f"done own_work {number}")
        return "done"

    def work_in_thread(number: int) -> str:
        note(f"done work_in_thread {number}")
        return "done"

    async def work_slowly(number: int, seconds: float) -> str:
        note("started")
        await asyncio.sleep(seconds)
        note(f"done work_slowly {number}")
        return "done"

    for tool in (work, own_work, work_in_thread, work_slowly):
        server.tool()(metered(_PRICE, units=_units)(tool))


def _add_free_tools(server: Any, billing: StripeMeter, stop: Callable[[], None]) -> None:
    async def stats() -> str:
        return json.dumps(dataclasses.asdict(billing.stats()), default=str)

    async def stop_serving() -> str:
        stop()
        return "stopping"

    for free in (stats, stop_serving):
        server.tool()(metered("free")(free))


def own_calls(server: Any, first: int = 0) -> None:
    """Call the tool as the author's own code may, in a loop of its own."""

    async def call() -> None:
        for number in range(first, first + OWN_CALLS):
            await server.call_tool("own_work", {"number": number})
            note(f"answered own_work {number}")

    asyncio.run(call())


def prelude(server: Any, ending: str) -> None:
    """Fork while the library's thread runs and holds usage."""
    if ending not in ("fork", "multiprocessing"):
        return
    own_calls(server)
    if ending == "fork":
        child = os.fork()
        if not child:
            own_calls(server, OWN_CALLS)
            sys.exit(0)
        os.waitpid(child, 0)
    else:
        process = multiprocessing.get_context("fork").Process(target=own_calls, args=(server, OWN_CALLS))
        process.start()
        process.join()


def finale(server: Any, ending: str) -> None:
    """End as the author's own program would after serving."""
    if ending in ("exit", "exception"):
        own_calls(server)
    if ending == "exception":
        raise RuntimeError("the author's own mistake")


def app() -> Any:
    """The ASGI application, built by `uvicorn --factory` or gunicorn."""
    note(f"pid {os.getpid()}")
    framework = os.environ[FRAMEWORK]
    server = build(framework, lambda: None)
    return asgi(server, framework, is_shared=True)


def asgi(server: Any, framework: str, *, is_shared: bool = False) -> Any:
    """The application; on the older lines sessions live in one worker, so workers that share a port do without."""
    if framework == "mcp1":
        server.settings.stateless_http = is_shared
    if framework.startswith("mcp"):
        return server.streamable_http_app()
    return server.http_app(stateless_http=is_shared and framework == "fastmcp3")


def serve(framework: str, transport: str, ending: str, port: int) -> None:
    """Serve until something ends it."""
    stops: list[uvicorn.Server] = []

    def stop() -> None:
        for running in stops:
            running.should_exit = True

    server = build(framework, stop, is_bare=ending == "bare")
    prelude(server, ending)
    note(f"pid {os.getpid()}")
    if transport == "http" and ending in ("exit", "exception"):
        config = uvicorn.Config(asgi(server, framework), port=port, log_level="error")
        stops.append(uvicorn.Server(config))
        stops[0].run()
    else:
        _run(server, framework, transport, port)
    note(f"served until {time.time()}")
    finale(server, ending)


def _run(server: Any, framework: str, transport: str, port: int) -> None:
    options: dict[str, Any] = {} if framework.startswith("mcp") else {"show_banner": False}
    if transport == "stdio":
        server.run("stdio", **options)
    elif framework == "mcp1":
        server.settings.port = port
        server.run("streamable-http")
    else:
        name = "streamable-http" if framework == "mcp" else "http"
        server.run(name, host="127.0.0.1", port=port, **options)


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
