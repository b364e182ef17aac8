"""Rate limits: how many calls of one customer are served in a while, under their plan and overall.

Owns `Subscription(rate_limit=…)` and the setting `rate_limit`. Both are counted for each customer, with the sliding
window of `limits`: the window before fades out while the running one fills, so the limit holds on average over any
stretch of time and no list of moments is kept. The count of this process is in memory and never waits. Without Redis
every process counts for itself, so n processes serve up to n times as much. With Redis, `fleet` adds what the other
processes served: learned before a customer's first call here, and a moment after each further one.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from stripe_meter.domain import refusals
from stripe_meter.domain.plans import Subscription
from stripe_meter.domain.terms import RateLimit, parse_rate_limit
from stripe_meter.enforcement import forks

if TYPE_CHECKING:
    from limits import RateLimitItem
    from limits.storage import MemoryStorage
    from limits.strategies import SlidingWindowCounterRateLimiter

    from stripe_meter.domain.refusals import Refusal
    from stripe_meter.domain.tools import Tool
    from stripe_meter.enforcement.fleet import Fleet
    from stripe_meter.enforcement.flusher.thread import StripeThread
    from stripe_meter.enforcement.shelf import Shelf
    from stripe_meter.settings import Settings

log = logging.getLogger("stripe_meter")

#: Customers whose limits are kept; the one first seen makes room.
_MOST: Final = 100_000
_UNITS: Final = {1: "a second", 60: "a minute", 3600: "an hour", 86_400: "a day"}


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit under a name of its own: limits of different names are counted apart."""

    name: str
    terms: RateLimit

    @property
    def item(self) -> RateLimitItem:
        from limits import RateLimitItemPerSecond

        return RateLimitItemPerSecond(self.terms.calls, self.terms.seconds, namespace="stripe_meter")

    def __str__(self) -> str:
        return f"{self.terms.calls} calls {_UNITS[self.terms.seconds]}"


def limits_of(plan: str | None, shelf: Shelf, settings: Settings) -> tuple[Limit, ...]:
    """What limits a customer on that plan, or on none."""
    overall = settings.rate_limit
    limits = [] if overall is None else [Limit("overall", parse_rate_limit(overall))]
    offered = next((p for p in shelf.offering.plans if p.name == plan), None)
    if isinstance(offered, Subscription) and offered.limit is not None:
        limits.append(Limit(f"plan:{plan}", offered.limit))
    return tuple(limits)


class Window:
    """The calls of one customer under one limit.

    Args:
        counting: The window of this process.
        changed: Told after each call, where other processes want to know of it.
    """

    __slots__ = ("_changed", "_counting", "_item", "_shut_until", "customer", "is_told", "limit", "untold")

    def __init__(
        self,
        limit: Limit,
        customer: str,
        counting: SlidingWindowCounterRateLimiter,
        changed: Callable[[Window], None] | None,
    ) -> None:
        self.limit, self.customer, self._counting, self._changed = limit, customer, counting, changed
        self._item = limit.item
        self._shut_until = 0.0
        #: One entry for each call that other processes do not know of yet; whether somebody is about to tell them.
        self.untold: deque[None] = deque()
        self.is_told = False

    @property
    def key(self) -> tuple[str, str]:
        return self.limit.name, self.customer

    @property
    def item(self) -> RateLimitItem:
        return self._item

    @property
    def is_open(self) -> bool:
        """Whether one more call may be counted. Callable from any thread, never waits."""
        return time.time() >= self._shut_until and self._counting.test(self._item, *self.key)

    def take(self) -> bool:
        """Count one more call; False when the limit is reached. Callable from any thread, never waits."""
        if time.time() < self._shut_until:
            return False
        try:
            if not self._counting.hit(self._item, *self.key):
                return False
        except RuntimeError:  # the library tidies up in a thread, which an ending interpreter does not start
            return True
        if self._changed is not None:
            self.untold.append(None)
            self._changed(self)
        return True

    def shut(self, until: float) -> None:
        """All processes together have reached the limit; Unix seconds."""
        self._shut_until = until

    @property
    def wait(self) -> int:
        """Whole seconds until a call is served again; 0 while one is."""
        now = time.time()
        until = self._shut_until
        if not self._counting.test(self._item, *self.key):
            until = max(until, self._counting.get_window_stats(self._item, *self.key).reset_time)
        elif now >= until:
            return 0
        return max(1, math.ceil(until - now))


@dataclass(frozen=True, slots=True)
class Gauge:
    """Every limit that one customer is under."""

    windows: tuple[Window, ...]

    def take(self) -> bool:
        """Count one more call; False, and nothing is counted, when one of the limits is reached."""
        windows = self.windows
        # What was counted cannot be given back, so with several limits all are asked first.
        return (len(windows) == 1 or all(window.is_open for window in windows)) and all(w.take() for w in windows)

    @property
    def is_shut(self) -> bool:
        """Whether no call is served now."""
        return any(window.wait for window in self.windows)

    def refusal(self, tool: Tool, price: str) -> Refusal:
        """Which limit is reached, and when a call is served again."""
        wait, limit = max(((window.wait, window.limit) for window in self.windows), key=lambda pair: pair[0])
        return refusals.rate_limited(tool.name, price, f"At most {limit} are served to you.", max(1, wait))


class Throttle:
    """The gauges of this process."""

    def __init__(self, shelf: Shelf, thread: StripeThread, settings: Callable[[], Settings]) -> None:
        self._shelf, self._thread, self._settings = shelf, thread, settings
        self._gauges: dict[tuple[str, str | None], Gauge] = {}
        self._counting: SlidingWindowCounterRateLimiter | None = None
        self._fleet: Fleet | None = None
        forks.watch(self)

    def after_fork(self) -> None:
        """A lock of the library's memory may be held by a thread that a child has not."""
        if self._counting is not None:
            cast("MemoryStorage", self._counting.storage).locks.clear()

    async def gauge(self, customer: str, plan: str | None) -> Gauge | None:
        """What limits a customer on this plan; None for most."""
        known = self._gauges.get((customer, plan))
        if known is not None:
            return known
        limits = limits_of(plan, self._shelf, self._settings())
        if not limits:
            return None
        changed = self._begin()
        assert self._counting is not None
        gauge = Gauge(tuple(Window(limit, customer, self._counting, changed) for limit in limits))
        if self._fleet is not None:
            for window in gauge.windows:
                await self._fleet.look(window)
        while len(self._gauges) >= _MOST:
            self._gauges.pop(next(iter(self._gauges)))
        return self._gauges.setdefault((customer, plan), gauge)

    def _begin(self) -> Callable[[Window], None] | None:
        """What a window tells its calls to. The library's memory starts a thread, so it is made when it is needed."""
        if self._counting is None:
            from limits.storage import MemoryStorage
            from limits.strategies import SlidingWindowCounterRateLimiter

            url = self._settings().redis_url
            if url is not None:
                from stripe_meter.enforcement.fleet import Fleet

                self._fleet = Fleet(url.get_secret_value(), self._settings().namespace, self._thread)
            self._counting = SlidingWindowCounterRateLimiter(MemoryStorage())
        return None if self._fleet is None else self._fleet.told
