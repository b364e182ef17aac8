"""The Stripe thread: one daemon thread with its own loop, in which everything that talks to Stripe runs.

Owns the thread's life – started by first use, one for each process, deaf to the server's loops – and the way in for
calls from other threads. Slow Stripe or a tool that blocks its loop therefore never hold each other up. When the thread
cannot start (no key), whoever calls gets that error.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from stripe_meter.enforcement.flusher.exposure import Exposure
from stripe_meter.enforcement.flusher.tallies import FlusherStats, Tallies
from stripe_meter.errors import StripeMeterError, StripeUnavailable
from stripe_meter.gateway.clock import StripeClock

if TYPE_CHECKING:
    from stripe_meter.enforcement.flusher.sender import Sender
    from stripe_meter.gateway.gateway import Gateway

log = logging.getLogger("stripe_meter.flusher")
T = TypeVar("T")

#: Held while the SDK is imported and warmed, and across a fork: a child must not inherit a half-imported module.
IMPORTING: Final = threading.RLock()
#: Loops and clients of parent processes: collecting one in a child could close sockets the parent still uses.
_INHERITED: Final[list[object]] = []

#: Seconds that usage may merge before it is sent; with the request itself it is at Stripe within a second.
WINDOW: Final = 0.4

#: Seconds of draining that an MCP client on stdio leaves a server (it kills after 2 + 2), and that others do.
STDIO_DEADLINE: Final = 1.5
#: Seconds at the end for requests that are on their way.
_COURTESY: Final = 0.25
SERVER_DEADLINE: Final = 5.0


class InlineExecutor(concurrent.futures.ThreadPoolExecutor):
    """Runs what it is given at once: at interpreter exit, pools refuse work, and name look-ups would fail."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[T]:
        future: concurrent.futures.Future[T] = concurrent.futures.Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # it belongs to whoever asks the future
            future.set_exception(error)
        return future


class Holdings(Protocol):
    """What a process took at Stripe in advance and gives back when it ends."""

    @property
    def is_empty(self) -> bool: ...

    async def give_back(self) -> None:
        """Take nothing more; return when everything was given back."""

    def remainder(self) -> list[tuple[str, int]]:
        """Who is still without how much."""

    def reset(self) -> None:
        """In a forked child: all of it is the parent's."""


