"""The stand-in for Stripe as a process of its own, so that its work is not measured as ours.

Owns starting and ending `python -m stripe_meter.emulator`, and asking its control API. One that does not come up
raises `RuntimeError` with its last words.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from types import TracebackType
from typing import Any, Final, Self
from urllib.request import Request, urlopen

from tests.benchmarks.harness import ROOT

METER_EVENTS: Final = "/v1/billing/meter_events"
_END_SECONDS: Final = 15.0
_MANY: Final = 1_000_000


class StripeProcess:
    """Context manager: `with StripeProcess() as stripe: stripe.url`."""

    def __init__(self) -> None:
        self.url = ""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "stripe_meter.emulator", "--port", "0", "--lag", "0"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        found = re.search(r"http://[0-9.]+:\d+", said)
        if found is None:
            self._end()
            raise RuntimeError(f"the stand-in for Stripe did not start: {said!r}")
        self.url = found[0]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    @property
    def named_url(self) -> str:
        """The same by a host name, which has to be looked up as Stripe's has."""
        return self.url.replace("127.0.0.1", "localhost")

    def slow(self, seconds: float, path: str = METER_EVENTS) -> None:
        """From now on answer requests below `path` after so many seconds."""
        self._ask("POST", "faults", {"kind": "slow", "path": path, "seconds": seconds, "times": _MANY})

    def prompt(self) -> None:
        """Answer at once again."""
        self._ask("DELETE", "faults")

    def requests(self, since: int = 0) -> list[dict[str, Any]]:
        """The API requests so far, from that index on."""
        found: list[dict[str, Any]] = self._ask("GET", f"requests?since={since}")
        return found

    def state(self) -> Any:
        """Everything the account holds."""
        return self._ask("GET", "state")

    def advance(self, seconds: float) -> None:
        """Move the stand-in's clock forward."""
        self._ask("POST", "clock", {"advance": seconds})

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(f"{self.url}/_emulator/{path}", data, method=method), timeout=60) as answer:
            return json.loads(answer.read())

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
