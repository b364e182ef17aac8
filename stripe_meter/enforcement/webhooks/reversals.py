"""Handlers of money that goes back: refunds and disputes.

A refunded or disputed pack loses its share of credits. A mark on the customer tells every process that a dispute is
open, and one that hears of it late is told by the next read of the account: until it is won the customer is not served,
unless the seller goes on serving them; the mark is there in either case, so that the setting may change meanwhile.
Stripe goes on with a subscription whose payment went back, so it is ended: when the fee of the running period was
refunded as a whole, and when a dispute is lost whose customer is not served any more.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from stripe_meter.enforcement import audit
from stripe_meter.enforcement.credits.grants import take_share

if TYPE_CHECKING:
    from stripe_meter.enforcement.webhooks.desk import Desk
    from stripe_meter.gateway.events import Event

log = logging.getLogger("stripe_meter")


async def refunded(desk: Desk, event: Event) -> None:
    """A refund was made, or came to nothing."""
    back = await desk.gateway.reversals.refund(event.subject) if event.subject else None
    if back is None or back.payment is None:
        return
    payment = await desk.gateway.wallets.payment(back.payment)
    wallet = await take_share(desk.gateway, "refund", payment, back)
    if wallet is not None:
        desk.decision.prepaid.granted(wallet)
    if back.is_whole and back.payer is not None and not payment.units:
        subscription = await desk.gateway.reversals.paid_for(payment.id, back.payer, desk.gateway.namespace)
        if subscription is not None:
            await _end(desk, back.payer, subscription, f"its payment {payment.id} was refunded as a whole")
    await desk.refresh(payment.customer)


async def disputed(desk: Desk, event: Event) -> None:
    """A dispute was opened, changed or decided."""
    back = await desk.gateway.reversals.dispute(event.subject) if event.subject else None
    if back is None or back.payment is None:
        log.warning("dispute %s is about no payment that is known here", event.subject)
        return
    payment = await desk.gateway.wallets.payment(back.payment)
    wallet = await take_share(desk.gateway, "dispute", payment, back)
    if wallet is not None:
        desk.decision.prepaid.granted(wallet)
    # Not whose credits they were: anybody may pay for somebody else, and then complain.
    if back.payer is not None:
        await _mark(desk, back.payer, back.id, back.is_open, back.status)


async def _mark(desk: Desk, customer: str, dispute: str, is_open: bool, status: str) -> None:
    account = await desk.accounts.refresh(customer)
    is_ours = account.subscription is not None or account.wallet is not None or bool(account.keys)
    if account.deleted or not is_ours or (not is_open and not account.is_disputed):
        return
    await desk.gateway.reversals.mark(customer, dispute, status if is_open else None)
    if is_open and not (await desk.gateway.reversals.dispute(dispute)).is_open:
        # Decided meanwhile, and whoever heard of that may have been faster.
        await desk.gateway.reversals.mark(customer, dispute, None)
        is_open = False
    log.warning(
        "%s: dispute %s is %s, so their calls are %s", customer, dispute, status, _WORD[is_open and desk.pauses]
    )
    if status == "lost" and desk.pauses and account.subscription is not None:
        # Whoever is served no more is not charged any more.
        await _end(desk, customer, account.subscription.id, f"dispute {dispute} was lost")
    await desk.accounts.refresh(customer)


async def _end(desk: Desk, customer: str, subscription: str, why: str) -> None:
    await desk.gateway.reversals.end(subscription)
    audit.record("purchase", action="ended", customer=customer, subscription=subscription)
    log.warning("%s: %s has ended, for %s", customer, subscription, why)


_WORD = {True: "refused", False: "served"}