class StripeThread:
    """Runs coroutines next to the gateway, and the flusher beside them."""

    def __init__(self, open_gateway: Callable[[StripeThread], Gateway]) -> None:
        self._open_gateway = open_gateway
        self.deadline = SERVER_DEADLINE
        self.clock = StripeClock()
        self.tallies = Tallies(self._wake, now=self.clock.now)
        #: Bounds and merging window; `open_gateway` sets them from the settings before anything is sent.
        self.exposure = Exposure(most_seconds=300.0, most_amount=5000)
        self.window = WINDOW
        #: Whether every call waits for its own delivery, not only while the process drains.
        self.is_sync = False
        #: Given back at the end, beside the usage that is sent.
        self.holdings: Holdings | None = None
        #: Bound once: it is on the warm path of every paid call.
        self.add = self.tallies.add
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._gateway: Gateway | None = None
        self._sender: Sender | None = None
        #: Done when the gateway is open, or failed with why it cannot be.
        self._started: concurrent.futures.Future[asyncio.AbstractEventLoop] = concurrent.futures.Future()
        self._tasks: set[asyncio.Future[Any]] = set()
        self.stopping = False
        #: Whether a call that ends now answers only when Stripe has its usage. Plain, for every paid call looks.
        self.waits = self.is_sync
        self._closed = False

    # Called from any thread.

    def start(self) -> None:
        """Start the thread unless it runs; returns at once."""
        with self._lock:
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._main, name="stripe-meter", daemon=True)
                self._thread.start()

    async def call(self, work: Callable[[Gateway], Awaitable[T]], timeout: float) -> T:
        """Run `work` in the thread and wait at most `timeout` seconds for it.

        Raises:
            StripeUnavailable: It took too long; the work is cancelled, nobody knows how it ended.
            StripeMeterError: What `work` raised, or why there is no gateway.
        """
        self.start()
        try:
            async with asyncio.timeout(timeout):
                loop = await asyncio.shield(asyncio.wrap_future(self._started))
                return await asyncio.wrap_future(self._submit(work, loop))
        except TimeoutError:
            raise StripeUnavailable("Stripe did not answer in time", ambiguous=True) from None

    def call_blocking(self, work: Callable[[Gateway], Awaitable[T]], timeout: float) -> T:
        """The same for a thread without a loop."""
        self.start()
        began = time.monotonic()
        future = None
        try:
            loop = self._started.result(timeout)
            future = self._submit(work, loop)
            return future.result(timeout - (time.monotonic() - began))
        except TimeoutError:
            if future is not None:
                future.cancel()
            raise StripeUnavailable("Stripe did not answer in time", ambiguous=True) from None

    def _submit(
        self, work: Callable[[Gateway], Awaitable[T]], loop: asyncio.AbstractEventLoop
    ) -> concurrent.futures.Future[T]:
        if self._closed:
            raise StripeUnavailable("this server is shutting down", ambiguous=False, retry_after=5.0)
        return asyncio.run_coroutine_threadsafe(self._with_gateway(work), loop)

    def beside(self, work: Callable[[Gateway], Awaitable[object]]) -> None:
        """Run `work` in the thread without anybody waiting for it; its failure is its own business."""
        if self._loop is not None and not self._closed:
            self._in_loop(lambda: self._spawn(self._with_gateway(work)))

    async def delivered(self, customer: str, event_name: str) -> bool:
        """Wait, within the deadline, until Stripe has answered for what this customer has pending on this meter."""
        try:
            await self.call(lambda _: self._delivered(customer, event_name), self.deadline)
        except StripeMeterError:
            return False
        return True

    def hurry(self) -> None:
        """From now on send at once; calls wait for their own delivery."""
        self.stopping = self.waits = True
        self._in_loop(lambda: self._sender.hurry() if self._sender else None)

    def hurry_then(self, done: Callable[[], None]) -> None:
        """Hurry, and call `done` from the thread when nothing is pending, or at the deadline."""
        self.stopping = self.waits = True
        self._in_loop(lambda: self._spawn(self._drain_then(done)))

    def flush(self, timeout: float) -> bool:
        """Wait until Stripe has everything, at most `timeout` seconds; whether it has."""
        if self._thread is None or self.tallies.is_empty:
            return self.tallies.is_empty
        try:
            self.call_blocking(lambda _: self._drained(), timeout)
        except StripeMeterError:
            return False
        return True

    @property
    def is_settled(self) -> bool:
        """Whether the process may end: no usage is pending, and nothing is held."""
        return self.tallies.is_empty and (self.holdings is None or self.holdings.is_empty)

    def drain(self, timeout: float) -> None:
        """Wait, at most `timeout` seconds, until usage is sent and everything held is given back."""
        if self._thread is not None and not self.is_settled:
            with contextlib.suppress(StripeMeterError):
                self.call_blocking(lambda _: self._settled(), timeout)

    def close(self) -> None:
        """Drain within the deadline and end the thread. Starts no thread, so it is safe at interpreter exit."""
        thread = self._thread
        if thread is None or self._closed:
            self._closed = True
            return
        self.hurry()
        self._closed = True
        began = time.monotonic()
        with contextlib.suppress(Exception):
            self._started.result(self.deadline)
        self._in_loop(lambda: self._spawn(self._finish(began)))
        thread.join(self.deadline + 1.0)
        rest = self.tallies.remainder()
        if rest:
            units = ", ".join(f"{quantity} on {meter} of {customer}" for customer, meter, quantity, _ in rest[:20])
            log.error("ended with usage that Stripe has not accepted, %d entries: %s", len(rest), units)
        for wallet, units_held in self.holdings.remainder() if self.holdings is not None else ():
            log.error("ended with up to %d units of the credits of %s not given back", units_held, wallet)

    def stats(self) -> FlusherStats:
        return self.tallies.stats()

    # Around a fork.

    def before_fork(self) -> None:
        self.tallies.hold()

    def after_fork_in_parent(self) -> None:
        self.tallies.let_go()

    def after_fork_in_child(self) -> None:
        _INHERITED.append((self._loop, self._gateway, self._sender, self._thread))
        self.tallies.reset()
        self._reset()
        if self.holdings is not None:
            self.holdings.reset()

    # In the thread.

    def _main(self) -> None:
        loop = asyncio.new_event_loop()
        loop.set_default_executor(InlineExecutor(1))
        try:
            loop.run_until_complete(self._live(loop))
        finally:
            loop.close()

    async def _live(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            with IMPORTING:
                from stripe_meter.enforcement.flusher.sender import Sender

                self._gateway = self._open_gateway(self)
                self._sender = Sender(self.tallies, self.exposure, self.clock, self.window)
        except Exception as error:  # it belongs to whoever calls
            self._started.set_exception(error)
            return
        self._loop = loop
        self._stop = asyncio.Event()
        self._started.set_result(loop)
        sending = asyncio.create_task(self._sender.run(self._gateway))
        if self.stopping:
            self._sender.hurry()
        self._sender.wake()
        await self._stop.wait()
        if running := [task for task in self._tasks if not task.done()]:
            # A request that is cut off leaves its connection open.
            await asyncio.wait(running, timeout=_COURTESY)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(sending, *others, return_exceptions=True)
        await self._gateway.close()

    async def _with_gateway(self, work: Callable[[Gateway], Awaitable[T]]) -> T:
        assert self._gateway is not None
        return await work(self._gateway)

    async def _drained(self) -> None:
        assert self._sender is not None
        await self._sender.drained()

    async def _settled(self) -> None:
        await asyncio.gather(self._drained(), *([] if self.holdings is None else [self.holdings.give_back()]))
        # A call that ended meanwhile may have been charged.
        await self._drained()

    async def _delivered(self, customer: str, event_name: str) -> None:
        assert self._sender is not None
        await self._sender.delivered(customer, event_name)

    async def _drain_then(self, done: Callable[[], None]) -> None:
        assert self._sender is not None
        self._sender.hurry()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.deadline):
                await self._settled()
        done()

    async def _finish(self, began: float) -> None:
        remaining = max(0.05, self.deadline - (time.monotonic() - began))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(remaining):
                await self._settled()
        self._stop.set()

    def errand(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin work that nobody waits for; called in the thread's loop. At the end it is given a moment."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _spawn(self, work: Coroutine[Any, Any, object]) -> None:
        self.errand(work)

    def _wake(self) -> None:
        self.start()
        self._in_loop(lambda: self._sender.wake() if self._sender else None)

    def in_loop(self, action: Callable[[], object]) -> None:
        """Run `action` soon in the thread's loop, if there is one; callable from any thread."""
        self._in_loop(action)

    def _in_loop(self, action: Callable[[], object]) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(action)
