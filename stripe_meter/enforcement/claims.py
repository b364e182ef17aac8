"""What whoever comes back from Checkout is told, and the API key of who came without identity.

Owns who may read the key of a purchase, and for how long: whoever shows the claim that only the payer was sent back
with, within a day of paying. Who followed a payment link is told no claim, so that the id of the session has to do:
Stripe gives it to the payer's browser alone.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from stripe_meter.domain.identity import ApiKey
from stripe_meter.enforcement import audit

if TYPE_CHECKING:
    from stripe_meter.domain.money import Money
    from stripe_meter.enforcement.flusher.thread import StripeThread
    from stripe_meter.gateway.checkout import Session
    from stripe_meter.gateway.gateway import Gateway
    from stripe_meter.gateway.issuing import Issued

#: Seconds after paying in which a success link shows a key; idempotency keys live a day.
CLAIM_FOR: Final = 23 * 3600
#: Seconds that one more request may take.
_SHORT: Final = 2.0


@dataclass(frozen=True, slots=True)
class Completion:
    """What the success page has to say.

    Attributes:
        customer: Who paid, `cus_…`; None when the session is unknown, not paid, or not theirs who asks.
        issued: A new API key to be shown this once, or None.
        mode: Stripe's word for what they did: `subscription`, `payment` or `setup`.
        beneficiary: Whose credits were paid, where that may be somebody else: `cus_…` as the payer named it.
        already_shown: True when the key of this purchase was shown before.
        is_late: True when it is not shown any more.
        is_paid: False while a bank still has to say whether it pays.
        total: What was due at once; None where nothing was.
    """

    customer: str | None
    issued: Issued | None = None
    already_shown: bool = False
    is_late: bool = False
    mode: str = ""
    beneficiary: str | None = None
    is_paid: bool = True
    total: Money | None = None

    @property
    def key(self) -> ApiKey | None:
        """The API key to be shown."""
        return None if self.issued is None else self.issued.key


async def answer(
    gateway: Gateway, session: Session, claim: str | None, *, wallet: str | None, is_payer: bool
) -> Completion:
    """What is told about a complete session.

    Args:
        claim: The secret that was shown.
        wallet: Where the credits of this session are, once it is paid; None when it was no sale of ours.
        is_payer: They look at our page.
    """
    from stripe_meter.gateway.issuing import Occasion, TooLate

    assert session.customer is not None
    done = Completion(session.customer, mode=session.mode, is_paid=session.is_paid, total=session.total)
    if session.claim_hash is not None:
        if claim is None or not session.is_claimed_by(claim):
            return Completion(None)
    elif not is_payer or not await _is_keyless(gateway, session, wallet):
        return replace(done, beneficiary=session.reference)
    secret = session.id if session.claim_hash is None else f"{session.id}\n{claim}"
    try:
        occasion = Occasion(session.id, secret, session.created, CLAIM_FOR)
        issued = await gateway.issuing.issue(session.customer, occasion)
    except TooLate:
        return replace(done, is_late=True)
    if issued is None:
        return replace(done, already_shown=True)
    audit.record("key", action="made", customer=issued.key.customer, key=issued.key.id, session=session.id)
    return replace(done, issued=issued)


async def mark(thread: StripeThread, gateway: Gateway, issued: Issued, began: float, patience: float) -> None:
    """Mark a key as shown; where time is short, once it is on its way: one that is marked must not be lost by that.

    Args:
        began: Monotonic seconds at which whoever waits for it began to.
        patience: Seconds that they wait.
    """
    marking = thread.errand(gateway.issuing.shown(issued))
    if (left := began + patience - time.monotonic()) > _SHORT:
        await asyncio.wait([marking], timeout=min(left / 2, _SHORT))


async def _is_keyless(gateway: Gateway, session: Session, wallet: str | None) -> bool:
    """Whether a stranger paid by a payment link of ours for a pack of their own, which only a key lets them use."""
    if not session.is_of_link or wallet is None or session.customer is None:
        return False
    return await gateway.wallets.of(session.customer) == wallet
