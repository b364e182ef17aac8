"""Faults on demand: what goes wrong between a client and Stripe.

Owns: a plan of faults matched by method and path prefix. Does not own: acting them out (`app`). Faults are taken in
the order they were added; one that has happened `times` times is gone.
"""

import random
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from stripe_meter.emulator.errors import JSON

Kind = Literal["status", "slow", "lost", "late", "garbage"]
KINDS: Final = get_args(Kind)
MAX_PLANNED: Final = 10_000
# What a client of Stripe meets in the wild; chosen from by seed.
USUAL: Final[tuple[JSON, ...]] = (
    {"kind": "status", "status": 429, "reason": "endpoint-rate"},
    {"kind": "status", "status": 429, "code": "lock_timeout"},
    {"kind": "status", "status": 500, "stored": True},
    {"kind": "status", "status": 500, "stored": True, "effect": True},
    {"kind": "status", "status": 503},
    {"kind": "status", "status": 503, "effect": True},
    {"kind": "slow", "seconds": 0.02},
    {"kind": "lost"},
    {"kind": "lost", "effect": False},
    {"kind": "late", "seconds": 0.1},
    {"kind": "garbage"},
)


@dataclass(slots=True)
class Fault:
    """One planned fault.

    `status`: answer `status` (with `reason` as Stripe-Rate-Limited-Reason, `retry_after` seconds, `code`); the
    request takes effect first if `effect`, and the answer is kept under its idempotency key if `stored`.
    `slow`: wait `seconds`, then go on normally; take effect before that wait if `effect`. `lost`: take effect (unless
    `effect=False`) and close the connection without a reply. `late`: close at once and take effect `seconds` later.
    `garbage`: a 200 with HTML.
    """

    kind: Kind
    method: str = "*"
    path: str = "/"
    times: int = 1
    skip: int = 0
    status: int = 500
    reason: str | None = None
    retry_after: int | None = None
    code: str | None = None
    effect: bool | None = None
    stored: bool = False
    seconds: float = 0.0

    def body(self) -> JSON:
        """The error body of a `status` fault."""
        if self.status == 429:
            error: JSON = {"message": "Request rate limit exceeded.", "type": "invalid_request_error"}
            if self.code != "lock_timeout":
                error["code"] = "rate_limit"
        else:
            error = {"message": "An unknown error occurred.", "type": "api_error"}
        if self.code is not None:
            error["code"] = self.code
        return {"error": error}

    def headers(self) -> dict[str, str]:
        """The extra headers of a `status` fault."""
        headers = {}
        if self.status == 429:
            if self.code == "lock_timeout":
                headers["Stripe-Should-Retry"] = "true"
            else:
                headers["Stripe-Rate-Limited-Reason"] = self.reason or "global-rate"
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        return headers


class Faults:
    """The plan."""

    def __init__(self) -> None:
        self._plan: list[Fault] = []

    def add(self, **fields: Any) -> Fault:
        """Plan a fault; the fields are those of `Fault`. Raises TypeError or ValueError for what it does not know."""
        if fields.get("kind") not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}")
        if len(self._plan) >= MAX_PLANNED:
            raise ValueError(f"at most {MAX_PLANNED} faults can be planned")
        fault = Fault(**fields)
        self._plan.append(fault)
        return fault

    def plan_from(self, seed: int, length: int, *, path: str = "/v1", faulty: float = 0.3) -> list[Fault]:
        """Plan faults for the next `length` requests under `path`; the same seed plans the same ones again.

        About `faulty` of the requests meet one. Print the seed of a failing run, and the run can be had again.
        """
        dice = random.Random(seed)  # noqa: S311  # repeatable on purpose
        planned: list[Fault] = []
        skip = 0  # a fault waits for the good requests before it; those that met a fault do not count
        for _ in range(length):
            if dice.random() >= faulty:
                skip += 1
                continue
            fields = dict(dice.choice(USUAL))
            planned.append(self.add(path=path, skip=skip, **fields))
        return planned

    def clear(self) -> None:
        """Forget all faults."""
        self._plan.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """The fault this request meets, if any; uses it up once."""
        for fault in self._plan:
            if fault.method in ("*", method) and path.startswith(fault.path):
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                if fault.times <= 0:
                    self._plan.remove(fault)
                return fault
        return None
