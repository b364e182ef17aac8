"""The sending half of the flusher: takes usage when its turn comes, seals it, repeats it until Stripe has it.

Owns order, concurrency and retries. One event at a time for each customer and meter, as Stripe asks; the identifier
never changes once sealed. Lives in the Stripe thread's loop. What Stripe refuses for good is counted and logged; what
may or may not have arrived is repeated for 23 hours, within Stripe's window for recognising it, and never guessed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from typing import Final

from stripe_meter.enforcement.flusher.tallies import Key, Sealed, Tallies
from stripe_meter.errors import KeyRefused, StripeRejected, StripeUnavailable
from stripe_meter.gateway.clock import StripeClock
from stripe_meter.gateway.meter_events import MeterEvents

log = logging.getLogger("stripe_meter.flusher")

#: Seconds that usage may merge before it is sent; with the request itself it is at Stripe within a second.
WINDOW: Final = 0.4
#: Identifiers are recognised for at least 24 hours; after this long an event of unknown fate is given up.
QUARANTINE_AFTER: Final = 23 * 3600.0

_CONCURRENCY: Final = 64
_LONGEST_PAUSE: Final = 60.0
_PAUSE_WHILE_STOPPING: Final = 0.2


class Sender:
    """Drains the tallies into meter events."""

    def __init__(self, tallies: Tallies, clock: StripeClock) -> None:
        self._tallies = tallies
        self._clock = clock
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()
        self._idle = asyncio.Event()
        self._slots = asyncio.Semaphore(_CONCURRENCY)
        self._deliveries: set[asyncio.Task[None]] = set()
        self._waiting: dict[Key, list[asyncio.Future[None]]] = {}

    def wake(self) -> None:
        self._wake.set()

    def hurry(self) -> None:
        """Merge no longer and repeat quickly: the process is about to end, or somebody waits."""
        self._hurry.set()
        self._wake.set()

    async def run(self, meter_events: MeterEvents) -> None:
        """Send for ever; ends by cancellation."""
        try:
            while True:
                if not self._tallies.has_next():
                    await self._rest()
                    continue
                await self._slots.acquire()
                await meter_events.turn()
                sealed = self._tallies.seal(self._clock.now())
                if sealed is None:
                    self._slots.release()
                    continue
                task = asyncio.create_task(self._deliver(meter_events, sealed))
                self._deliveries.add(task)
                task.add_done_callback(self._deliveries.discard)
        finally:
            for task in self._deliveries:
                task.cancel()

    async def drained(self) -> None:
        """Return once nothing is pending."""
        while not self._tallies.is_empty:
            self._idle.clear()
            self._wake.set()
            await self._idle.wait()

    async def delivered(self, key: Key) -> None:
        """Return once nothing of this customer and meter is pending."""
        while self._tallies.is_pending(key):
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(key, []).append(waiter)
            self._wake.set()
            await waiter

    async def _rest(self) -> None:
        """Sleep until there is usage, then let it merge for a moment."""
        self._wake.clear()
        if self._tallies.sleep():
            await self._wake.wait()
        if not self._hurry.is_set():
            await self._pause(WINDOW)

    async def _pause(self, seconds: float) -> None:
        """Wait, or less when the process is about to end."""
        if self._hurry.is_set():
            await asyncio.sleep(min(seconds, _PAUSE_WHILE_STOPPING))
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurry.wait()

    async def _deliver(self, meter_events: MeterEvents, sealed: Sealed) -> None:
        try:
            if await self._send_until_known(meter_events, sealed):
                self._tallies.delivered(sealed)
            else:
                self._tallies.rejected(sealed)
        finally:
            self._slots.release()
        for waiter in self._waiting.pop(sealed.key, ()):
            if not waiter.done():
                waiter.set_result(None)
        if self._tallies.is_empty:
            self._idle.set()
        self._wake.set()

    async def _send_until_known(self, meter_events: MeterEvents, sealed: Sealed) -> bool:
        """True when Stripe has the event, False when it never will."""
        event, failures, stored, unknown_since = sealed.event, 0, 0, None
        while True:
            try:
                await meter_events.send(event, stored)
            except StripeUnavailable as error:
                failures += 1
                stored += error.stored
                if error.ambiguous and unknown_since is None:
                    unknown_since = self._clock.now()
                if unknown_since is not None and self._clock.now() - unknown_since > QUARANTINE_AFTER:
                    log.error("%s: nobody knows whether Stripe has it; given up after 23 hours", _name(sealed))
                    return False
                pause = error.retry_after or _back_off(failures)
            except KeyRefused as error:
                # Not the event's fault: it stays until the key works again.
                failures += 1
                log.error("usage is waiting: %s", error)
                pause = _LONGEST_PAUSE
            except StripeRejected as error:
                log.error("%s is lost: %s", _name(sealed), error)
                return False
            else:
                return True
            await self._pause(pause)
            await meter_events.turn()


def _back_off(failures: int) -> float:
    return min(_LONGEST_PAUSE, 0.25 * 2.0 ** min(failures, 8)) * random.uniform(0.5, 1.0)  # noqa: S311  # jitter


def _name(sealed: Sealed) -> str:
    event = sealed.event
    return f"meter event {event.identifier} ({event.value} on {event.event_name} of {event.customer})"
