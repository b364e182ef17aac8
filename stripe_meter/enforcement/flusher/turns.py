"""Whose usage is sent next: what has waited longest, or, while the process is about to end, what is dearest.

Owns the order of the keys that are ready, which is those with open usage and nothing in flight, each exactly once.
Every step takes the same short time however many there are, because the books call it with their lock held.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from decimal import Decimal
from typing import TypeAlias

#: Customer, event name, and the end of the billing period the usage belongs to (Unix seconds; 0 = the current one).
Key: TypeAlias = tuple[str, str, int]


class Turns:
    """The line of keys that wait for their turn; empty is false."""

    def __init__(self) -> None:
        self._line: deque[Key] = deque()
        #: Negative price, place in the line, key; a heap. While there is one, the line is empty.
        self._dearest: list[tuple[Decimal, int, Key]] | None = None
        self._places = 0

    def __len__(self) -> int:
        return len(self._line) if self._dearest is None else len(self._dearest)

    def add(self, key: Key, amount: Decimal) -> None:
        """Put a key that has become ready at its place; `amount` is what its usage costs so far."""
        if self._dearest is None:
            self._line.append(key)
        else:
            self._places += 1
            heapq.heappush(self._dearest, (-amount, self._places, key))

    def take(self) -> Key | None:
        """Whose turn it is; None when nobody waits."""
        if self._dearest is None:
            return self._line.popleft() if self._line else None
        return heapq.heappop(self._dearest)[2] if self._dearest else None

    def by_age(self) -> None:
        """From now on, as in the beginning, what has waited longest first."""
        if self._dearest is not None:
            self._line.extend(key for _, _, key in sorted(self._dearest, key=lambda entry: entry[1]))
            self._dearest = None

    def by_price(self, amount_of: Callable[[Key], Decimal]) -> None:
        """From now on the dearest first; ordered once, so what a key adds while it waits does not move it."""
        if self._dearest is None:
            self._dearest = [(-amount_of(key), place, key) for place, key in enumerate(self._line)]
            self._places = len(self._line)
            heapq.heapify(self._dearest)
            self._line.clear()
