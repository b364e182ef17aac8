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
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import chain
from typing import Final

from stripe_meter.domain.usage import Charge, MeterEvent, event_timestamp
from stripe_meter.enforcement.flusher.turns import Key, Turns

#: Stripe takes usage of an ended period until its invoice is final, an hour later; a little earlier we stop counting
#: on that.
GRACE: Final = 3600 - 300

_NOTHING: Final = Decimal(0)


class Tally:
    """Open usage of one key. There may be 100,000 of them, so what can be worked out is not kept."""

    __slots__ = ("_books", "_period_end", "calls", "number", "off_price", "quantity", "since", "taken", "unit_amount")

    def __init__(self, books: Tallies, number: int, since: float, unit_amount: Decimal, period_end: int) -> None:
        self._books = books
        self._period_end = period_end
        self.number = number
        self.since = since
        #: Of the first call; `off_price` is by how much the others were dearer, as beyond what a plan includes.
        self.unit_amount = unit_amount
        self.off_price = _NOTHING
        self.quantity = 0
        self.calls = 0
        #: Whether Stripe took it; None while that is open.
        self.taken: bool | None = None

    @property
    def amount(self) -> Decimal:
        return self.unit_amount * self.quantity + self.off_price

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
        late: Units that Stripe accepted when the invoice of their period was probably final; each was logged.
    """

    accepted: int
    delivered: int
    pending: int
    rejected: int
    events_sent: int
    unsent_seconds: float
    unsent_amount: Decimal
    uncounted: int = 0
    late: int = 0


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
        self._turns = Turns()
        #: Tells this process's usage from that of all others.
        self.boot = uuid.uuid4().hex[:16]
        #: Tallies that were opened, and how many of them are settled.
        self._number = self._settled = 0
        self._accepted = self._delivered = self._rejected = self._events = 0
        self.uncounted = self.late = 0
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
                if key not in self._in_flight:
                    self._turns.add(key, unit_amount * quantity)
            tally.quantity += quantity
            if unit_amount is not tally.unit_amount:
                tally.off_price += (unit_amount - tally.unit_amount) * quantity
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
            self._asleep = not self._turns
            return self._asleep

    def has_next(self) -> bool:
        """Whether a customer and meter have open usage and nothing in flight (Stripe takes one at a time)."""
        return bool(self._turns)

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
            if dearest:
                self._turns.by_price(lambda key: self._open[key].amount)
            else:
                self._turns.by_age()
            key = self._turns.take()
            if key is None:
                return None
            tally = self._open[key]
            customer, event_name, period_end = key
            is_late = self.is_over(key, now)
            timestamp = event_timestamp(now, 0 if is_late else period_end)
            event = MeterEvent(event_name, customer, tally.quantity, f"sm_{self.boot}_{tally.number}", timestamp)
            sealed = self._in_flight[key] = Sealed(event, key, tally, is_late)
            del self._open[key]
            return sealed

    def restamp(self, sealed: Sealed, now: float) -> Sealed:
        """Date an event that certainly never arrived anew, under an identifier that was never sent."""
        event = replace(sealed.event, identifier=f"{sealed.event.identifier}_late", timestamp=event_timestamp(now))
        with self._lock:
            anew = self._in_flight[sealed.key] = replace(sealed, event=event, is_late=True)
        return anew

    @staticmethod
    def is_over(key: Key, now: float) -> bool:
        """Whether the invoice of this usage's period takes nothing more."""
        return bool(key[2]) and now > key[2] + GRACE

    def delivered(self, sealed: Sealed) -> None:
        with self._lock:
            self._land(sealed.key)
            sealed.tally.taken = True
            self._delivered += sealed.tally.calls
            self._events += 1

    def rejected(self, sealed: Sealed) -> None:
        with self._lock:
            self._land(sealed.key)
            sealed.tally.taken = False
            self._rejected += sealed.tally.calls

    def _land(self, key: Key) -> None:
        del self._in_flight[key]
        self._settled += 1
        if (tally := self._open.get(key)) is not None:
            self._turns.add(key, tally.amount)

    def pending(self) -> Iterator[tuple[Key, Tally]]:
        """All usage that is not settled, in flight first, then the oldest. Who adds waits for the copying only."""
        with self._lock:
            flying, keys, tallies = list(self._in_flight.values()), list(self._open), list(self._open.values())
        return chain(((sealed.key, sealed.tally) for sealed in flying), zip(keys, tallies, strict=True))

    @property
    def is_empty(self) -> bool:
        """Whether everything is settled; without the lock, whose holder a signal handler may have interrupted."""
        # Both only grow and this one is read first, so they are equal only if they were so at that instant.
        settled = self._settled
        return settled == self._number

    def unsent_seconds(self) -> float:
        """Age of the oldest pending usage."""
        with self._lock:
            flying = list(self._in_flight.values())
            # Open tallies stand in the order of their first call, so the first one is the oldest.
            first = next(iter(self._open.values()), None)
        since = [sealed.tally.since for sealed in flying]
        if first is not None:
            since.append(first.since)
        return max(0.0, self.monotonic() - min(since)) if since else 0.0

    def remainder(self) -> list[tuple[str, str, int, int]]:
        """What is still here: customer, meter, metered units, calls."""
        rest: dict[tuple[str, str], list[int]] = {}
        for (customer, event_name, _), tally in self.pending():
            entry = rest.setdefault((customer, event_name), [0, 0])
            entry[0] += tally.quantity
            entry[1] += tally.calls
        return [(customer, meter, units, calls) for (customer, meter), (units, calls) in rest.items()]

    def stats(self) -> FlusherStats:
        with self._lock:
            accepted, delivered, rejected, events = self._accepted, self._delivered, self._rejected, self._events
        return FlusherStats(
            accepted,
            delivered,
            accepted - delivered - rejected,
            rejected,
            events,
            self.unsent_seconds(),
            sum((tally.amount for _, tally in self.pending()), _NOTHING),
            self.uncounted,
            self.late,
        )

    def hold(self) -> None:
        """Take the lock across a fork, so that the child does not inherit it half-way."""
        self._lock.acquire()

    def let_go(self) -> None:
        self._lock.release()
