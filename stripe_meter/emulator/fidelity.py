"""Is every request and response what Stripe's own types and, when named, its OpenAPI file allow?

Owns: checking, counting per operation, and remembering violations. Does not own: the types (`sdk_types`) or the
file (`openapi`). A response that breaks the contract is a bug of the emulator: it is recorded, logged, and answered
as a 500 that says so. The list of violations is bounded; the counters are not affected by that.
"""

import logging
import os
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Final

from stripe_meter.emulator import sdk_types
from stripe_meter.emulator.errors import JSON, ApiError
from stripe_meter.emulator.openapi import OpenApi, load
from stripe_meter.emulator.routing import Operation

SPEC_VARIABLE: Final = "STRIPE_OPENAPI_SPEC"
MAX_VIOLATIONS: Final = 1000
LOG: Final = logging.getLogger("stripe_meter.emulator")


@dataclass(slots=True)
class Tally:
    """What was checked of one operation."""

    requests_checked: int = 0
    responses_checked: int = 0
    violations: int = 0


@dataclass(frozen=True, slots=True)
class Violation:
    """One difference between what the emulator did and what Stripe's contract allows."""

    operation: str
    problem: str
    source: str


class Fidelity:
    """The checks of one emulator; `check_responses=False` turns them off, the request contract always holds."""

    def __init__(self, operations: Iterable[Operation], *, check_responses: bool = True) -> None:
        self.violations: deque[Violation] = deque(maxlen=MAX_VIOLATIONS)
        self._tallies = {_name(operation): Tally() for operation in operations}
        self._on = check_responses
        path = os.environ.get(SPEC_VARIABLE)
        self._openapi: OpenApi | None = load(path) if path and check_responses else None

    @property
    def openapi(self) -> bool:
        """Whether an OpenAPI file is checked as well."""
        return self._openapi is not None

    def report(self) -> dict[str, dict[str, int]]:
        """Counters per operation."""
        return {name: asdict(tally) for name, tally in self._tallies.items()}

    def request(self, operation: Operation) -> None:
        """Count a request that went through the parameter contract, accepted or refused."""
        self._tallies[_name(operation)].requests_checked += 1

    def accepted(self, operation: Operation, params: JSON) -> None:
        """Hold the parameters of a request that succeeded against the file, if there is one."""
        if self._openapi is None:
            return
        problem = self._openapi.request(operation.method, operation.path, params)
        if problem is not None:
            self._refuse(_name(operation), f"the request was accepted, but{problem}", "OpenAPI")

    def response(self, operation: Operation, answer: JSON) -> None:
        """Check an answer; raises the 500 of an emulator that broke the contract."""
        if not self._on:
            return
        name = _name(operation)
        self._tallies[name].responses_checked += 1
        self._hold(name, answer, sdk_types.check(answer), "SDK")
        if self._openapi is not None:
            self._hold(name, answer, self._openapi.response(operation.method, operation.path, answer), "OpenAPI")

    def event(self, type: str, row: JSON) -> None:
        """Check the object inside an event; a violation is recorded, but does not undo what the event tells."""
        if not self._on:
            return
        problems = {"SDK": sdk_types.check(row), "OpenAPI": self._openapi and self._openapi.by_name(row)}
        for source, problem in problems.items():
            if problem is not None:
                self._record(f"event {type}", f"{row.get('object')}{problem}", source)

    def _hold(self, name: str, answer: JSON, problem: str | None, source: str) -> None:
        if problem is not None:
            self._refuse(name, f"{answer.get('object', 'the answer')}{problem}", source)

    def _refuse(self, name: str, problem: str, source: str) -> None:
        self._tallies[name].violations += 1
        self._record(name, problem, source)
        message = (
            f"The emulator broke Stripe's contract ({source}) on {name}: {problem}. This is a bug of the emulator."
        )
        raise ApiError(500, message, type="api_error")

    def _record(self, name: str, problem: str, source: str) -> None:
        self.violations.append(Violation(name, problem, source))
        LOG.error("The emulator broke Stripe's contract (%s) on %s: %s", source, name, problem)


def _name(operation: Operation) -> str:
    return f"{operation.method} {operation.path}"
