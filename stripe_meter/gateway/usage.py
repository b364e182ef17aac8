"""What a customer has used on a meter, as Stripe has counted it so far.

Owns one read: the event summary of one meter and customer. Stripe aligns summaries to minutes and counts events some
time after it took them, so the answer may lag by minutes; whoever needs an exact number counts on from here.

https://docs.stripe.com/api/billing/meter-event-summary/list
"""

from __future__ import annotations

from decimal import Decimal

from stripe_meter.gateway.connection import Connection
from stripe_meter.gateway.limiter import Priority


class Usage:
    """Reads event summaries."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def total(self, meter: str, customer: str, since: int) -> int:
        """Units that `customer` (`cus_…`) used on `meter` (`mtr_…`) since `since` (Unix seconds); never negative."""
        now = int(self._connection.clock.now())
        start, end = since - since % 60, now - now % 60 + 120
        listed = await self._connection.read(
            lambda client: client.v1.billing.meters.event_summaries.list_async(
                meter, {"customer": customer, "start_time": start, "end_time": end}
            ),
            Priority.ACCOUNT,
        )
        return max(0, int(sum(Decimal(str(row.aggregated_value)) for row in listed.data)))
