"""Rate limits for our requests to Stripe, with priorities, learning from Stripe's own answers.

Owns the token bucket of this process. Stripe limits the account, so other processes of the same account are not seen
here: their share is learned from 429 answers, which lower the rate at once and let it recover slowly. Lives in one
event loop.

https://docs.stripe.com/rate-limits
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import time
from enum import IntEnum
from typing import Final

_LOWERED_BY: Final = 0.7
_RECOVERS_BY: Final = 0.05
_SLOWEST: Final = 1.0
#: A longer wait is looked at again after this long, because a process that ends cuts it short.
_LOOK_AGAIN: Final = 0.25


class Priority(IntEnum):
    """Who goes first when the limit bites; smaller is earlier."""

    LEASE = 0
    PURCHASE = 1
    DRAIN = 2
    ACCOUNT = 3
    METER_EVENT = 4
    CATALOGUE = 5
    STRANGER = 6
    STATISTICS = 7


class RateLimiter:
    """Lets `rate` requests a second through, at most one second's worth at once."""

    def __init__(self, rate: float) -> None:
        self._highest = rate
        self.rate = rate
        self._tokens = max(1.0, rate)
        self._refilled = 0.0
        self._paused_until = 0.0
        self._longest_pause = math.inf
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._pump: asyncio.Task[None] | None = None

    async def acquire(self, priority: Priority) -> None:
        """Return when one request may be sent."""
        if not self._waiting and self._take() == 0.0:
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (priority, next(self._order), turn))
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._serve())
        await turn

    @property
    def paused_for(self) -> float:
        """Seconds until anything may be sent again; callable from any thread."""
        return max(0.0, self._paused_until - time.monotonic())

    def slow_down(self, seconds: float) -> None:
        """Stripe said that we are too fast: nothing for `seconds`, and a lower rate for a while after."""
        now = asyncio.get_running_loop().time()
        seconds = min(seconds, self._longest_pause)
        if now >= self._paused_until:
            # Answers to requests that were on the way together are one piece of news.
            self.rate = max(_SLOWEST, self.rate * _LOWERED_BY)
        self._paused_until = max(self._paused_until, now + seconds)
        self._tokens = min(self._tokens, 1.0)

    def hurry(self) -> None:
        """The process is about to end and loses what it does not send: from now on ask again after a moment."""
        self._longest_pause = _LOOK_AGAIN
        self._paused_until = min(self._paused_until, asyncio.get_running_loop().time() + _LOOK_AGAIN)

    def resume(self) -> None:
        """It did not end: wait again as long as Stripe asks for."""
        self._longest_pause = math.inf

    def _take(self) -> float:
        """Take a token and return 0, or return the seconds until there may be one."""
        now = asyncio.get_running_loop().time()
        if now < self._paused_until:
            return self._paused_until - now
        passed = now - self._refilled
        self.rate = min(self._highest, self.rate + self._highest * _RECOVERS_BY * min(passed, 60.0))
        self._tokens = min(max(1.0, self.rate), self._tokens + passed * self.rate)
        self._refilled = now
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0.0
        return (1.0 - self._tokens) / self.rate

    async def _serve(self) -> None:
        while self._waiting:
            if self._waiting[0][2].done():
                heapq.heappop(self._waiting)
            elif (wait := self._take()) > 0.0:
                await asyncio.sleep(min(wait, _LOOK_AGAIN))
            else:
                heapq.heappop(self._waiting)[2].set_result(None)
