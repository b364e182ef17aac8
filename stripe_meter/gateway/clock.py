"""Stripe's clock, as learned from the `Date` header of its answers.

Owns the offset between this machine's wall clock and Stripe's. A meter event stamped by a clock that runs minutes
fast would be rejected long after the call was answered. Median of the last answers; a jump of more than a minute
(a test clock, a suspended laptop) replaces them all.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Final

_SAMPLES: Final = 9
_JUMP: Final = 60.0


class StripeClock:
    """Seconds since 1970 as Stripe counts them. Callable from any thread."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._samples: deque[float] = deque(maxlen=_SAMPLES)
        self.offset = 0.0

    def now(self) -> float:
        return self._wall() + self.offset

    def follow(self, wall: Callable[[], float]) -> None:
        """Count by another wall clock; what was learned about the one before is forgotten."""
        self._wall = wall
        self._samples.clear()
        self.offset = 0.0

    def learn(self, date: str | None) -> None:
        """Take in one `Date` header; anything unreadable is ignored."""
        try:
            stripe_now = parsedate_to_datetime(date or "").timestamp()
        except (TypeError, ValueError):
            return
        # The header has whole seconds: on average the answer left half a second later.
        sample = stripe_now + 0.5 - self._wall()
        if abs(sample - self.offset) > _JUMP:
            self._samples.clear()
        self._samples.append(sample)
        middle = sorted(self._samples)[len(self._samples) // 2]
        # Within the header's own coarseness our clock is the better one.
        self.offset = middle if abs(middle) > 1.0 else 0.0
