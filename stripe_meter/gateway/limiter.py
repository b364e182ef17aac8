"""One rate limit for all our requests to Stripe, with priorities.

Owns the token bucket of this process. Stripe limits the account, so other processes of the same account are not seen
here: they are learned from 429 answers through `pause`. Lives in one event loop.

https://docs.stripe.com/rate-limits
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from enum import IntEnum


class Priority(IntEnum):
    """Who goes first when the limit bites; smaller is earlier."""

    PURCHASE = 0
    ACCOUNT = 1
    METER_EVENT = 2
    CATALOGUE = 3


class RateLimiter:
    """Lets `rate` requests a second through, at most one second's worth at once."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._tokens = max(1.0, rate)
        self._refilled = 0.0
        self._paused_until = 0.0
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

    def pause(self, seconds: float) -> None:
        """Let nothing through for `seconds`, because Stripe said so."""
        now = asyncio.get_running_loop().time()
        self._paused_until = max(self._paused_until, now + seconds)
        self._tokens = min(self._tokens, 1.0)

    def _take(self) -> float:
        """Take a token and return 0, or return the seconds until there may be one."""
        now = asyncio.get_running_loop().time()
        if now < self._paused_until:
            return self._paused_until - now
        self._tokens = min(max(1.0, self._rate), self._tokens + (now - self._refilled) * self._rate)
        self._refilled = now
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0.0
        return (1.0 - self._tokens) / self._rate

    async def _serve(self) -> None:
        while self._waiting:
            if self._waiting[0][2].done():
                heapq.heappop(self._waiting)
            elif (wait := self._take()) > 0.0:
                await asyncio.sleep(wait)
            else:
                heapq.heappop(self._waiting)[2].set_result(None)
