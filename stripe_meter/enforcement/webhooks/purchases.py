"""Handlers of purchases: what was paid for is there, once, also when the payer never came back to our page.

Owns no rule of its own: packs are given by the payment, as everywhere, and the account is read again.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from stripe_meter.enforcement.credits.grants import grant_pack

if TYPE_CHECKING:
    from stripe_meter.enforcement.webhooks.desk import Desk
    from stripe_meter.gateway.events import Event

log = logging.getLogger("stripe_meter")


async def session_done(desk: Desk, event: Event) -> None:
    """A Checkout was finished, or its bank transfer arrived."""
    if not _is_ours(desk, event):
        return
    # As the success page does it, but without the claim: the key waits for the payer.
    done = await desk.purchases.complete(desk.gateway, event.subject, None)
    if event.customer is not None:
        await desk.bought(event.customer)
    await desk.refresh(done.beneficiary)


async def session_failed(desk: Desk, event: Event) -> None:
    """A bank transfer came to nothing; no credits were given for it."""
    if _is_ours(desk, event):
        log.warning("the payment of %s failed after its Checkout; nothing was given for it", event.subject)
        await desk.refresh(event.customer)


async def paid(desk: Desk, event: Event) -> None:
    """A payment: credits, when a pack was sold. Most are invoices of subscriptions, which name no pack."""
    if not _is_ours(desk, event):
        return
    wallet = await grant_pack(desk.gateway, event.subject)
    if wallet is not None:
        desk.decision.prepaid.granted(wallet)
        await desk.refresh(event.customer)


async def subscribed(desk: Desk, event: Event) -> None:
    """A subscription began: of a second one the newer is ended and given back."""
    if event.customer is not None and _is_ours(desk, event):
        await desk.bought(event.customer)


def _is_ours(desk: Desk, event: Event) -> bool:
    return bool(event.subject) and event.metadata.get("stripe_meter") == desk.gateway.namespace
