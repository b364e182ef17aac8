"""The demo's server as a process of its own, over streamable HTTP on loopback.

Owns starting it, finding out where it serves, and ending it within bounds. It runs in an empty directory with none of
this shell's settings, so that the tour is the same everywhere. A server that does not come up is one sentence that
quotes its last words.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Final

from stripe_meter.cli import standin
from stripe_meter.errors import ConfigurationError

#: Where the demo server serves when nobody else does.
PORT: Final = 8000
_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 8.0
#: The server says so itself, once it listens; a port that merely answers might be somebody else's.
_RUNNING: Final = re.compile(r"Uvicorn running on (http://[0-9.]+:\d+)")


class _Process:
    """One attempt: the process and what it says."""

    def __init__(self, port: int, arguments: list[str], env: dict[str, str], directory: str) -> None:
        self._popen = subprocess.Popen(  # noqa: S603  # our own module
            [sys.executable, "-m", "stripe_meter.cli.demo_server", str(port), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=env,
            cwd=directory,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        assert self._popen.stderr is not None
        self.url: str | None = None
        self.said: deque[str] = deque(maxlen=200)
        self.settled = threading.Event()
        self._reader = threading.Thread(target=self._read, args=(self._popen.stderr,), daemon=True)
        self._reader.start()

    def _read(self, stderr: IO[str]) -> None:
        for line in stderr:
            self.said.append(line.strip())
            running = _RUNNING.search(line)
            if running is not None:
                self.url = running[1]
                self.settled.set()
        self.settled.set()

    @property
    def found_port_taken(self) -> bool:
        return any("address already in use" in line for line in self.said)

    def is_alive(self) -> bool:
        return self._popen.poll() is None

    def stop(self) -> None:
        """End it: first by the end of its stdin, then with ever less patience."""
        assert self._popen.stdin is not None
        self._popen.stdin.close()
        for insist in (self._popen.terminate, self._popen.kill):
            try:
                self._popen.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                insist()
        self._popen.wait()
        self._reader.join(_STOP_SECONDS)
        assert self._popen.stderr is not None
        self._popen.stderr.close()


class DemoServer:
    """Context manager around the running process.

    Attributes:
        url: Its base URL; valid after `wait`.
    """

    def __init__(self, price: str, currency: str, stand_in: str, port: int | None) -> None:
        self._arguments = [price, currency]
        # Whatever this shell or directory configures is meant for the author's own server.
        shell = {name: value for name, value in os.environ.items() if not name.startswith("STRIPE_METER_")}
        self._env = {**standin.environment(stand_in, shell), "PYTHONIOENCODING": "utf-8"}
        self._wanted = port
        self._directory = tempfile.TemporaryDirectory(prefix="stripe-meter-demo-")
        self.url = ""
        self._process = self._attempt(PORT if port is None else port)

    def _attempt(self, port: int) -> _Process:
        return _Process(port, self._arguments, self._env, self._directory.name)

    def wait(self) -> None:
        """Return once it serves. Raises `ConfigurationError` when it does not."""
        self._process.settled.wait(_START_SECONDS)
        if self._process.url is None and self._wanted is None and self._process.found_port_taken:
            self._process.stop()
            self._process = self._attempt(0)
            self._process.settled.wait(_START_SECONDS)
        if self._process.url is None:
            raise ConfigurationError(self._failure())
        self.url = self._process.url

    def is_alive(self) -> bool:
        return self._process.is_alive()

    def stop(self) -> None:
        """End the process; returns once it is gone."""
        self._process.stop()
        self._directory.cleanup()

    def _failure(self) -> str:
        if self._process.found_port_taken:
            return f"port {self._wanted} is taken; choose another one with --port"
        last = self._process.said[-1] if self._process.said else "it said nothing"
        return f"the demo server did not start: {last}"


@contextmanager
def running(price: str, currency: str, stand_in: str, port: int | None) -> Iterator[DemoServer]:
    """A demo server that is starting; call `wait` when it is needed."""
    server = DemoServer(price, currency, stand_in, port)
    try:
        yield server
    finally:
        server.stop()
