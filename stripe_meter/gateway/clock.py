"""Stripe's clock, as learned from the `Date` header of its answers.

Owns what Stripe's clock shows when this machine's steady one shows 0. A meter event stamped by a clock that runs
minutes fast would be rejected long after the call was answered, and the wall clock may be set at any moment; so from
the first answer on time goes by the steady clock, which nobody sets and which goes on while a laptop sleeps. Median of
the last answers; a jump of more than a minute (a test clock, a virtual machine that was paused) replaces them all.
Until the answer after such a pause this clock is slow, never fast.
"""

from __future__ import annotations

import logging
import sys
import time
from collections import deque
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Final

log = logging.getLogger("stripe_meter")

_SAMPLES: Final = 9
_JUMP: Final = 60.0
#: The header has whole seconds: within one of them, the wall clock is the better one.
_COARSE: Final = 1.0
#: Seconds by which the wall clock may be set without anybody being told.
_SET: Final = 5.0


def steady() -> float:
    """Seconds that nobody sets, and that pass while the machine sleeps."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    if sys.platform == "darwin":  # here `monotonic` stands still in sleep
        return time.clock_gettime(time.CLOCK_MONOTONIC_RAW)
    return time.monotonic()


class StripeClock:
    """Seconds since 1970 as Stripe counts them. Callable from any thread.

    Args:
        wall: Unix seconds; may be set at any moment.
        steady: Seconds from any beginning.
    """

    def __init__(self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = steady) -> None:
        self.follow(wall, steady)

    def now(self) -> float:
        anchor = self._anchor
        return self._wall() if anchor is None else self._steady() + anchor

    @property
    def offset(self) -> float:
        """Seconds by which Stripe's clock is ahead of this machine's."""
        return self.now() - self._wall()

    def follow(self, wall: Callable[[], float], steady: Callable[[], float] = steady) -> None:
        """Count by other clocks; what was learned about the ones before is forgotten.

        A clock that is moved by hand is both: what it says is so.
        """
        self._wall, self._steady = wall, steady
        self._samples: deque[float] = deque(maxlen=_SAMPLES)
        #: Stripe's time when the steady clock shows 0; None before the first answer, when the wall clock has to do.
        self._anchor: float | None = None
        self._set_at = wall() - steady()
        self._has_told = False

    def learn(self, date: str | None) -> None:
        """Take in one `Date` header; anything unreadable is ignored."""
        try:
            stripe_now = parsedate_to_datetime(date or "").timestamp()
        except (TypeError, ValueError):
            return
        now = self._steady()
        wall = self._wall() - now
        # On average the answer left half a second later.
        sample = stripe_now + 0.5 - now
        if self._anchor is not None and abs(sample - self._anchor) > _JUMP:
            self._samples.clear()
        self._samples.append(sample)
        middle = sorted(self._samples)[len(self._samples) // 2]
        self._anchor = wall if abs(wall - middle) <= _COARSE else middle
        if abs(wall - self._set_at) > _SET and not self._has_told:
            self._has_told = True
            log.warning(
                "this machine's clock was set by %+.0f seconds while the server ran; usage is dated by Stripe's clock "
                "and not touched by it, but look at how this machine keeps time",
                wall - self._set_at,
            )
