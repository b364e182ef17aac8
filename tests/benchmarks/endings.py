"""What arrives at Stripe when a server's process ends: every framework, transport and way to end.

Real server processes, real clients, and a stand-in for Stripe reached by a host name that answers meter events after
0.3 s. Each server is called 40 times with a pause half-way, so that one part of the usage is on its way and one part
waits when the end comes; where tools are running then, five calls of 0.8 s more. Every call is charged other units, so
each is known by itself and none can stand for another. Per cell:

    answered     calls whose result a client (or the author's own code in that process) got
    executed     calls that ran, as the tools themselves noted
    delivered    calls in meter events that Stripe accepted, each identifier counted once
    doubles      delivered and never executed: the trace of a call that was counted twice
    unanswered   delivered, but the client was gone before the answer
    lost         answered but not delivered; must be 0, but for `kill` (SIGKILL), where it may be at most `bound`
    bound        what the server itself showed as pending just before it was killed
    seconds      from the signal, or the end of stdin, to the end of the process

A process that a client has to end by force (`sigint` on stdio) says so in `note`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

from tests.benchmarks import ending_app, harness, seller
from tests.benchmarks.ending_cells import Cell, cells
from tests.benchmarks.harness import Report
from tests.benchmarks.stripe_process import METER_EVENTS, StripeProcess

ANSWER_SECONDS: Final = 0.3
CALLS: Final = 40
RUNNING: Final = 5
TOOL_SECONDS: Final = 0.8
_CLIENTS: Final = 4
_LANES: Final = 2
_START_SECONDS: Final = 40.0
_END_SECONDS: Final = 15.0
_HANGS_AFTER: Final = 3.0
_AGAIN: Final = 0.05
#: What ends a process where it is not SIGTERM.
SIGNALS: Final = {"kill": signal.SIGKILL, "sigint": signal.SIGINT, "sighup": signal.SIGHUP}

#: Tool and number of a call.
Made = tuple[str, int]


class Server:
    """One server process: started, called, ended, looked at."""

    def __init__(self, cell: Cell, stripe: StripeProcess, key: str, directory: Path) -> None:
        self.cell, self.port = cell, _free_port()
        self.notes, self.errors = directory / "notes", directory / "errors"
        self.notes.touch()
        self.env = {
            **os.environ,
            "STRIPE_METER_EMULATOR": stripe.named_url,
            "STRIPE_METER_PUBLIC_URL": seller.PAGES,
            "STRIPE_METER_API_KEY": key,
            "STRIPE_METER_MAX_UNSENT_AMOUNT": str(10**12),
            ending_app.FRAMEWORK: cell.framework,
            ending_app.NOTES: str(self.notes),
        }
        self.key = key
        self.answered: set[Made] = set()
        self.began = self.gone_after = 0.0
        self.bound: int | None = None
        self.note = ""

    def noted(self, word: str) -> list[str]:
        return [line for line in self.notes.read_text().splitlines() if line.startswith(word)]

    def made(self, word: str) -> set[Made]:
        """The calls in the notes that begin with a word."""
        return {(tool, int(number)) for _, tool, number in (line.split() for line in self.noted(word))}

    async def pid(self) -> int:
        """The process that serves, once it says so."""
        async with asyncio.timeout(_START_SECONDS):
            await _until(lambda: bool(self.noted("pid")))
        return int(self.noted("pid")[0].split()[1])

    async def calls(self, clients: list[Client]) -> None:
        """Half of the calls, a pause in which sending begins, the other half."""
        for half in range(2):
            if half:
                await asyncio.sleep(0.6)
                if self.cell.ending == "kill":
                    await self._delivered(clients[0])  # only the second half is to be at stake
            for number in range(half * CALLS // 2, (half + 1) * CALLS // 2):
                tool = "work_in_thread" if number % 4 == 0 or self.cell.ending == "bare" else "work"
                await self.call(clients[number % len(clients)], tool, number=number)

    async def call(self, client: Client, tool: str, **arguments: Any) -> Any:
        """One call; counts if the client got its result."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_END_SECONDS):
                result = await client.call_tool(tool, arguments)
            if result.is_error:
                self.note = f"{tool}: {result.content}"[:300]
            elif tool.startswith("work"):
                self.answered.add((tool, arguments["number"]))
            return result
        return None

    async def end(self, clients: list[Client], pid: int) -> None:
        """Bring the end about; on stdio `eof` and its kin are left to the closing client."""
        ending, running = self.cell.ending, []
        if self.cell.is_running:
            running = [
                asyncio.create_task(self.call(clients[n % len(clients)], "work_slowly", number=n, seconds=TOOL_SECONDS))
                for n in range(RUNNING)
            ]
            async with asyncio.timeout(_START_SECONDS):
                await _until(lambda: len(self.noted("started")) >= RUNNING)
        if ending == "kill":
            self.bound = await self._pending(clients[0])
        self.began = time.monotonic()
        if ending in ("exit", "exception", "eof") and self.cell.transport == "stdio":
            return
        if ending in ("exit", "exception"):
            await self.call(clients[0], "stop_serving")
        else:
            os.kill(pid, SIGNALS.get(ending, signal.SIGTERM))
            if ending == "sigterm_twice":
                await asyncio.sleep(_AGAIN)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
        await asyncio.gather(*running)

    async def _delivered(self, client: Client) -> None:
        while await self._pending(client):  # noqa: ASYNC110  # another process makes it 0
            await asyncio.sleep(0.05)

    async def _pending(self, client: Client) -> int:
        stats = await self.call(client, "stats")
        return int(json.loads(stats.content[0].text)["pending"])

    async def wait(self, pid: int, patience: float) -> bool:
        """Whether the process ended in time; notes when."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if _is_gone(pid):
                self.gone_after = self.gone_after or time.monotonic() - self.began
                return True
            await asyncio.sleep(0.005)
        return False


async def over_stdio(server: Server) -> None:
    """The client owns the process; leaving its context closes stdin."""
    command = server.cell.command(0)
    parameters = StdioServerParameters(command=command[0], args=command[1:], env=server.env, cwd=str(harness.ROOT))
    watching: asyncio.Task[bool] | None = None
    with server.errors.open("w") as errors, contextlib.suppress(Exception):
        async with Client(stdio_client(parameters, errlog=errors)) as client:
            pid = await server.pid()
            await server.calls([client])
            await server.end([client], pid)
            watching = asyncio.create_task(server.wait(pid, _END_SECONDS))
            if server.cell.ending not in ("exit", "exception", "eof"):
                await asyncio.wait([watching], timeout=_HANGS_AFTER)
                if not watching.done():
                    server.note = f"still there {_HANGS_AFTER:g} s after the signal; ended by closing its stdin"
    if watching is None:
        server.note = server.note or "the server did not start or broke off"
    elif not await watching:
        server.note = "the process never ended"


async def over_http(server: Server) -> None:
    """The process is ours; clients come over loopback."""
    with server.errors.open("w") as errors:
        process = await asyncio.create_subprocess_exec(
            *server.cell.command(server.port), cwd=harness.ROOT, env=server.env, stdout=errors, stderr=errors
        )
        try:
            async with contextlib.AsyncExitStack() as stack:
                await _until_open(server.port)
                clients = [await stack.enter_async_context(_connected(server)) for _ in range(_CLIENTS)]
                await server.calls(clients)
                await server.end(clients, process.pid)
                await _ended(server, process)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def _ended(server: Server, process: asyncio.subprocess.Process) -> None:
    try:
        async with asyncio.timeout(_END_SECONDS):
            await process.wait()
        server.gone_after = time.monotonic() - server.began
    except TimeoutError:
        server.note = "the process never ended; killed"


@contextlib.asynccontextmanager
async def _connected(server: Server) -> AsyncIterator[Client]:
    with contextlib.suppress(Exception):  # closing a session of a server that is gone
        async with (
            httpx2.AsyncClient(headers={"x-api-key": server.key}, timeout=_END_SECONDS) as http,
            Client(streamable_http_client(f"http://127.0.0.1:{server.port}/mcp", http_client=http)) as client,
        ):
            yield client


async def _until_open(port: int) -> None:
    async with asyncio.timeout(_START_SECONDS):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  # another process makes it true
        await asyncio.sleep(0.02)


def _is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


async def one(cell: Cell, stripe: StripeProcess, key: str) -> Report:
    """Run one cell and count."""
    row: Report = {"framework": cell.framework, "transport": cell.transport, "ending": cell.ending}
    why = cell.missing()
    if why is not None:
        return {**row, "skipped": why}
    since = len(stripe.requests())
    with tempfile.TemporaryDirectory(prefix="endings-") as directory:
        server = Server(cell, stripe, key, Path(directory))
        try:
            await (over_stdio if cell.transport == "stdio" else over_http)(server)
        except Exception as error:  # the other cells still count
            server.note = f"{type(error).__name__}: {error}"
        # What was on the way when the process ended is answered, or not, within the stand-in's own delay.
        await asyncio.sleep(ANSWER_SECONDS + 0.3)
        return {**row, **_counted(server, stripe.requests(since))}


def _delivered(requests: list[dict[str, Any]]) -> set[Made]:
    """The calls in what Stripe accepted: in the sum of a tool's units each call is one bit."""
    events = [r["body"] for r in requests if r["path"] == METER_EVENTS and r["status"] == 200]
    units: Counter[str] = Counter()
    for event in {event["identifier"]: event for event in events}.values():
        units[event["event_name"].rpartition(".")[2]] += int(event["payload"]["value"])
    return {(tool, bit) for tool, total in units.items() for bit in range(total.bit_length()) if total >> bit & 1}


