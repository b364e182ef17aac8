"""The daily self-check: did Stripe count what it took? A meter event is answered before it is looked at.

Owns which usage is compared, and when. An event of a customer who was deleted, or on a meter that was switched off, is
accepted and thrown away later; Stripe's reports on that come by webhook, which not every server has. So what this
process delivered in a day is compared with one summary for each meter, of the customer who used it most, an hour after
that day. Other processes' usage comes on top, so only less than was delivered is a finding.

It costs a list of meters and at most five summaries a day, and waits behind everything else. Of more than five meters
those that were not looked at for longest come first. A process that ends within the day compares nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from stripe_meter.domain.blueprint import Names
from stripe_meter.errors import StripeMeterError, StripeRejected, StripeUnavailable

if TYPE_CHECKING:
    from stripe_meter.domain.usage import MeterEvent
    from stripe_meter.enforcement.flusher.tallies import Tallies
    from stripe_meter.gateway.clock import StripeClock
    from stripe_meter.gateway.gateway import Gateway
    from stripe_meter.gateway.usage import KnownMeter

log = logging.getLogger("stripe_meter.flusher")

DAY: Final = 86_400
#: Seconds after which Stripe has counted what it took.
LATER: Final = 3600
#: Seconds between two looks at the clock.
TICK: Final = 900.0
#: Summaries that are read in a day.
MOST_METERS: Final = 5
#: Pairs of customer and meter that are added up; further ones are left out.
MOST_PAIRS: Final = 256


@dataclass(slots=True)
class Window:
    """A day, and what was delivered of it; Unix seconds of Stripe's clock on full minutes."""

    start: int
    sent: dict[tuple[str, str], int] = field(default_factory=dict)

    @property
    def end(self) -> int:
        return self.start + DAY

    def add(self, event: MeterEvent) -> None:
        pair = event.event_name, event.customer
        if pair in self.sent or len(self.sent) < MOST_PAIRS:
            self.sent[pair] = self.sent.get(pair, 0) + event.value


class Recount:
    """Adds up what was delivered, and compares it; lives in the Stripe thread's loop."""

    def __init__(self, tallies: Tallies, clock: StripeClock) -> None:
        self._tallies, self._clock = tallies, clock
        self._open: Window | None = None
        self._closed: Window | None = None
        self._looked: dict[str, int] = {}

    def delivered(self, event: MeterEvent) -> None:
        """Stripe has accepted an event."""
        self._turn(event.timestamp)
        if self._open is None:
            self._open = Window(event.timestamp - event.timestamp % 60)
        # One that was held up until its day was over might not be counted when that day is looked at.
        if event.timestamp >= self._open.start:
            self._open.add(event)

    async def run(self, gateway: Gateway) -> None:
        """Compare every day; ends by cancellation."""
        while True:
            await asyncio.sleep(TICK)
            try:
                await self._look(gateway)
            except StripeMeterError as error:
                log.info("what Stripe counted could not be looked up: %s", error)

    def _turn(self, now: float) -> None:
        """Close the day when it is over."""
        if self._open is not None and now >= self._open.end:
            self._closed, self._open = self._open, None

    async def _look(self, gateway: Gateway) -> None:
        now = self._clock.now()
        self._turn(now)
        closed = self._closed
        if closed is None or now < closed.end + LATER:
            return
        self._closed, due = None, self._due(closed, Names(gateway.namespace))
        try:
            meters = await gateway.usage.meters() if due else {}
        except StripeUnavailable:
            self._closed = closed  # a key that may not read will not tomorrow either, but an outage ends
            raise
        for event_name, customer in due:
            self._looked[event_name] = closed.start
            if (meter := meters.get(event_name)) is not None:
                await self._compare(gateway, meter, closed, event_name, customer)

    def _due(self, window: Window, names: Names) -> list[tuple[str, str]]:
        """For each meter that bills somebody its busiest customer; what bills nobody is left out."""
        busiest: dict[str, str] = {}
        for event_name, customer in sorted(window.sent, key=window.sent.__getitem__):
            if event_name not in (names.spend, names.credits):
                busiest[event_name] = customer
        order = sorted(busiest, key=lambda name: (self._looked.get(name, 0), -window.sent[name, busiest[name]]))
        return [(name, busiest[name]) for name in order[:MOST_METERS]]

    async def _compare(
        self, gateway: Gateway, meter: KnownMeter, window: Window, event_name: str, customer: str
    ) -> None:
        sent, counted, is_known = window.sent[event_name, customer], 0, False
        with contextlib.suppress(StripeRejected):  # as for a customer who was deleted
            counted = await gateway.usage.counted(meter.id, customer, window.start, window.end)
            is_known = True
        if counted >= sent:
            return
        standing = await gateway.usage.standing(customer, window.start)
        if standing == "refunded" or (standing is None and not is_known):
            return  # what was taken back is counted off; what cannot be read is no finding
        self._tallies.uncounted += sent - counted
        if standing == "deleted":
            why = "the customer was deleted in Stripe"
        else:
            why = "nobody told why" if meter.active else "the meter is switched off"
        log.error(
            "Stripe counted %d of the %d units on %s that it took for %s in a day: %s; see what mends it: "
            "stripe-meter doctor server.py",
            counted,
            sent,
            event_name,
            customer,
            why,
        )
