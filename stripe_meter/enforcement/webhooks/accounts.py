"""Handlers of what changes whether and how a customer is served: subscriptions, invoices, the customer.

All of them read the customer again, for events come in any order and the snapshot in one may be older than ours.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stripe_meter.enforcement.webhooks.desk import Desk
    from stripe_meter.gateway.events import Event

log = logging.getLogger("stripe_meter")


async def changed(desk: Desk, event: Event) -> None:
    """Something about a customer is not as it was; a deleted one is closed."""
    await desk.refresh(event.customer)


async def deleted(desk: Desk, event: Event) -> None:
    """A customer is gone for good: they are not served any more, and cannot pay by a link that they still have."""
    await desk.refresh(event.customer)
    if event.customer is not None:
        await desk.purchases.withdraw(desk.gateway, event.customer)


async def not_finalised(desk: Desk, event: Event) -> None:
    """An invoice that Stripe cannot finish, for want of an address for tax for example: nobody will pay it."""
    log.error(
        "Stripe cannot finalise invoice %s of %s, so it is not paid; see it in the Dashboard → Billing → Invoices",
        event.subject,
        event.customer,
    )
    await desk.refresh(event.customer)
