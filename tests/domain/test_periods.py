"""Months that begin on a day of the author's choice."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stripe_meter.domain.periods import reset_after, reset_before

MOMENTS = st.integers(
    int(datetime(1999, 1, 1, tzinfo=UTC).timestamp()), int(datetime(2101, 1, 1, tzinfo=UTC).timestamp())
)


def at(*day: int) -> float:
    return datetime(*day, tzinfo=UTC).timestamp()  # type: ignore[arg-type,misc]  # year, month, day and perhaps more


@given(MOMENTS, st.integers(1, 31))
@example(int(at(2024, 2, 29)), 31)
@example(int(at(2023, 12, 31, 23, 59, 59)), 31)
def test_every_moment_belongs_to_one_period(now: int, day: int) -> None:
    """Half open, so that no call counts in two of them; starts at midnight UTC, on the day or the month's last one."""
    since, until = reset_before(now, day), reset_after(now, day)
    assert since <= now < until
    assert 28 * 86400 <= until - since <= 31 * 86400
    for start in (since, until):
        shown = datetime.fromtimestamp(start, UTC)
        assert (shown.hour, shown.minute, shown.second) == (0, 0, 0)
        assert shown.day == min(day, monthrange(shown.year, shown.month)[1])


@given(MOMENTS, st.integers(1, 31))
def test_periods_follow_each_other_without_a_gap(now: int, day: int) -> None:
    """The end of one is the beginning of the next."""
    until = reset_after(now, day)
    assert reset_before(until, day) == until
    assert reset_before(until - 1, day) == reset_before(now, day)


@pytest.mark.parametrize("year", [2023, 2024, 2100])
@pytest.mark.parametrize("month", range(1, 13))
@pytest.mark.parametrize("day", [1, 15, 28, 29, 30, 31])
def test_the_reset_falls_into_every_month_of_every_year(year: int, month: int, day: int) -> None:
    """Leap years and 2100, which is none, included."""
    last = monthrange(year, month)[1]
    start = at(year, month, min(day, last))
    assert reset_before(start, day) == start
    assert reset_after(start - 1, day) == start
    assert reset_before(start - 1, day) < start


@pytest.mark.parametrize(
    ("now", "day", "since", "until"),
    [
        ((2024, 2, 29, 12), 31, (2024, 2, 29), (2024, 3, 31)),
        ((2023, 2, 28), 31, (2023, 2, 28), (2023, 3, 31)),
        ((2023, 2, 27, 23, 59, 59), 29, (2023, 1, 29), (2023, 2, 28)),
        ((2024, 1, 1), 31, (2023, 12, 31), (2024, 1, 31)),
        ((2024, 12, 31), 1, (2024, 12, 1), (2025, 1, 1)),
        ((2024, 12, 31, 23, 59, 59), 15, (2024, 12, 15), (2025, 1, 15)),
    ],
)
def test_worked_out_by_hand(now: tuple[int, ...], day: int, since: tuple[int, ...], until: tuple[int, ...]) -> None:
    """Short months, leap days and the turn of the year."""
    assert (reset_before(at(*now), day), reset_after(at(*now), day)) == (at(*since), at(*until))
