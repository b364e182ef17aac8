"""How often one client may ask: a small allowance that refills steadily.

Owns one number for each client, the moment until which its allowance is spent, and forgets the oldest clients first.
Counts in this process only: it keeps one client from crowding out others, not an attack with many addresses.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_MOST: Final = 50_000


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `count` requests at once, and that many again in `seconds`."""

    name: str
    count: int
    seconds: float


class Limits:
    """Who has used how much of which limit."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._spent: dict[tuple[str, str], float] = {}

    def wait(self, limit: Limit, client: str) -> int:
        """Count one request; 0 if it may go on, else whole seconds after which the next one may."""
        now, key = self._monotonic(), (limit.name, client)
        each = limit.seconds / limit.count
        spent = max(self._spent.pop(key, now), now)
        over = spent + each - now - limit.seconds
        # A small grace, for sums of fractions are not exact.
        if over > 1e-6:
            self._spent[key] = spent
            return math.ceil(over)
        while len(self._spent) >= _MOST:
            self._spent.pop(next(iter(self._spent)))
        self._spent[key] = spent + each
        return 0
