"""What all processes of a seller count together, in Redis: so far the calls under rate limits.

Owns the way there and back. Runs in the Stripe thread, beside the calls: a call is counted in memory and told a moment
later, so processes together may go over a limit by what they serve within that moment. While Redis cannot be reached
every process counts for itself, and the log says so.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import ConfigurationError as Unusable
from limits.errors import StorageError

from stripe_meter.errors import ConfigurationError

if TYPE_CHECKING:
    from stripe_meter.enforcement.flusher.thread import StripeThread
    from stripe_meter.enforcement.throttle import Window

log = logging.getLogger("stripe_meter")

#: Seconds for which calls gather before the others are told.
GATHER: Final = 0.1
#: Seconds that Redis may take to answer.
_PATIENCE: Final = 0.5
_WARN_EVERY: Final = 60.0


class Fleet:
    """The shared count.

    Args:
        url: `redis://…`, `rediss://…` or `redis+unix://…`.
        namespace: Sellers of different namespaces do not count together.

    Made in the loop of the Stripe thread, whose end closes the connection.

    Raises:
        ConfigurationError: The client for Redis is not installed, or cannot use the address.
    """

    def __init__(self, url: str, namespace: str, thread: StripeThread) -> None:
        self._url, self._namespace, self._thread = url, namespace, thread
        self._warned_at = -_WARN_EVERY
        self._tasks: set[asyncio.Task[None]] = set()
        self._open()

    def _open(self) -> None:
        try:
            storage = RedisStorage(
                f"async+{self._url}",
                wrap_exceptions=True,
                implementation="redispy",
                key_prefix=f"stripe_meter:{self._namespace}",
                socket_timeout=_PATIENCE,
                socket_connect_timeout=_PATIENCE,
            )
        except Unusable:
            if find_spec("redis") is None:
                raise ConfigurationError(
                    'REDIS_URL is set, but the client for Redis is missing; run pip install "stripe-meter[redis]"'
                ) from None
            raise ConfigurationError(
                "REDIS_URL is no address that the client for Redis can use; write for example redis://127.0.0.1:6379/0"
            ) from None
        self._counting = SlidingWindowCounterRateLimiter(storage)
        self._process = os.getpid()
        self._closing = asyncio.create_task(_close_at_the_end(storage))

    def told(self, window: Window) -> None:
        """A call was served here. Callable from any thread, never waits."""
        if not window.is_told:
            window.is_told = True
            self._thread.in_loop(lambda: self._begin(window))

    async def look(self, window: Window) -> None:
        """Shut the window if the others have used the limit up."""
        try:
            stats = await self._limiter.get_window_stats(window.item, *window.key)
        except StorageError as error:
            self._warn(error)
            return
        if stats.remaining < 1:
            window.shut(stats.reset_time)

    @property
    def _limiter(self) -> SlidingWindowCounterRateLimiter:
        if self._process != os.getpid():  # forked: the connection is the parent's
            self._open()
        return self._counting

    def _begin(self, window: Window) -> None:
        task = asyncio.create_task(self._tell(window))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell(self, window: Window) -> None:
        await asyncio.sleep(GATHER)
        window.is_told = False
        calls = len(window.untold)
        for _ in range(calls):
            window.untold.popleft()
        try:
            if not await self._limiter.hit(window.item, *window.key, cost=calls):
                # More than was left: count what was, so that the others stop as well.
                left = (await self._limiter.get_window_stats(window.item, *window.key)).remaining
                if left > 0:
                    await self._limiter.hit(window.item, *window.key, cost=min(left, calls))
        except StorageError as error:
            self._warn(error)
            return
        await self.look(window)

    def _warn(self, error: Exception) -> None:
        now = time.monotonic()
        if now - self._warned_at >= _WARN_EVERY:
            self._warned_at = now
            kind = type(error.__cause__ or error).__name__
            log.warning("Redis cannot be reached (%s): every process counts calls for itself meanwhile", kind)


async def _close_at_the_end(storage: RedisStorage) -> None:
    bridge: Any = storage.bridge  # its client is reached by no other way
    client = bridge.storage
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        await client.aclose()
