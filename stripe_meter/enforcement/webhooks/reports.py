"""Handlers of reports about meter events that Stripe took and then did not count.

The delivery names only the report; what stands in it is fetched. Each is logged and kept for health checks.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stripe_meter.enforcement.webhooks.desk import Desk
    from stripe_meter.gateway.events import Event

log = logging.getLogger("stripe_meter")


async def reported(desk: Desk, event: Event) -> None:
    """Usage was lost, or will be until somebody mends why."""
    known = {error.event for error in desk.meter_errors}
    for error in await desk.gateway.events.report(event.id):
        if error.event not in known:
            desk.meter_errors.append(error)
            log.error("%s; see what mends it: stripe-meter doctor", error)