def _counted(server: Server, requests: list[dict[str, Any]]) -> Report:
    answered, executed = server.answered | server.made("answered"), server.made("done")
    delivered = _delivered(requests)
    lost, doubles = answered - delivered, delivered - executed
    is_good = len(lost) <= (server.bound or 0) and not doubles and len(answered) >= CALLS
    report: Report = {
        "answered": len(answered),
        "executed": len(executed),
        "delivered": len(delivered),
        "doubles": len(doubles),
        "unanswered": len(delivered & executed - answered),
        "lost": len(lost),
        "seconds": round(server.gone_after, 2),
        "good": is_good,
    }
    if server.bound is not None:
        report["bound"] = server.bound
    if server.note:
        report["note"] = server.note
    if not is_good:
        report["said"] = server.errors.read_text(errors="replace")[-1500:]
    return report


async def opened(stripe: StripeProcess) -> str:
    """Make a stand-in slow, once one customer has paid there; returns their API key."""
    billing = seller.billing_at(stripe.url)
    try:
        key = await seller.subscribe(billing)
    finally:
        billing.close()
    stripe.slow(ANSWER_SECONDS)
    return key


async def lane(stripe: StripeProcess, key: str, waiting: Iterator[tuple[int, Cell]]) -> list[tuple[int, Report]]:
    """One cell after the other, whichever is next, at a stand-in of its own."""
    rows = []
    for place, cell in waiting:
        rows.append((place, await one(cell, stripe, key)))
        harness.tell(f"{cell.name}: {rows[-1][1]}")
    return rows


