"""A stand-in for Stripe's network that takes meter events and nothing else: fast, slow to answer, in its own process.

    python -m tests.benchmarks.event_sink SECONDS

Answers every request after SECONDS, as many at once as come, without Stripe's rules: it stands for latency and for the
count of what arrived, where the emulator would be the bottleneck. Takes v1 meter events, v2 sessions and the v2
stream. GET /tally tells what came; ends when its stdin does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qs
from urllib.request import urlopen

from tests.benchmarks import harness

_END_SECONDS: Final = 10.0


class Tally:
    """What has arrived."""

    def __init__(self) -> None:
        self.values: dict[str, int] = {}
        self.requests = self.repeated = self.sessions = 0
        self.at_once = self.most_at_once = 0
        self.last = 0.0

    def take(self, identifier: str, value: int) -> None:
        if identifier in self.values:
            self.repeated += 1
        self.values[identifier] = value

    def shown(self) -> dict[str, Any]:
        return {
            "delivered": sum(self.values.values()),
            "events": len(self.values),
            "repeated": self.repeated,
            "requests": self.requests,
            "sessions": self.sessions,
            "most_at_once": self.most_at_once,
            "last": self.last,
        }


class Sink(asyncio.Protocol):
    """One connection: as much of HTTP/1.1 as a client with known lengths needs."""

    def __init__(self, tally: Tally, delay: float) -> None:
        self._tally, self._delay = tally, delay
        self._buffer = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            head, found, rest = self._buffer.partition(b"\r\n\r\n")
            if not found:
                return
            lines = head.decode("latin-1").split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines[1:])
            length = int(headers.get("content-length", 0))
            if len(rest) < length:
                return
            body, self._buffer = rest[:length], rest[length:]
            self._serve(lines[0].split()[1], body)

    def _serve(self, path: str, body: bytes) -> None:
        tally, loop = self._tally, asyncio.get_running_loop()
        if path == "/tally":
            self._answer(tally.shown())
            return
        tally.at_once += 1
        tally.most_at_once = max(tally.most_at_once, tally.at_once)
        loop.call_later(self._delay, self._done, path, body)

    def _done(self, path: str, body: bytes) -> None:
        tally = self._tally
        tally.at_once -= 1
        if path.endswith("/meter_event_session"):
            tally.sessions += 1
            self._answer(_session())
            return
        tally.requests += 1
        tally.last = time.time()
        if path.endswith("/meter_event_stream"):
            for event in json.loads(body)["events"]:
                tally.take(event["identifier"], int(event["payload"]["value"]))
            self._answer({})
            return
        form = parse_qs(body.decode())
        tally.take(form["identifier"][0], int(form["payload[value]"][0]))
        self._answer({"object": "billing.meter_event", "identifier": form["identifier"][0]})

    def _answer(self, body: dict[str, Any]) -> None:
        assert self._transport is not None
        if not self._transport.is_closing():
            payload = json.dumps(body).encode()
            head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
            self._transport.write(head.encode() + payload)


def _session() -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "object": "v2.billing.meter_event_session",
        "id": "mes_1",
        "authentication_token": "token_1",
        "created": now.isoformat(),
        "expires_at": (now + timedelta(minutes=15)).isoformat(),
        "livemode": False,
    }


async def serve(delay: float, kind: type[Sink]) -> None:
    """Serve until stdin ends."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def until_stdin_ends() -> None:
        while os.read(0, 1024):
            pass
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=until_stdin_ends, daemon=True).start()
    tally = Tally()
    server = await loop.create_server(lambda: kind(tally, delay), "127.0.0.1", 0, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await ended.wait()
    server.close()


@contextlib.contextmanager
def running(delay: float, module: str = "tests.benchmarks.event_sink") -> Iterator[str]:
    """The sink, or what is built on it, in a process of its own; yields its base URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, str(delay)],
        cwd=harness.ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def tally_of(url: str) -> dict[str, Any]:
    """What has arrived there."""
    with urlopen(f"{url}/tally", timeout=30) as answer:
        found: dict[str, Any] = json.loads(answer.read())
        return found


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1]), Sink))
