"""Time that a test moves by hand: the emulated Stripe's and the StripeMeter's together.

Owns where it starts and what a step does. Time stands still in between. The tools' own clocks, timeouts and deadlines
go on as ever.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from stripe_meter.emulator import EmulatorServer
from stripe_meter.errors import ConfigurationError

if TYPE_CHECKING:
    from stripe_meter.enforcement.engine import Engine
    from stripe_meter.meter import StripeMeter


class HandClock:
    """The clock of one emulated Stripe, and of every StripeMeter it drives.

    It stands at noon UTC on the first of June that comes next, so that the first month of a customer has 30 days
    whenever the suite runs.

    Args:
        stripe: Nothing was asked of it yet.

    Raises:
        ConfigurationError: Something was made there before, which would be months old now.
    """

    def __init__(self, stripe: EmulatorServer) -> None:
        if stripe.emulator.requests:
            raise ConfigurationError(
                "the hand clock comes too late, the emulated Stripe was used already; "
                "name the fixture stripe_clock before the one that pays or calls"
            )
        self._clock = stripe.emulator.clock
        self._engines: list[Engine] = []
        self._clock.freeze()
        self._clock.advance(_next_june(self.now).timestamp() - self._clock.now())
        self._start = self._clock.now()
        self._began = time.monotonic()

    @property
    def now(self) -> datetime:
        """The time it shows, in UTC."""
        return datetime.fromtimestamp(self._clock.now(), UTC)

    def advance(self, *, days: int = 0, hours: int = 0, minutes: int = 0, seconds: int = 0) -> datetime:
        """Let this much time pass at once.

        What was called before is delivered first, as it would have been, for at most 5 real seconds. Then all that
        falls due on the way happens in order: periods end, invoices are drafted, an hour later final, and charged.

        Returns:
            The time it shows now.

        Raises:
            ValueError: The step is negative.
        """
        step = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds).total_seconds()
        if step < 0:
            raise ValueError("time only goes forward; write advance(days=31)")
        for engine in tuple(self._engines):
            engine.flush()
        self._clock.advance(step)
        return self.now

    @contextmanager
    def drive(self, billing: StripeMeter) -> Iterator[None]:
        """Have `billing` count time by this clock until this ends, then by the machine's again."""
        engine = billing.engine
        engine.keep_time_by(self._monotonic, self._clock.now)
        self._engines.append(engine)
        try:
            yield
        finally:
            self._engines.remove(engine)
            engine.keep_time_by(time.monotonic, time.time)

    def _monotonic(self) -> float:
        return self._began + self._clock.now() - self._start


def _next_june(now: datetime) -> datetime:
    june = now.replace(month=6, day=1, hour=12, minute=0, second=0, microsecond=0)
    return june if now < june else june.replace(year=june.year + 1)
