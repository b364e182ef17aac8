"""Usage that Stripe does not have yet, merged by customer, meter and billing period, and the books over it.

Owns the numbers: every accepted call is in exactly one of open (still merging), in flight (sealed), delivered or
rejected. Callable from any thread; the lock is held for a few dictionary operations and never across I/O. Bounded by
customers × meters, not by calls.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from stripe_meter.domain.usage import Charge, MeterEvent, event_timestamp

#: Customer, event name, and the end of the billing period the usage belongs to (Unix seconds; 0 = the current one).
Key = tuple[str, str, int]

#: Stripe takes usage of an ended period until its invoice is final, an hour later; a little earlier we stop counting
#: on that.
GRACE: Final = 3600 - 300


class Tally:
    """Open usage of one key. There may be 100,000 of them, so what can be worked out is not kept."""

    __slots__ = ("_books", "_period_end", "calls", "number", "quantity", "since", "unit_amount")

    def __init__(self, books: Tallies, number: int, since: float, unit_amount: Decimal, period_end: int) -> None:
        self._books = books
        self._period_end = period_end
        self.number = number
        self.since = since
        self.unit_amount = unit_amount
        self.quantity = 0
        self.calls = 0

    @property
    def amount(self) -> Decimal:
        return self.unit_amount * self.quantity

    @property
    def name(self) -> str:
        """When its event would be dated if it were sent at once, and what makes it unique among all processes."""
        second = event_timestamp(self._books.second_of(self.since), self._period_end)
        return f"{second}.{self._books.boot}{self.number}"


@dataclass(frozen=True, slots=True)
class Sealed:
    """A meter event, what was merged into it, and whether it came too late for its period."""

    event: MeterEvent
    key: Key
    tally: Tally
    is_late: bool = False


@dataclass(frozen=True, slots=True)
class FlusherStats:
    """Calls by fate; `accepted == delivered + pending + rejected` at every instant.

    Attributes:
        accepted: Charged calls handed to the flusher since this process started (or was forked).
        delivered: Of these, accepted by Stripe.
        pending: Merging or on the way; what `kill -9` would lose.
        rejected: Refused by Stripe for good, or of unknown fate after 23 hours; each was logged.
        events_sent: Meter events that Stripe accepted.
        unsent_seconds: Age of the oldest pending usage.
        unsent_amount: Price of all pending usage, in minor units of whatever currency each is in.
        uncounted: Units that were delivered and that Stripe had not counted when they were compared; see `recount`.
    """

    accepted: int
    delivered: int
    pending: int
    rejected: int
    events_sent: int
    unsent_seconds: float
    unsent_amount: Decimal
    uncounted: int = 0


class Tallies:
    """Open and sealed usage of one process."""

    def __init__(
        self,
        wake: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._wake = wake
        self.monotonic = monotonic
        self._now = now
        self.reset()

    def reset(self) -> None:
        """Start from nothing, as a forked child must: what was pending belongs to the parent."""
        self._lock = threading.Lock()
        self._open: dict[Key, Tally] = {}
        self._in_flight: dict[Key, Sealed] = {}
        #: Tells this process's usage from that of all others.
        self.boot = uuid.uuid4().hex[:16]
        self._number = 0
        self._accepted = self._delivered = self._rejected = self._events = 0
        self.uncounted = 0
        self._asleep = True

    def add(
        self,
        customer: str,
        event_name: str,
        quantity: int,
        unit_amount: Decimal,
        period_end: int = 0,
        *,
        calls: int = 1,
    ) -> Charge:
        """Count one call.

        Args:
            customer: `cus_…`.
            event_name: Of the meter.
            quantity: Metered units, at least 1.
            unit_amount: Price of one unit in minor units, for the bounds on what may be unsent.
            period_end: End of the billing period this usage belongs to, when that period has an end in sight.
            calls: 0 for what a call that was counted already adds to another meter.

        Returns:
            Which charge this is.
        """
        key = (customer, event_name, period_end)
        with self._lock:
            tally = self._open.get(key)
            if tally is None:
                self._number += 1
                tally = self._open[key] = Tally(self, self._number, self.monotonic(), unit_amount, period_end)
            tally.quantity += quantity
            tally.calls += calls
            place = tally.calls
            self._accepted += calls
            asleep, self._asleep = self._asleep, False
        if asleep:
            self._wake()
        return tally, place

    def second_of(self, moment: float) -> int:
        """A moment of the monotonic clock as a whole second of Stripe's."""
        return int(self._now() - (self.monotonic() - moment))

    def sleep(self) -> bool:
        """Ask to be woken by the next `add`; False when there is something to send already."""
        with self._lock:
            self._asleep = self._next(dearest=False) is None
            return self._asleep

    def has_next(self) -> bool:
        """Whether a customer and meter have open usage and nothing in flight (Stripe takes one at a time)."""
        with self._lock:
            return self._next(dearest=False) is not None

    @property
    def waiting(self) -> int:
        """How many keys have open usage."""
        return len(self._open)

    def seal(self, now: float, *, dearest: bool = False) -> Sealed | None:
        """Fix the oldest (or dearest) open usage as an event for ever; None when nothing is ready.

        Args:
            now: Stripe's clock, Unix seconds.
            dearest: The largest amount first, for a process that may not have the time for everything.
        """
        with self._lock:
            key = self._next(dearest=dearest)
            if key is None:
                return None
            tally = self._open.pop(key)
            customer, event_name, period_end = key
            is_late = bool(period_end) and now > period_end + GRACE
            timestamp = event_timestamp(now, 0 if is_late else period_end)
            event = MeterEvent(event_name, customer, tally.quantity, f"sm_{self.boot}_{tally.number}", timestamp)
            sealed = self._in_flight[key] = Sealed(event, key, tally, is_late)
            return sealed

    def delivered(self, sealed: Sealed) -> None:
        with self._lock:
            del self._in_flight[sealed.key]
            self._delivered += sealed.tally.calls
            self._events += 1

    def rejected(self, sealed: Sealed) -> None:
        with self._lock:
            del self._in_flight[sealed.key]
            self._rejected += sealed.tally.calls

    def pending_numbers(self, customer: str, event_name: str) -> set[int]:
        """Which tallies hold usage of this customer and meter right now."""
        with self._lock:
            return {tally.number for key, tally in self._pending() if key[0] == customer and key[1] == event_name}

    @property
    def is_empty(self) -> bool:
        with self._lock:
            return not self._open and not self._in_flight

    def unsent_by_customer(self, older_than: float) -> dict[str, Decimal]:
        """Price of what each customer has had pending for more than `older_than` seconds, in minor units."""
        unsent: dict[str, Decimal] = {}
        with self._lock:
            before = self.monotonic() - older_than
            for (customer, _, _), tally in self._pending():
                if tally.since < before:
                    unsent[customer] = unsent.get(customer, Decimal(0)) + tally.amount
        return unsent

    def unsent_seconds(self) -> float:
        """Age of the oldest pending usage."""
        with self._lock:
            return self._oldest()

    def remainder(self) -> list[tuple[str, str, int, int]]:
        """What is still here: customer, meter, metered units, calls."""
        rest: dict[tuple[str, str], list[int]] = {}
        with self._lock:
            for (customer, event_name, _), tally in self._pending():
                entry = rest.setdefault((customer, event_name), [0, 0])
                entry[0] += tally.quantity
                entry[1] += tally.calls
        return [(customer, meter, units, calls) for (customer, meter), (units, calls) in rest.items()]

    def stats(self) -> FlusherStats:
        with self._lock:
            pending = list(self._pending())
            return FlusherStats(
                self._accepted,
                self._delivered,
                sum(tally.calls for _, tally in pending),
                self._rejected,
                self._events,
                self._oldest(),
                sum((tally.amount for _, tally in pending), Decimal(0)),
                self.uncounted,
            )

    def hold(self) -> None:
        """Take the lock across a fork, so that the child does not inherit it half-way."""
        self._lock.acquire()

    def let_go(self) -> None:
        self._lock.release()

    def _pending(self) -> Iterator[tuple[Key, Tally]]:
        yield from self._open.items()
        for key, sealed in self._in_flight.items():
            yield key, sealed.tally

    def _oldest(self) -> float:
        # Open tallies stand in the order of their first call, so the first one is the oldest.
        first = next(iter(self._open.values()), None)
        since = [sealed.tally.since for sealed in self._in_flight.values()]
        if first is not None:
            since.append(first.since)
        return max(0.0, self.monotonic() - min(since)) if since else 0.0

    def _next(self, *, dearest: bool) -> Key | None:
        ready = (key for key in self._open if key not in self._in_flight)
        if dearest:
            return max(ready, key=lambda key: self._open[key].amount, default=None)
        return next(ready, None)
