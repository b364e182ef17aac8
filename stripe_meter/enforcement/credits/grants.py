"""Money in and back: credits for a pack that was paid, a gift of the author's, a charge that was taken back.

Owns doing each of these exactly once. Stripe forgets an idempotency key after a day, so what is older is looked for in
the ledger first; what was sold is marked as given on its payment. Runs in the Stripe thread.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from stripe_meter.enforcement.credits.steps import KEYS_LIVE
from stripe_meter.errors import StripeUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stripe_meter.gateway.gateway import Gateway

_TRIES: Final = 4
#: Clocks of two answers may differ by so many seconds.
_CLOCKS: Final = 60


async def grant_pack(gateway: Gateway, intent: str) -> str | None:
    """Give the credits of a pack for its payment (`pi_…`), once however often it is asked.

    Returns:
        The wallet, `cus_…`; None when the payment is no sale of ours, or not paid.

    Raises:
        StripeMeterError: Ask again; nothing is given twice.
    """
    payment = await gateway.wallets.payment(intent)
    if not payment.is_paid or not payment.units or payment.customer is None:
        return None
    wallet = await gateway.wallets.ensure(payment.customer)
    if payment.granted is not None:
        return wallet
    marks = {"sm": "topup", "pi": intent}
    name, what = f"topup:{intent}", "bought"
    given = await give_once(gateway, wallet, payment.units, payment.currency, name, marks, what, payment.created)
    await gateway.wallets.mark_granted(intent, given)
    return wallet


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
            return made.id


async def _find(gateway: Gateway, wallet: str, marks: Mapping[str, str], since: int) -> str | None:
    async with aclosing(gateway.wallets.pages(wallet, since - _CLOCKS)) as pages:
        async for page in pages:
            for row in page.rows:
                if all(row.metadata.get(name) == value for name, value in marks.items()):
                    return row.id
    return None
