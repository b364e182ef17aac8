"""Credit packs that a month of usage would have taken, by the arithmetic of the plan.

Owns that count: free calls first, then credits in ledger units, each call rounded up; whoever has too few buys the
first pack on offer, as the link in a refusal does. Credits that are left over are shown, because they stay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal

from stripe_meter.cli.simulate.bills import Bill, Line
from stripe_meter.cli.simulate.usage import Row
from stripe_meter.domain.offering import Offering
from stripe_meter.domain.periods import reset_before
from stripe_meter.domain.plans import Credits, Free


def by_packs(offering: Offering, plan: Credits, scale: int, rows: Sequence[Row]) -> Bill:
    """The bill of one customer who buys credits; `rows` are theirs, by time, `scale` ledger units are one credit."""
    pack, allowance = plan.packs[0], _Allowance(offering.free)
    left = bought = served = 0
    refused: Counter[str] = Counter()
    for row in rows:
        if row.tool.is_free or allowance.serves(row, offering):
            served += 1
            continue
        rate = offering.rate(row.tool, plan)
        if rate is None:
            refused["payment_required" if row.tool.feature is None else "feature_locked"] += 1
            continue
        served += 1
        while left < rate.quantity(row.most_units, scale):
            left += pack.credits * scale
            bought += 1
        left -= rate.quantity(row.charged_units, scale) if row.is_charged else 0
    line = Line(f"{bought} × {pack.name} ({Decimal(left) / scale:f} credits left)", bought * int(pack.amount.minor))
    return Bill(plan.name, plan.currency, (line,) if bought else (), served=served, refused=refused)


class _Allowance:
    """Free calls, counted by the months that begin on the reset day."""

    def __init__(self, plan: Free | None) -> None:
        self._plan = plan
        self._used: Counter[int] = Counter()

    def serves(self, row: Row, offering: Offering) -> bool:
        """Whether the call is free, which counts it."""
        plan = self._plan
        rate = None if plan is None else offering.rate(row.tool, plan)
        if plan is None or rate is None or rate.kind == "free":
            return rate is not None
        since = reset_before(row.time.timestamp(), plan.reset_day)
        if self._used[since] + rate.quantity(row.most_units) > plan.calls:
            return False
        self._used[since] += rate.quantity(row.charged_units) if row.is_charged else 0
        return True
