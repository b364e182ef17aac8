"""The Stripe thread: one daemon thread with its own loop, in which everything that talks to Stripe runs.

Owns the thread's life – started by first use, one for each process, deaf to the server's loops, ended by `leave` – and
the way in for calls from other threads. Slow Stripe or a tool that blocks its loop therefore never hold each other up.
When the thread cannot start (no key), whoever calls gets that error.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar

from stripe_meter.domain.usage import Batch, Charge
from stripe_meter.enforcement.flusher.exposure import Exposure
from stripe_meter.enforcement.flusher.lookups import LookUps
from stripe_meter.enforcement.flusher.remainder import Holdings, Remainder
from stripe_meter.enforcement.flusher.tallies import FlusherStats, Tallies
from stripe_meter.errors import StripeMeterError, StripeUnavailable
from stripe_meter.gateway.clock import StripeClock

if TYPE_CHECKING:
    from stripe_meter.enforcement.flusher.sender import Sender
    from stripe_meter.gateway.gateway import Gateway

T = TypeVar("T")

#: Held while the SDK is imported and warmed, and across a fork: a child must not inherit a half-imported module.
IMPORTING: Final = threading.RLock()
#: Loops and clients of parent processes: collecting one in a child could close sockets the parent still uses.
_INHERITED: Final[list[object]] = []

#: Seconds that usage may merge before it is sent; with the request itself it is at Stripe within a second.
WINDOW: Final = 0.4

#: Seconds of draining that an MCP client on stdio leaves a server (it kills after 2 + 2), and that others do.
STDIO_DEADLINE: Final = 1.5
SERVER_DEADLINE: Final = 5.0
#: Seconds at the end for requests that are on their way, and then for closing connections.
_COURTESY: Final = 0.25
_CLOSING: Final = 1.0
#: Seconds that settling may take even if the deadline is over.
_LEAST: Final = 0.05
#: A process that lives this many seconds after it was to end goes on as if nothing had been.
AFTERLIFE: Final = 300.0


class _Shut(Exposure):
    """Of a thread that ends: what is in memory admits nobody, so every paid call finds out that it is refused."""

    def __init__(self) -> None:
        super().__init__(most_seconds=0.0, most_amount=0)
        self.is_tight = True

    def blocks(self, customer: str) -> bool:
        return True


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
        #: Bound once: it is on the warm path of every paid call.
        self.add: Callable[..., Charge] = self.tallies.add
        self.stopping = False
        #: Whether a call that ends now answers only when Stripe has its usage. Plain, for every paid call looks.
        self.waits = self.is_sync
        self._closed = False
        #: By when everything is to be settled, and whom to tell. Plain, for signal handlers append to it.
        self._departures: list[tuple[float, Callable[[], None]]] = []
        self._cut = asyncio.Event()
        self._stop = asyncio.Event()
        self._resuming: asyncio.TimerHandle | None = None
        self._is_over = False
        self._ended = threading.Event()
        self._remainder = Remainder()

    # Called from any thread.

    def start(self) -> None:
        """Start the thread unless it runs; returns at once.

        Raises:
            StripeUnavailable: This engine, or the whole interpreter, is ending.
        """
        with self._lock:
            if self._closed:
                raise _shutting_down()
            if self._thread is None:
                self._thread = threading.Thread(target=self._main, name="stripe-meter", daemon=True)
                try:
                    self._thread.start()
                except RuntimeError:  # from Python 3.12 on, once the main thread has ended
                    self._thread = None
                    raise _shutting_down() from None

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
            raise _shutting_down()
        return asyncio.run_coroutine_threadsafe(self._with_gateway(work), loop)

    def beside(self, work: Callable[[Gateway], Awaitable[object]]) -> None:
        """Run `work` in the thread without anybody waiting for it; its failure is its own business."""
        if self._loop is not None and not self._closed:
            self.in_loop(lambda: self.errand(self._with_gateway(work)))

    async def delivered(self, batch: Batch) -> bool:
        """Wait, within the deadline, until Stripe has what a call was merged into; whether it has."""
        try:
            return await self.call(lambda _: self._delivered(batch), self.deadline)
        except StripeMeterError:
            return False

    def hurry(self) -> None:
        """From now on send at once; calls wait for their own delivery. Takes no lock, for signal handlers."""
        self.stopping = self.waits = True
        self.in_loop(self._hurry)

    def see_off(self, until: float, done: Callable[[], None]) -> None:
        """Send what is pending and give back what is held; `done` is called then, or at `until` on the steady clock.

        Takes no lock: a signal handler calls it, and the thread that it interrupted may hold any.
        """
        self.hurry()
        self._departures.append((until, done))
        if self._is_over:
            self._tell()
        else:
            self.in_loop(self._depart)

    def cut_short(self) -> None:
        """Let those who wait for `see_off` wait no longer. Takes no lock."""
        self.in_loop(self._cut.set)

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
        """Whether the process may end: no usage is pending and nothing is held, or nobody is left to see to it."""
        return self._is_over or (self.tallies.is_empty and (self.holdings is None or self.holdings.is_empty))

    def close(self) -> None:
        """Settle everything within the deadline and end the thread; what could not be settled is logged."""
        until = time.monotonic() + self.deadline
        self.leave(until)
        self.gone(until)

    def leave(self, until: float) -> None:
        """Take no more calls, and end the thread when all is settled, or at `until`. Starts no thread."""
        with self._lock:
            is_first, self._closed = not self._closed, True
            if self._thread is None:
                self._finish()
                self._is_over = True
                self._ended.set()
        self.exposure = _Shut()
        if is_first:
            self.see_off(until, self._finish)

    def gone(self, until: float) -> None:
        """Wait for the end of the thread, and log what is left."""
        self._ended.wait(max(0.0, until - time.monotonic()) + _COURTESY + _CLOSING)
        self.report()

    def report(self) -> None:
        """Log what is neither delivered nor given back, unless it was logged before."""
        self._remainder.say(self.tallies.remainder(), [] if self.holdings is None else self.holdings.remainder())

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
        loop.set_default_executor(LookUps(1))
        try:
            loop.run_until_complete(self._live(loop))
        finally:
            self.report()
            self._is_over = True
            self._tell()
            loop.close()
            self._ended.set()

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
        self._started.set_result(loop)
        sending = asyncio.create_task(self._sender.run(self._gateway))
        if self.stopping:
            self._hurry()
        self._sender.wake()
        self._depart()
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

    async def _delivered(self, batch: Batch) -> bool:
        assert self._sender is not None
        return await self._sender.delivered(batch)

    def _hurry(self) -> None:
        if self._sender is not None:
            self._sender.hurry()
        if self._resuming is None:
            self._resuming = asyncio.get_running_loop().call_later(AFTERLIFE, self._resume)

    def _resume(self) -> None:
        """Whoever was to end this process has let it live."""
        self._resuming = None
        if self._closed or self._sender is None:
            return
        self.stopping, self.waits = False, self.is_sync
        self._cut.clear()
        self._sender.resume()
        if self.holdings is not None:
            self.holdings.resume()

    def _depart(self) -> None:
        if self._stop.is_set():  # they are told when the loop has ended
            return
        for _ in range(len(self._departures)):
            self.errand(self._see_off(*self._departures.pop()))

    async def _see_off(self, until: float, done: Callable[[], None]) -> None:
        ways = [asyncio.create_task(self._settled()), asyncio.create_task(self._cut.wait())]
        try:
            left = max(_LEAST, until - time.monotonic())
            await asyncio.wait(ways, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self.report()
        finally:
            done()

    def _finish(self) -> None:
        """Stop; what a call adds from now on cannot be sent, and is said at once."""
        self.add = self._add_late
        self._stop.set()

    def _add_late(self, *usage: Any, calls: int = 1) -> Charge:
        charge = self.tallies.add(*usage, calls=calls)
        self.report()
        return charge

    def _tell(self) -> None:
        """There is no loop any more that could do anything for those who wait. Takes no lock."""
        while self._departures:
            self._departures.pop()[1]()

    def errand(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin work that nobody waits for; called in the thread's loop. At the end it is given a moment."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _wake(self) -> None:
        with contextlib.suppress(StripeUnavailable):
            self.start()
        self.in_loop(lambda: self._sender.wake() if self._sender else None)

    def in_loop(self, action: Callable[[], object]) -> None:
        """Run `action` soon in the thread's loop, if there is one; callable from any thread, and takes no lock."""
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # closed
                loop.call_soon_threadsafe(action)


def _shutting_down() -> StripeUnavailable:
    return StripeUnavailable("this server is shutting down", ambiguous=False, retry_after=5.0)
