"""The sending half of the flusher: takes usage when its turn comes, seals it, repeats it until Stripe has it.

Owns order, concurrency, roads and retries. One event at a time for each customer and meter, as Stripe asks; the
identifier never changes once sealed. Lives in the Stripe thread's loop. What Stripe refuses for good is counted and
logged; what may or may not have arrived is repeated for 23 hours, within Stripe's window for recognising it, and never
guessed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from typing import Final

from stripe_meter.enforcement import audit
from stripe_meter.enforcement.flusher.exposure import LOOK_EVERY, Exposure
from stripe_meter.enforcement.flusher.recount import Recount
from stripe_meter.enforcement.flusher.tallies import Sealed, Tallies
from stripe_meter.errors import KeyRefused, StripeRejected, StripeUnavailable
from stripe_meter.gateway.clock import StripeClock
from stripe_meter.gateway.gateway import Gateway
from stripe_meter.gateway.limiter import Priority
from stripe_meter.gateway.meter_events import Road

log = logging.getLogger("stripe_meter.flusher")

#: Identifiers are recognised for at least 24 hours; after this long an event of unknown fate is given up.
QUARANTINE_AFTER: Final = 23 * 3600.0
#: With more keys than this waiting, the stream is the cheaper road, where there is one.
STREAM_ABOVE: Final = 50

_CONCURRENCY: Final = 64
_LONGEST_PAUSE: Final = 60.0
_PAUSE_WHILE_STOPPING: Final = 0.2


class Sender:
    """Drains the tallies into meter events."""

    def __init__(self, tallies: Tallies, exposure: Exposure, clock: StripeClock, window: float) -> None:
        self._tallies = tallies
        self._exposure = exposure
        self._clock = clock
        self._window = window
        self._recount = Recount(tallies, clock)
        self._wake = asyncio.Event()
        self._busy = asyncio.Event()
        self._hurry = asyncio.Event()
        self._idle = asyncio.Event()
        self._slots = asyncio.Semaphore(_CONCURRENCY)
        self._deliveries: set[asyncio.Task[None]] = set()
        self._waiting: dict[int, list[asyncio.Future[None]]] = {}

    def wake(self) -> None:
        self._busy.set()
        self._wake.set()

    def hurry(self) -> None:
        """Merge no longer and repeat quickly: the process is about to end."""
        self._hurry.set()
        self.wake()

    async def run(self, gateway: Gateway) -> None:
        """Send for ever; ends by cancellation."""
        beside = [asyncio.create_task(work) for work in (self._watch(), self._recount.run(gateway))]
        try:
            while True:
                if not self._tallies.has_next():
                    await self._rest()
                    continue
                await self._slots.acquire()
                road = self._road(gateway)
                await road.turn(self._priority)
                sealed = self._seal(road.batch)
                if not sealed:
                    self._slots.release()
                    continue
                self._start(road, sealed)
        finally:
            for task in (*beside, *self._deliveries):
                task.cancel()

    async def drained(self) -> None:
        """Return once nothing is pending."""
        while not self._tallies.is_empty:
            self._idle.clear()
            self.wake()
            await self._idle.wait()

    async def delivered(self, customer: str, event_name: str) -> None:
        """Return once what this customer has pending on this meter right now is no longer pending."""
        waiters = []
        for number in self._tallies.pending_numbers(customer, event_name):
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(number, []).append(waiter)
            waiters.append(waiter)
        self.wake()
        if waiters:
            await asyncio.wait(waiters)

    @property
    def _priority(self) -> Priority:
        return Priority.DRAIN if self._hurry.is_set() else Priority.METER_EVENT

    def _road(self, gateway: Gateway) -> Road:
        if gateway.stream is not None and self._tallies.waiting > STREAM_ABOVE:
            return gateway.stream
        return gateway.single

    def _seal(self, most: int) -> list[Sealed]:
        parcel: list[Sealed] = []
        now, hurry = self._clock.now(), self._hurry.is_set()
        while len(parcel) < most and (sealed := self._tallies.seal(now, dearest=hurry)) is not None:
            if sealed.is_late:
                log.warning("late_usage: %s came an hour after its period; it counts in the next one", _name(sealed))
            parcel.append(sealed)
        return parcel

    async def _rest(self) -> None:
        """Sleep until there is usage, then let it merge for a moment."""
        self._wake.clear()
        if self._tallies.sleep():
            await self._wake.wait()
        if self._window and not self._hurry.is_set():
            await self._pause(self._window)

    async def _watch(self) -> None:
        """Keep the exposure current while usage is pending."""
        while True:
            await self._busy.wait()
            self._exposure.look(self._tallies)
            if self._tallies.is_empty:
                self._busy.clear()
            else:
                await asyncio.sleep(LOOK_EVERY)

    async def _pause(self, seconds: float) -> None:
        """Wait, or less when the process is about to end."""
        if self._hurry.is_set():
            await asyncio.sleep(min(seconds, _PAUSE_WHILE_STOPPING))
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurry.wait()

    def _start(self, road: Road, parcel: list[Sealed]) -> None:
        task = asyncio.create_task(self._deliver(road, parcel))
        self._deliveries.add(task)
        task.add_done_callback(self._deliveries.discard)

    async def _deliver(self, road: Road, parcel: list[Sealed]) -> None:
        try:
            await self._settle(road, parcel)
        finally:
            self._slots.release()
        if self._tallies.is_empty:
            self._idle.set()
        self.wake()

    async def _settle(self, road: Road, parcel: list[Sealed]) -> None:
        """Send until the fate of every event is known; one that Stripe refuses must not take the others along."""
        is_accepted = await self._send_until_known(road, parcel)
        if not is_accepted and len(parcel) > 1:
            half = len(parcel) // 2
            for part in (parcel[:half], parcel[half:]):
                await road.turn(self._priority)
                await self._settle(road, part)
            return
        for sealed in parcel:
            (self._tallies.delivered if is_accepted else self._tallies.rejected)(sealed)
            if is_accepted:
                self._recount.delivered(sealed.event)
            if is_accepted and sealed.tally.calls:
                _record(sealed)
            for waiter in self._waiting.pop(sealed.tally.number, ()):
                if not waiter.done():
                    waiter.set_result(None)

    async def _send_until_known(self, road: Road, parcel: list[Sealed]) -> bool:
        """True when Stripe has the events, False when it never will."""
        events = [sealed.event for sealed in parcel]
        failures, stored, unknown_since = 0, 0, None
        while True:
            try:
                await road.send(events, stored)
            except StripeUnavailable as error:
                failures += 1
                stored += error.stored
                if error.ambiguous and unknown_since is None:
                    unknown_since = self._clock.now()
                if unknown_since is not None and self._clock.now() - unknown_since > QUARANTINE_AFTER:
                    for sealed in parcel:
                        log.error("%s: nobody knows whether Stripe has it; given up after 23 hours", _name(sealed))
                    return False
                pause = error.retry_after or _back_off(failures)
            except KeyRefused as error:
                # Not the event's fault: it stays until the key works again.
                failures += 1
                log.error("usage is waiting: %s", error)
                pause = _LONGEST_PAUSE
            except StripeRejected as error:
                if len(parcel) == 1:
                    log.error("%s is lost: %s", _name(parcel[0]), error)
                return False
            else:
                return True
            await self._pause(pause)
            await road.turn(self._priority)


def _back_off(failures: int) -> float:
    return min(_LONGEST_PAUSE, 0.25 * 2.0 ** min(failures, 8)) * random.uniform(0.5, 1.0)  # noqa: S311  # jitter


def _record(sealed: Sealed) -> None:
    """A line for all calls that one event stands for; what only counts spending stands for none."""
    if not audit.is_wanted():
        return
    event = sealed.event
    audit.record(
        "charge",
        customer=event.customer,
        meter=event.event_name,
        quantity=event.value,
        calls=sealed.tally.calls,
        identifier=event.identifier,
        timestamp=event.timestamp,
    )


def _name(sealed: Sealed) -> str:
    event = sealed.event
    return f"meter event {event.identifier} ({event.value} on {event.event_name} of {event.customer})"
