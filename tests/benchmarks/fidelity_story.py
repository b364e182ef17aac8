"""The driver: tells the stories to an emulator and finds everything that is not as it should be.

A good request must be answered 200, a bad one 400 with the name of its parameter, nothing may break the contract, and
at the end every operation must have been checked. `told` yields problems as it meets them, so whoever looks for the
first one stops early.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from string import Template
from typing import Any, Final

import httpx

from stripe_meter.emulator import Emulator
from stripe_meter.emulator.api import Call
from stripe_meter.emulator.errors import ApiError
from stripe_meter.emulator.routing import Operation, Router
from tests.benchmarks.fidelity_bad import Bad, bad_requests
from tests.benchmarks.fidelity_steps import SHARED, STORIES

KEY: Final = "sk_test_emulator"
STREAM: Final = "/v2/billing/meter_event_stream"
HOUR: Final = 3600
YEAR: Final = 366 * 24 * HOUR


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it goes over the wire."""

    method: str
    path: str
    query: str
    body: str
    token: str


Send = Callable[[Request], tuple[int, Any]]


@dataclass
class Teller:
    """One telling of all stories."""

    emulator: Emulator
    send: Send
    with_bad: bool = True
    names: dict[str, str] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    _seen: set[str] = field(default_factory=set)

    def told(self) -> Iterator[str]:
        """Tell everything; yields what is wrong, in one sentence each."""
        router = Router(self.emulator.api.operations)
        for story in STORIES:
            for line in story.strip().splitlines():
                yield from self._line(router, line)
        for name, counted in self.emulator.fidelity().items():
            for what in ("requests_checked", "responses_checked"):
                if not counted[what]:
                    yield f"{name}: {what} is 0"

    def _line(self, router: Router, line: str) -> Iterator[str]:
        text, _, remember = line.partition(" > ")
        method, path, *rest = self._filled(text).split(" ", 2)
        if method == "CLOCK":
            self.emulator.clock.advance(float(path) - self.emulator.clock.now())
            return
        given = rest[0] if rest else ""
        before = len(self.emulator.api.fidelity.violations)
        status, body = self.send(self._request(method, path, given))
        if status != 200:
            yield f"{method} {path}: {status} {body.get('error', {}).get('message', body)}"
        elif remember:
            self._remember(remember, body)
        for violation in list(self.emulator.api.fidelity.violations)[before:]:
            yield f"{violation.operation}: {violation.problem}"
        if self.with_bad:
            yield from self._spoil(router, method, path, given)

    def _spoil(self, router: Router, method: str, path: str, given: str) -> Iterator[str]:
        """The bad requests of an operation, when it is met for the first time."""
        try:
            operation, _ = router.find(method, path)
        except ApiError as error:
            yield f"{method} {path}: {error}"
            return
        if f"{operation.method} {operation.path}" not in self._seen:
            self._seen.add(f"{operation.method} {operation.path}")
            for bad in bad_requests(operation, given, as_json=_is_json(method, path)):
                status, body = self.send(self._request(method, path, bad.text))
                yield from self._judge(operation, bad, status, body)

    def _judge(self, operation: Operation, bad: Bad, status: int, body: Any) -> Iterator[str]:
        self.refused[bad.fault] += 1
        named = body.get("error", {}).get("param")
        if status != 400 or named != bad.param:
            told = body.get("error", {}).get("message", "accepted")
            yield f"{operation.method} {operation.path} with {bad.fault} {bad.param}: {status} {told}"

    def _request(self, method: str, path: str, given: str) -> Request:
        in_body = method == "POST"
        token = self.names.get("token", "") if path == STREAM else KEY
        return Request(method, path, "" if in_body else given, given if in_body else "", token)

    def _filled(self, text: str) -> str:
        now = int(self.emulator.clock.now())
        minute = now - now % 60
        times = {"now": now, "hour_ago": minute - HOUR, "in_an_hour": minute + HOUR}
        times |= {"in_two_days": now + 48 * HOUR, "next_year": now + YEAR}
        shared = Template(text).safe_substitute(SHARED)
        return Template(shared).safe_substitute(self.names, **{name: str(at) for name, at in times.items()})

    def _remember(self, wanted: str, body: Any) -> None:
        name, _, place = wanted.partition("=")
        value = body
        for part in (place or "id").split("."):
            value = value[int(part) if part.isdigit() else part]
        self.names[name] = str(value)


def fresh(*, check_responses: bool = True) -> Emulator:
    """An emulator at the start of everything: usage counts at once, time stands still in the middle of a minute."""
    emulator = Emulator(lag=0.0, deterministic=True, check_responses=check_responses)
    emulator.clock.freeze()
    emulator.clock.advance(90 - emulator.clock.now() % 60)
    return emulator


def in_process(emulator: Emulator) -> Send:
    """Requests without HTTP around them."""

    def send(request: Request) -> tuple[int, Any]:
        headers = {"authorization": f"Bearer {request.token}"}
        reply = emulator.api.serve(Call(request.method, request.path, request.query, request.body, headers))
        return reply.status, reply.body

    return send


def over_http(client: httpx.Client) -> Send:
    """Requests over HTTP, as clients send them."""

    def send(request: Request) -> tuple[int, Any]:
        kind = "application/json" if _is_json(request.method, request.path) else "application/x-www-form-urlencoded"
        headers = {"Authorization": f"Bearer {request.token}", "Content-Type": kind}
        address = f"{request.path}?{request.query}" if request.query else request.path
        reply = client.request(request.method, address, content=request.body or None, headers=headers)
        return reply.status_code, reply.json()

    return send


def _is_json(method: str, path: str) -> bool:
    return method == "POST" and path.startswith("/v2/")
