"""Counting locally against a limit: calls of an allowance, included calls, calls of a trial.

Owns the arithmetic of one counter and the table of them. A counter starts from what Stripe had counted when the period
was first seen and goes on from there, so several processes together may go over by what the others served since.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Final, Protocol

from stripe_meter.enforcement import forks

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

    Attributes:
        used: With what is set aside for calls that run.
    """

    __slots__ = ("_held", "_lock", "included", "limit", "order", "used")

    def __init__(self, used: int, included: int, limit: int | None = None) -> None:
        self.used = used
        self._held = 0
        self.included = included
        self.limit = limit
        # `def` tools are admitted in threads; held for three additions, never across an await.
        self._lock = threading.Lock()
        #: Held around several of these steps that have to be one.
        self.order = threading.Lock()

    def after_fork(self) -> None:
        """The calls that run are the parent's, and so may be whoever holds a lock."""
        self._lock, self.order = threading.Lock(), threading.Lock()
        self.used -= self._held
        self._held = 0

    @property
    def beyond(self) -> int:
        """Units beyond the included ones, with what is set aside."""
        return self._beyond(self.used)

    @property
    def left(self) -> int | None:
        """Units until the limit; None without one."""
        return None if self.limit is None else max(0, self.limit - self.used)

    def take(self, most: int) -> bool:
        with self._lock:
            if self.limit is not None and self.used + most > self.limit:
                return False
            self.used += most
            self._held += most
            return True

    def settle(self, taken: int, used: int, tool: str) -> int:
        with self._lock:
            self._held -= taken
            # What runs meanwhile is not billed yet, so this call comes before it: together they bill what Stripe bills.
            before = self.used - taken - self._held
            self.used += used - taken
            return self._beyond(before + used) - self._beyond(before)

    def give_back(self, taken: int) -> None:
        with self._lock:
            self.used -= taken
            self._held -= taken

    def undo(self, units: int) -> int:
        """Units that were settled are taken back; returns how many fewer of all lie beyond the included ones."""
        with self.order, self._lock:
            before = self._beyond(self.used)
            self.used = max(self._held, self.used - units)
            return before - self._beyond(self.used)

    def _beyond(self, used: int) -> int:
        return max(0, used - self.included)


class Overage:
    """Calls of a plan whose customer may only spend so much: what is beyond the included ones is set aside as money.

    At every moment `cap` holds what `counter` would cost if each running call took all that it may; so the cap holds
    whatever order they end in, and included calls are served although it is reached.

    Args:
        counter: Units of the plan's period.
        cap: Money of the cap's interval.
        price: Of one unit beyond, in the unit of `cap`.
    """

    __slots__ = ("_cap", "_counter", "_price")

    def __init__(self, counter: Counter, cap: Counter, price: Callable[[int], int]) -> None:
        self._counter, self._cap, self._price = counter, cap, price

    def take(self, most: int) -> bool:
        with self._counter.order:
            before = self._counter.beyond
            if not self._counter.take(most):
                return False
            cost = self._price(self._counter.beyond) - self._price(before)
            if cost and not self._cap.take(cost):
                self._counter.give_back(most)
                return False
            return True

    def settle(self, taken: int, used: int, tool: str) -> int:
        with self._counter.order:
            before = self._counter.beyond
            billed = self._counter.settle(taken, used, tool)
            self._cap.give_back(self._price(before) - self._price(self._counter.beyond))
            spent = self._price(billed)
            self._cap.settle(spent, spent, tool)
            return billed

    def give_back(self, taken: int) -> None:
        with self._counter.order:
            before = self._counter.beyond
            self._counter.give_back(taken)
            self._cap.give_back(self._price(before) - self._price(self._counter.beyond))


@dataclass(frozen=True, slots=True)
class Period:
    """What a counter counts: usage of one customer on one meter from a moment on.

    Attributes:
        since: Unix seconds.
        terms: By what it is counted, such as the price; another one starts anew.
    """

    customer: str
    event_name: str
    since: int
    terms: tuple[object, ...] = ()


class Counters:
    """Counters by what they count."""

    def __init__(self) -> None:
        self._counters: dict[Hashable, Counter] = {}
        forks.watch(self)

    def after_fork(self) -> None:
        """Free every counter in a child."""
        for counter in self._counters.values():
            counter.after_fork()

    def get(self, key: Hashable) -> Counter | None:
        return self._counters.get(key)

    def put(self, key: Hashable, counter: Counter) -> Counter:
        """Keep the first one: whoever came meanwhile may be counting on it already."""
        while len(self._counters) >= _MOST:
            self._counters.pop(next(iter(self._counters)))
        return self._counters.setdefault(key, counter)

    def running(self, customer: str, event_name: str, moment: int) -> list[Counter]:
        """The counters of the period to which usage of that moment belongs; empty where none is kept."""
        kept = [
            (key.since, counter)
            for key, counter in self._counters.items()
            if isinstance(key, Period) and (key.customer, key.event_name) == (customer, event_name)
        ]
        begun = max((since for since, _ in kept if since <= moment), default=None)
        return [counter for since, counter in kept if since == begun]


async def counted(
    counters: Counters, period: Period, read: Callable[[], Awaitable[int]], *, included: int, limit: int | None
) -> Counter:
    """The counter of a period; read from Stripe once, counted on here."""
    known = counters.get(period)
    if known is not None:
        return known
    return counters.put(period, Counter(await read(), included, limit))
