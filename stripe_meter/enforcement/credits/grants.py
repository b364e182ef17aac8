"""Money in and back: credits for a pack that was paid, a gift of the author's, a charge or a payment that went back.

Owns doing each of these exactly once. Stripe forgets an idempotency key after a day, so what is older is looked for in
the ledger first; what was sold is marked as given on its payment. Runs in the Stripe thread.
"""

from __future__ import annotations

from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Final, Literal

from stripe_meter.enforcement import audit
from stripe_meter.enforcement.credits.steps import KEYS_LIVE
from stripe_meter.errors import IdempotencyConflict, StripeUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stripe_meter.gateway.gateway import Gateway
    from stripe_meter.gateway.reversals import Reversal
    from stripe_meter.gateway.wallets import Payment

_TRIES: Final = 4
#: Clocks of two answers may differ by so many seconds.
_CLOCKS: Final = 60

#: What a wallet's owner reads about a payment that went back, and about one that came again.
_SAID: Final = {
    "refund": ("a payment was refunded", "a refund did not arrive"),
    "dispute": ("a payment is disputed", "a dispute was settled"),
}


async def grant_pack(gateway: Gateway, intent: str) -> str | None:
    """Give the credits of a pack for its payment (`pi_…`), once however often it is asked.

    Returns:
        The wallet, `cus_…`; None when the payment is no sale of ours, or not paid.

    Raises:
        StripeMeterError: Ask again; nothing is given twice.
    """
    return await _grant(gateway, await gateway.wallets.payment(intent))


async def _grant(gateway: Gateway, payment: Payment) -> str | None:
    if not payment.is_paid or not payment.units or payment.customer is None:
        return None
    wallet = await gateway.wallets.ensure(payment.customer)
    if payment.granted is not None:
        return wallet
    marks = {"sm": "topup", "pi": payment.id}
    name, what = f"topup:{payment.id}", "bought"
    given = await give_once(gateway, wallet, payment.units, payment.currency, name, marks, what, payment.created)
    if payment.agreed is not None and payment.terms is not None:
        await gateway.top_ups.agree(payment.customer, payment.agreed, payment.terms, payment.created)
    await gateway.wallets.mark_granted(payment.id, given)
    return wallet


async def take_share(
    gateway: Gateway, kind: Literal["refund", "dispute"], payment: Payment, back: Reversal
) -> str | None:
    """Take the credits of that share of a pack's payment which went back; give them again where it came back.

    The ledger is the same in whatever order and however often this is asked: the sale is given first, then taken; a
    reversal that came to nothing is taken and given. A wallet may end in debt, which blocks until it is topped up.

    Returns:
        The wallet, `cus_…`; None when the payment is no sale of ours.
    """
    wallet = await _grant(gateway, payment)
    if wallet is None or not back.is_taken or not (units := await _share(gateway, kind, payment, back)):
        return wallet
    taken, returned = _SAID[kind]
    marks = {"sm": kind, "id": back.id}
    with suppress(IdempotencyConflict):  # it was taken already, as the share that it was then
        await give_once(gateway, wallet, -units, payment.currency, f"{kind}:{back.id}", marks, taken, back.created)
    if back.is_returned:
        key, marks = f"{kind}-back:{back.id}", {"sm": f"{kind}-back", "id": back.id}
        await give_once(gateway, wallet, units, payment.currency, key, marks, returned, back.created)
    return wallet


async def _share(gateway: Gateway, kind: str, payment: Payment, back: Reversal) -> int:
    """Units for what went back: refunds together take the share of their sum, rounded down, so that the last unit of a
    pack goes with the last cent of it and nobody loses a unit they paid for."""
    if not payment.amount:
        return 0
    units, rest = divmod(payment.units * back.amount, payment.amount)
    if not rest or kind == "dispute":
        return units
    before = await gateway.reversals.refunded_before(back)
    return payment.units * (before + back.amount) // payment.amount - payment.units * before // payment.amount


async def give_once(
    gateway: Gateway,
    wallet: str,
    units: int,
    currency: str,
    key: str,
    marks: Mapping[str, str],
    description: str,
    since: int,
) -> str:
    """Add `units` to a wallet unless a transaction with these marks exists; returns its id.

    Args:
        units: Ledger units; fewer than none are taken.
        key: Idempotency key.
        marks: Metadata by which the transaction is known.
        since: Unix seconds of what it is given for; nothing was given before that.
    """
    tried = 0
    is_old = gateway.connection.clock.now() - since > KEYS_LIVE
    if is_old and (found := await _find(gateway, wallet, marks, since)):
        return found
    while True:
        try:
            made = await gateway.wallets.add(
                wallet, -units, currency, f"{key}:{tried}" if tried else key, marks, description
            )
        except StripeUnavailable as error:
            if not error.stored or tried >= _TRIES:
                raise
            # Stripe repeats this failure for a day, and only the ledger tells whether it took effect.
            if found := await _find(gateway, wallet, marks, since):
                return found
            tried += 1
        else:
            # Whoever was a little later is answered with the same transaction, and says so too.
            audit.record("grant", wallet=wallet, units=units, transaction=made.id, why=":".join(marks.values()))
            return made.id


async def _find(gateway: Gateway, wallet: str, marks: Mapping[str, str], since: int) -> str | None:
    async with aclosing(gateway.wallets.pages(wallet, since - _CLOCKS)) as pages:
        async for page in pages:
            for row in page.rows:
                if all(row.metadata.get(name) == value for name, value in marks.items()):
                    return row.id
    return None
