"""Counting locally against a limit: calls of an allowance, included calls, calls of a trial.

Owns the arithmetic of one counter and the table of them. A counter starts from what Stripe had counted when the period
was first seen and goes on from there, so several processes together may go over by what the others served since.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Protocol

#: Counters kept; the one unused for longest makes room, and is read from Stripe again when it is needed.
_MOST: Final = 100_000


class Purse(Protocol):
    """What a call may be paid from without asking anybody."""

    def take(self, most: int) -> bool:
        """Set `most` units aside for a call that begins; False when there is not so much."""

    def settle(self, taken: int, used: int, tool: str) -> int:
        """The call used `used` units; returns how many of them cost money beyond what was included."""

    def give_back(self, taken: int) -> None:
        """The call was free after all."""


class Counter:
    """Units used in one period.

    Args:
        used: What Stripe has counted already.
        included: Units that cost nothing extra.
        limit: Units after which nothing is served, or None.
    """

    __slots__ = ("_lock", "included", "limit", "used")

    def __init__(self, used: int, included: int, limit: int | None = None) -> None:
        self.used = used
        self.included = included
        self.limit = limit
        # `def` tools are admitted in threads; held for three additions, never across an await.
        self._lock = threading.Lock()

    @property
    def left(self) -> int | None:
        """Units until the limit; None without one."""
        return None if self.limit is None else max(0, self.limit - self.used)

    def take(self, most: int) -> bool:
        with self._lock:
            if self.limit is not None and self.used + most > self.limit:
                return False
            self.used += most
            return True

    def settle(self, taken: int, used: int, tool: str) -> int:
        with self._lock:
            before = self.used - taken
            self.used = before + used
            return max(0, self.used - self.included) - max(0, before - self.included)

    def give_back(self, taken: int) -> None:
        with self._lock:
            self.used -= taken


class Counters:
    """Counters by what they count: customer, meter and start of the period."""

    def __init__(self) -> None:
        self._counters: dict[Hashable, Counter] = {}

    def get(self, key: Hashable) -> Counter | None:
        return self._counters.get(key)

    def put(self, key: Hashable, counter: Counter) -> Counter:
        """Keep the first one: whoever came meanwhile may be counting on it already."""
        while len(self._counters) >= _MOST:
            self._counters.pop(next(iter(self._counters)))
        return self._counters.setdefault(key, counter)


async def counted(
    counters: Counters, key: tuple[object, ...], read: Callable[[], Awaitable[int]], *, included: int, limit: int | None
) -> Counter:
    """The counter of a period; read from Stripe once, counted on here."""
    known = counters.get(key)
    if known is not None:
        return known
    return counters.put(key, Counter(await read(), included, limit))
