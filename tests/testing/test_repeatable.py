"""What makes one run of a recorded test like the next."""

from __future__ import annotations

import time
from email.utils import formatdate

from stripe_meter.gateway.clock import StripeClock
from stripe_meter.testing.repeatable import repeatable

BEGIN = 1_793_610_030


def test_stripes_time_stands_still_from_its_first_answer_on() -> None:
    """A slow machine must not date a meter event a second later than the recording does."""
    with repeatable(BEGIN, "seed"):
        clock = StripeClock()
        clock.learn(formatdate(BEGIN, usegmt=True))
        shown = clock.now()
        time.sleep(0.01)
        assert clock.now() == shown == BEGIN
    clock = StripeClock()
    clock.learn(formatdate(time.time(), usegmt=True))
    shown = clock.now()
    time.sleep(0.01)
    assert clock.now() > shown