async def measure(*, quick: bool, only: str) -> Report:
    """Several cells at once, for most of their time is waiting."""
    waiting = enumerate(cells(quick=quick, only=only))
    with contextlib.ExitStack() as stack:
        stands = [stack.enter_context(StripeProcess()) for _ in range(_LANES)]
        keys = [await opened(stripe) for stripe in stands]
        lanes = [lane(stripe, key, waiting) for stripe, key in zip(stands, keys, strict=True)]
        placed = [row for rows in await asyncio.gather(*lanes) for row in rows]
    rows = [row for _, row in sorted(placed, key=lambda row: row[0])]
    done = [row for row in rows if "skipped" not in row]
    return {
        "stripe_answers_after_seconds": ANSWER_SECONDS,
        "cells": rows,
        "good": sum(row["good"] for row in done),
        "bad": sum(not row["good"] for row in done),
        "skipped": len(rows) - len(done),
    }


def table(report: Report) -> str:
    """One line for each cell."""
    counts = ("answered", "executed", "delivered", "doubles", "unanswered", "lost", "seconds")
    columns = ("framework", "transport", "ending", *counts)
    lines = ["  ".join(f"{name:<15}" for name in columns) + "  good"]
    for row in report["cells"]:
        line = "  ".join(f"{row.get(name, '')!s:<15}" for name in columns)
        bound = f"  bound {row['bound']}" if "bound" in row else ""
        lines.append(f"{line}  {row.get('good', row.get('skipped'))}{bound}  {row.get('note', '')}")
    return "\n".join([*lines, f"good {report['good']}, bad {report['bad']}, skipped {report['skipped']}"])


def run(chosen: argparse.Namespace) -> Report:
    seller.quiet()
    return asyncio.run(measure(quick=chosen.quick, only=chosen.only or ""))


if __name__ == "__main__":
    raise SystemExit(harness.main("endings", __doc__, run, ("only", str), show=table))
