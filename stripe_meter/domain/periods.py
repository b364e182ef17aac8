"""Months that begin on a day of the author's choice, in UTC.

Owns when an allowance starts anew: at 00:00 UTC of the reset day, or of the last day of a month that has no such day.
Times are Unix seconds.
"""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, datetime
from typing import Final

_DAY: Final = 86_400


def reset_before(now: float, reset_day: int) -> int:
    """The last start at or before `now`; `reset_day` is 1 to 31."""
    at = datetime.fromtimestamp(now, UTC)
    this = _start(at.year, at.month, reset_day)
    if this <= now:
        return this
    year, month = (at.year, at.month - 1) if at.month > 1 else (at.year - 1, 12)
    return _start(year, month, reset_day)


def reset_after(now: float, reset_day: int) -> int:
    """The next start after `now`."""
    at = datetime.fromtimestamp(reset_before(now, reset_day), UTC)
    year, month = (at.year, at.month + 1) if at.month < 12 else (at.year + 1, 1)
    return _start(year, month, reset_day)


def day_before(now: float) -> int:
    """The last 00:00 UTC at or before `now`."""
    return int(now) - int(now) % _DAY


def day_after(now: float) -> int:
    """The next 00:00 UTC after `now`."""
    return day_before(now) + _DAY


def _start(year: int, month: int, day: int) -> int:
    return int(datetime(year, month, min(day, monthrange(year, month)[1]), tzinfo=UTC).timestamp())
