"""Usage that Stripe took and then did not count: what its reports say.

Owns the frozen shape. Stripe answers a meter event before it looks at it, so these come later, by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MeterError:
    """One kind of rejection in one report.

    Attributes:
        event: `evt_…` of the report.
        meter: `mtr_…`, or None where no meter listens to the event's name.
        code: Stripe's word, such as `meter_event_customer_not_found`.
        count: Meter events that were not counted.
        sample: Stripe's sentence about one of them.
        identifier: Of the request that sent it, which is the event's own identifier; empty when Stripe names none.
        until: When the report ends, as API v2 writes times.
    """

    event: str
    meter: str | None
    code: str
    count: int
    sample: str
    identifier: str
    until: str

    def __str__(self) -> str:
        where = f"meter {self.meter}" if self.meter is not None else "a name that no meter listens to"
        return f"Stripe did not count {self.count} meter events of {where}: {self.code} ({self.sample})"
