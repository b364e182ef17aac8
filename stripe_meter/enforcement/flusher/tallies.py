"""Usage that Stripe does not have yet, merged by customer and meter, and the books over it.

Owns the numbers: every accepted call is in exactly one of open (still merging), in flight (sealed), delivered or
rejected. Callable from any thread; the lock is held for a few dictionary operations and never across I/O. Bounded by
customers × meters, not by calls.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from stripe_meter.domain.usage import MeterEvent, event_timestamp

#: Customer and event name.
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Sealed:
    """A meter event and the number of calls merged into it."""

    event: MeterEvent
    calls: int

    @property
    def key(self) -> Key:
        return self.event.customer, self.event.event_name


@dataclass(frozen=True, slots=True)
class FlusherStats:
    """Calls by fate; `accepted == delivered + pending + rejected` at every instant.

    Attributes:
        accepted: Charged calls handed to the flusher since this process started (or was forked).
        delivered: Of these, accepted by Stripe.
        pending: Merging or on the way.
        rejected: Refused by Stripe for good; each was logged.
        events_sent: Meter events that Stripe accepted.
    """

    accepted: int
    delivered: int
    pending: int
    rejected: int
    events_sent: int


class Tallies:
    """Open and sealed usage of one process."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self.reset()

    def reset(self) -> None:
        """Start from nothing, as a forked child must: what was pending belongs to the parent."""
        self._lock = threading.Lock()
        self._open: dict[Key, list[int]] = {}
        self._in_flight: dict[Key, Sealed] = {}
        self._boot = uuid.uuid4().hex[:16]
        self._sequence = 0
        self._accepted = self._delivered = self._rejected = self._events = 0
        self._asleep = True

    def add(self, customer: str, event_name: str, quantity: int) -> None:
        """Count one call of `quantity` metered units (at least 1)."""
        key = (customer, event_name)
        with self._lock:
            tally = self._open.get(key)
            if tally is None:
                self._open[key] = [quantity, 1]
            else:
                tally[0] += quantity
                tally[1] += 1
            self._accepted += 1
            asleep, self._asleep = self._asleep, False
        if asleep:
            self._wake()

    def sleep(self) -> bool:
        """Ask to be woken by the next `add`; False when there is something to send already."""
        with self._lock:
            self._asleep = self._next() is None
            return self._asleep

    def has_next(self) -> bool:
        """Whether a customer and meter have open usage and nothing in flight (Stripe takes one at a time)."""
        with self._lock:
            return self._next() is not None

    def seal(self, now: float) -> Sealed | None:
        """Fix the oldest open usage as an event for ever; None when nothing is ready.

        Args:
            now: Stripe's clock, Unix seconds.
        """
        with self._lock:
            key = self._next()
            if key is None:
                return None
            quantity, calls = self._open.pop(key)
            self._sequence += 1
            identifier = f"sm_{self._boot}_{self._sequence}"
            sealed = Sealed(MeterEvent(key[1], key[0], quantity, identifier, event_timestamp(now)), calls)
            self._in_flight[key] = sealed
            return sealed

    def delivered(self, sealed: Sealed) -> None:
        with self._lock:
            del self._in_flight[sealed.key]
            self._delivered += sealed.calls
            self._events += 1

    def rejected(self, sealed: Sealed) -> None:
        with self._lock:
            del self._in_flight[sealed.key]
            self._rejected += sealed.calls

    def is_pending(self, key: Key) -> bool:
        with self._lock:
            return key in self._open or key in self._in_flight

    @property
    def is_empty(self) -> bool:
        with self._lock:
            return not self._open and not self._in_flight

    def remainder(self) -> list[tuple[Key, int, int]]:
        """What is still here: customer and meter, metered units, calls."""
        with self._lock:
            rest: dict[Key, list[int]] = {key: list(tally) for key, tally in self._open.items()}
            for key, sealed in self._in_flight.items():
                tally = rest.setdefault(key, [0, 0])
                tally[0] += sealed.event.value
                tally[1] += sealed.calls
            return [(key, quantity, calls) for key, (quantity, calls) in rest.items()]

    def stats(self) -> FlusherStats:
        with self._lock:
            pending = sum(calls for _, calls in self._open.values())
            pending += sum(sealed.calls for sealed in self._in_flight.values())
            return FlusherStats(self._accepted, self._delivered, pending, self._rejected, self._events)

    def hold(self) -> None:
        """Take the lock across a fork, so that the child does not inherit it half-way."""
        self._lock.acquire()

    def let_go(self) -> None:
        self._lock.release()

    def _next(self) -> Key | None:
        return next((key for key in self._open if key not in self._in_flight), None)
