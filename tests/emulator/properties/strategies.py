"""What the machine draws: values of events, prices of every scheme, credit grants."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from tests.emulator.properties.arithmetic import Interval, Price, Tier
from tests.emulator.properties.model import DAY

#: Numbers of units at which tiers end, and of which usage is often made.
EDGES = (1, 2, 5, 7, 12, 24, 60)
#: Whole, fractional, negative, zero, and what is no number or has more than 15 digits.
VALUES = st.one_of(
    st.sampled_from(EDGES).map(str),
    st.integers(-3, 400).map(str),
    st.decimals(Decimal("-2"), Decimal("50"), places=3, allow_nan=False).map(str),
    st.sampled_from(["2500", "0.000001", "999999", "", "ten", "1e3", "1234567890123456"]),
)
#: Cents with up to 12 places.
UNITS = st.one_of(
    st.integers(1, 300).map(str),
    st.integers(20, 90).map(str),
    st.decimals(Decimal(0), Decimal(90), places=4).map(lambda number: f"{number:f}"),
    st.sampled_from(["0.5", "2.5", "12.5"]),
    st.sampled_from(["0.333333333333", "0.000000000001", "0"]),
)
INTERVALS: st.SearchStrategy[Interval] = st.sampled_from(["day", "week", "week", "month", "month"])


@st.composite
def prices(draw: st.DrawFn, interval: Interval, meter: str | None) -> Price:
    """A price of any scheme, still without id; without a meter a fee."""
    if meter is None:
        return Price("", interval, None, str(draw(st.integers(1, 5000))))
    scheme = draw(st.sampled_from(["unit", "package", "graduated", "volume"]))
    if scheme in ("unit", "package"):
        package = (draw(st.integers(2, 12)), draw(st.sampled_from(["up", "down"]))) if scheme == "package" else None
        return Price("", interval, meter, draw(UNITS), package)
    bounds = sorted(draw(st.sets(st.sampled_from(EDGES), max_size=3)))
    # No flat fee in the first tier: whether no usage at all costs it is not documented.
    tiers = [
        Tier(up_to, draw(UNITS), draw(st.sampled_from([0, 0, 500])) if number else 0)
        for number, up_to in enumerate([*bounds, None])
    ]
    return Price("", interval, meter, tiers=tuple(tiers), volume=scheme == "volume")


#: Seconds that pass, all whole minutes: a clock that ticks between two of the machine's moments decides no tie.
PAUSES = st.sampled_from([0, 60, 3600, 10 * 3600, DAY - 1800, DAY, 3 * DAY])
#: Of an event: seconds from now. Mostly just now; else far back, or near the edges of the window.
SINCE = st.one_of(
    st.integers(-7200, 0),
    st.integers(-7200, 0),
    st.sampled_from([0, -1, -60, -3600, -DAY, -20 * DAY, -35 * DAY + 1, -35 * DAY - 1, 299, 301]),
)
#: Value, seconds from now, and which of a few identifiers.
EVENTS = st.lists(st.tuples(VALUES, SINCE, st.integers(0, 20)), min_size=1, max_size=6)
#: Of a grant: `ends` is a number of seconds, or said by the end of the customer's running period.
GRANTS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "value": st.one_of(st.integers(1, 9), st.integers(10, 400), st.integers(10, 9000)),
        "priority": st.sampled_from([None, None, None, 0, 50, 51]),
        "category": st.sampled_from([None, "paid", "promotional", "promotional"]),
        "starts": st.sampled_from([None, None, None, 0, 3600]),
        "ends": st.sampled_from([None, None, DAY, 45 * DAY, "with the period", "in the grace", "in the grace"]),
        "scoped": st.sampled_from([False, False, False, True]),
    }
)
