"""The sending half of the flusher: takes usage when its turn comes, seals it, repeats it until Stripe has it.

Owns order, concurrency, roads and retries. One event at a time for each customer and meter, as Stripe asks; the
identifier never changes once it was sent. Lives in the Stripe thread's loop. What Stripe refuses for good is counted
and logged; what may or may not have arrived is repeated within Stripe's window for recognising it, and never guessed.
Whoever waits to repeat gives its slot to others, so that some whose usage fails do not hold up everybody's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final

from stripe_meter.domain.usage import Batch
from stripe_meter.enforcement import audit
from stripe_meter.enforcement.flusher.exposure import LOOK_EVERY, Exposure
from stripe_meter.enforcement.flusher.parcel import LONGEST_PAUSE, Fate, Parcel
from stripe_meter.enforcement.flusher.recount import Recount
from stripe_meter.enforcement.flusher.tallies import Sealed, Tallies
from stripe_meter.errors import KeyRefused, StripeRejected, StripeUnavailable
from stripe_meter.gateway.clock import StripeClock
from stripe_meter.gateway.gateway import Gateway
from stripe_meter.gateway.limiter import Priority
from stripe_meter.gateway.meter_events import Road, StreamClosed

log = logging.getLogger("stripe_meter.flusher")

#: With more keys than this waiting, the stream is the cheaper road, where there is one.
STREAM_ABOVE: Final = 50

#: Requests on the wire at once.
_CONCURRENCY: Final = 64
#: Parcels that are sealed at once, those that wait to be repeated among them; a few kilobytes each.
_MOST_PARCELS: Final = 4096
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
        self._parcels = asyncio.Semaphore(_MOST_PARCELS)
        self._deliveries: set[asyncio.Task[None]] = set()
        self._waiting: dict[int, list[asyncio.Future[bool]]] = {}
        self._said: dict[str, float] = {}
        self._roads: tuple[Road, ...] = ()

    def wake(self) -> None:
        self._busy.set()
        self._wake.set()

    def hurry(self) -> None:
        """Merge no longer and repeat quickly: the process is about to end."""
        self._hurry.set()
        for road in self._roads:
            road.hurry()
        self.wake()

    def resume(self) -> None:
        """It did not end: merge again."""
        self._hurry.clear()
        for road in self._roads:
            road.resume()

    async def run(self, gateway: Gateway) -> None:
        """Send for ever; ends by cancellation."""
        beside = [asyncio.create_task(work) for work in (self._watch(), self._recount.run(gateway))]
        self._roads = (gateway.single,) if gateway.stream is None else (gateway.single, gateway.stream)
        if self._hurry.is_set():
            self.hurry()
        try:
            while True:
                if not self._tallies.has_next():
                    await self._rest()
                    continue
                await self._parcels.acquire()
                road = self._road(gateway)
                await self._turn(road)
                self._start(gateway, road, Parcel(self._seal(road.batch)))
                # Much may be ready at once, and what was started has to get at the loop.
                await asyncio.sleep(0)
        finally:
            for task in (*beside, *self._deliveries):
                task.cancel()

    async def drained(self) -> None:
        """Return once nothing is pending."""
        while not self._tallies.is_empty:
            self._idle.clear()
            self.wake()
            await self._idle.wait()

    async def delivered(self, batch: Batch) -> bool:
        """Return once the fate of what a call was merged into is known; whether Stripe took it."""
        if batch.taken is not None:
            return batch.taken
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(batch.number, []).append(waiter)
        self.wake()
        return await waiter

    @property
    def _priority(self) -> Priority:
        return Priority.DRAIN if self._hurry.is_set() else Priority.METER_EVENT

    def _road(self, gateway: Gateway) -> Road:
        stream = gateway.stream
        if stream is not None and not stream.is_closed and self._tallies.waiting > STREAM_ABOVE:
            return stream
        return gateway.single

    async def _turn(self, road: Road) -> None:
        """Wait for what a request needs; `_send` gives the slot back."""
        await self._slots.acquire()
        await road.turn(self._priority)

    def _seal(self, most: int) -> list[Sealed]:
        parcel: list[Sealed] = []
        now, hurry = self._clock.now(), self._hurry.is_set()
        while len(parcel) < most and (sealed := self._tallies.seal(now, dearest=hurry)) is not None:
            if sealed.is_late:
                _say_late(sealed)
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
            await self._exposure.look(self._tallies)
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

    def _start(self, gateway: Gateway, road: Road, parcel: Parcel) -> None:
        task = asyncio.create_task(self._deliver(gateway, road, parcel))
        self._deliveries.add(task)
        task.add_done_callback(self._deliveries.discard)

    async def _deliver(self, gateway: Gateway, road: Road, parcel: Parcel) -> None:
        try:
            await self._settle(gateway, road, parcel)
        finally:
            self._parcels.release()
        if self._tallies.is_empty:
            self._idle.set()
        self.wake()

    async def _settle(self, gateway: Gateway, road: Road, parcel: Parcel) -> None:
        """Send until the fate of every event is known; one that Stripe refuses must not take the others along."""
        fate = await self._send_until_known(road, parcel)
        if fate is Fate.REFUSED and len(parcel.sealed) > 1:
            for half in parcel.halves():
                await self._settle_next(gateway, road, half)
        elif fate is Fate.ROAD_CLOSED:
            await asyncio.gather(*(self._settle_next(gateway, gateway.single, single) for single in parcel.singles()))
        else:
            for sealed in parcel.sealed:
                self._book(sealed, is_accepted=fate is Fate.ACCEPTED)

    async def _settle_next(self, gateway: Gateway, road: Road, parcel: Parcel) -> None:
        await self._turn(road)
        await self._settle(gateway, road, parcel)

    def _book(self, sealed: Sealed, *, is_accepted: bool) -> None:
        if is_accepted:
            self._tallies.delivered(sealed)
            if not sealed.is_late and self._tallies.is_over(sealed.key, self._clock.now()):
                self._tallies.late += sealed.event.value
                log.error(
                    "late_usage: %s was sent in its period and accepted an hour after it; if its invoice is final, "
                    "nobody is billed for it",
                    _name(sealed),
                )
            self._recount.delivered(sealed.event)
            if sealed.tally.calls:
                _record(sealed)
        else:
            self._tallies.rejected(sealed)
        for waiter in self._waiting.pop(sealed.tally.number, ()):
            if not waiter.done():
                waiter.set_result(is_accepted)

    async def _send_until_known(self, road: Road, parcel: Parcel) -> Fate:
        """Repeat until the fate of all of it is known. Whoever calls has waited for its `_turn`."""
        while True:
            answer = await self._send(road, parcel)
            if isinstance(answer, Fate):
                return answer
            await self._pause(answer)
            if parcel.is_beyond_asking(self._clock.now()):
                for sealed in parcel.sealed:
                    log.error("%s: nobody knows whether Stripe has it; given up after 23 hours", _name(sealed))
                return Fate.GIVEN_UP
            await self._turn(road)
            self._date_anew(parcel)

    def _date_anew(self, parcel: Parcel) -> None:
        """What never arrived may still be billed in the next period when the invoice of its own is final."""
        now = self._clock.now()
        if parcel.unknown_since is not None:
            return
        for place, sealed in enumerate(parcel.sealed):
            if not sealed.is_late and self._tallies.is_over(sealed.key, now):
                parcel.sealed[place] = anew = self._tallies.restamp(sealed, now)
                parcel.stored += 1  # another request, so another idempotency key
                _say_late(anew)

    async def _send(self, road: Road, parcel: Parcel) -> Fate | float:
        """One attempt: what became of it, or after how many seconds to repeat it."""
        try:
            await road.send(parcel.events, parcel.stored)
        except StreamClosed:
            # An event that may have arrived stays on its road, for Stripe might not recognise it on another.
            return Fate.ROAD_CLOSED if parcel.unknown_since is None else LONGEST_PAUSE
        except StripeUnavailable as error:
            pause = parcel.failed(self._clock.now(), is_ambiguous=error.ambiguous, is_stored=error.stored)
            return error.retry_after or pause
        except KeyRefused as error:
            # Not the event's fault: it stays until the key works again.
            self._say(f"usage is waiting: {error}")
            return LONGEST_PAUSE
        except StripeRejected as error:
            if len(parcel.sealed) == 1:
                log.error("%s is lost: %s", _name(parcel.sealed[0]), error)
            return Fate.REFUSED
        except Exception as error:  # a bug, which must not hold this usage for ever
            self._say(f"usage is waiting: sending it failed with {type(error).__name__}", error)
            return parcel.failed(self._clock.now(), is_ambiguous=True)
        finally:
            self._slots.release()
        return Fate.ACCEPTED

    def _say(self, sentence: str, error: Exception | None = None) -> None:
        """Log what holds many parcels up at once once a minute."""
        now = asyncio.get_running_loop().time()
        if now >= self._said.get(sentence, 0.0):
            self._said[sentence] = now + LONGEST_PAUSE
            log.error("%s", sentence, exc_info=error)


def _say_late(sealed: Sealed) -> None:
    log.warning("late_usage: %s came an hour after its period; it counts in the next one", _name(sealed))


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
