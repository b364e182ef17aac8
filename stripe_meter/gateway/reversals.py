"""Reversals: money of a payment that went back, by a refund of the seller's or a dispute of the card holder's.

Owns reading both as they are now, and the marks on a customer by which every process sees that a dispute is open.

https://docs.stripe.com/api/refunds · https://docs.stripe.com/api/disputes
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from stripe_meter.domain.account import dispute_mark
from stripe_meter.gateway.connection import Connection
from stripe_meter.gateway.limiter import Priority

if TYPE_CHECKING:
    import stripe

#: Nothing was taken: a question of the bank's, not yet a dispute.
_INQUIRY: Final = frozenset({"warning_needs_response", "warning_under_review", "warning_closed", "prevented"})
#: The seller has the money again, or never lost it.
_SETTLED: Final = frozenset({"won", "warning_closed", "prevented"})
_FAILED: Final = frozenset({"failed", "canceled"})


@dataclass(frozen=True, slots=True)
class Reversal:
    """One refund or dispute.

    Attributes:
        id: `re_…` or `du_…`.
        payment: `pi_…`, or None for money that no payment of ours brought.
        amount: Minor units.
        created: Unix seconds.
        status: Stripe's word.
        is_taken: The money left the seller, if only for a while.
        is_returned: It is back.
        is_open: A dispute that may still take money, or did.
        payer: Whose card it was, `cus_…`, of a dispute; the credits may be somebody else's.
    """

    id: str
    payment: str | None
    amount: int
    created: int
    status: str
    is_taken: bool
    is_returned: bool
    is_open: bool = False
    payer: str | None = None


class Reversals:
    """Reads refunds and disputes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def refund(self, refund: str) -> Reversal:
        """A refund (`re_…`) as it is now. One that failed was taken and is returned."""
        found = await self._connection.read(lambda client: client.v1.refunds.retrieve_async(refund), Priority.PURCHASE)
        status = str(found.status)
        payment = _id(found.payment_intent)
        return Reversal(found.id, payment, found.amount, found.created, status, True, status in _FAILED)

    async def dispute(self, dispute: str) -> Reversal:
        """A dispute (`du_…`) as it is now."""
        found = await self._connection.read(
            lambda client: client.v1.disputes.retrieve_async(dispute, {"expand": ["payment_intent"]}),
            Priority.PURCHASE,
        )
        status, payment = str(found.status), found.payment_intent
        payer = None if payment is None or isinstance(payment, str) else payment.customer
        return Reversal(
            found.id,
            _id(payment),
            found.amount,
            found.created,
            status,
            status not in _INQUIRY,
            status == "won",
            status not in _SETTLED,
            _id(payer),
        )

    async def mark(self, customer: str, dispute: str, status: str | None) -> None:
        """Write on a customer that a dispute is open, or drop the mark with None; twice does no harm."""
        await self._connection.write(
            lambda client, options: client.v1.customers.update_async(
                customer, {"metadata": {dispute_mark(dispute): status or ""}}, options
            ),
            priority=Priority.PURCHASE,
        )


def _id(reference: str | stripe.PaymentIntent | stripe.Customer | None) -> str | None:
    return reference if isinstance(reference, str) or reference is None else reference.id
