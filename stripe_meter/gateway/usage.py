"""What a customer has used on a meter, as Stripe has counted it so far, and why it may be less than was sent.

Owns the event summary of one meter and customer. Stripe aligns summaries to minutes and counts events some
time after it took them, so the answer may lag by minutes; whoever needs an exact number counts on from here.

https://docs.stripe.com/api/billing/meter-event-summary/list
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from stripe_meter.gateway.connection import Connection
from stripe_meter.gateway.limiter import Priority
from stripe_meter.gateway.voids import Voids


@dataclass(frozen=True, slots=True)
class KnownMeter:
    """A meter, `mtr_…`, and whether it is switched on."""

    id: str
    active: bool


class Usage:
    """Reads event summaries."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def total(self, meter: str, customer: str, since: int) -> int:
        """Units that `customer` (`cus_…`) used on `meter` (`mtr_…`) since `since` (Unix seconds); never negative."""
        now = int(self._connection.clock.now())
        return await self._sum(meter, customer, since - since % 60, now - now % 60 + 120, Priority.ACCOUNT)

    async def counted(self, meter: str, customer: str, start: int, end: int) -> int:
        """The same for a while that is over, on full minutes; nobody waits for the answer."""
        return await self._sum(meter, customer, start, end, Priority.STATISTICS)

    async def meters(self) -> dict[str, KnownMeter]:
        """Every meter of the account by event name; of several the one that is switched on, else the newest."""
        page = await self._connection.read(
            lambda client: client.v1.billing.meters.list_async({"limit": 100}), Priority.STATISTICS
        )
        found: dict[str, KnownMeter] = {}
        async for row in page.auto_paging_iter():
            if row.status == "active" or row.event_name not in found:
                found[str(row.event_name)] = KnownMeter(row.id, row.status == "active")
        return found

    async def standing(self, customer: str, since: int) -> Literal["deleted", "refunded"] | None:
        """What makes less of the usage of `customer` since `since`: they were deleted, or charges were taken back."""
        found = await self._connection.read(
            lambda client: client.v1.customers.retrieve_async(customer), Priority.STATISTICS
        )
        if getattr(found, "deleted", False):
            return "deleted"
        return "refunded" if Voids(self._connection).any_since(found, since) else None

    async def _sum(self, meter: str, customer: str, start: int, end: int, priority: Priority) -> int:
        listed = await self._connection.read(
            lambda client: client.v1.billing.meters.event_summaries.list_async(
                meter, {"customer": customer, "start_time": start, "end_time": end}
            ),
            priority,
        )
        return max(0, int(sum(Decimal(str(row.aggregated_value)) for row in listed.data)))
