"""Reversals: money of a payment that went back, by a refund of the seller's or a dispute of the card holder's.

Owns reading both as they are now, the marks on a customer by which every process sees that a dispute is open, and
ending the subscription that was paid back, which Stripe leaves as it is.

https://docs.stripe.com/api/refunds · https://docs.stripe.com/api/disputes
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from stripe_meter.domain.account import dispute_mark
from stripe_meter.errors import StripeRejected
from stripe_meter.gateway.connection import Connection, plain
from stripe_meter.gateway.limiter import Priority

if TYPE_CHECKING:
    import stripe

#: Nothing was taken: a question of the bank's, not yet a dispute.
_INQUIRY: Final = frozenset({"warning_needs_response", "warning_under_review", "warning_closed", "prevented"})
#: The seller has the money again, or never lost it.
_SETTLED: Final = frozenset({"won", "warning_closed", "prevented"})
_FAILED: Final = frozenset({"failed", "canceled"})
_PAGE: Final = 100


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
        payer: Whose card it was, `cus_…`; what it paid may be somebody else's.
        is_whole: Nothing is left of the payment.
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
    is_whole: bool = False


class Reversals:
    """Reads refunds and disputes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def refund(self, refund: str) -> Reversal:
        """A refund (`re_…`) as it is now. One that failed was taken and is returned."""
        found = await self._connection.read(
            lambda client: client.v1.refunds.retrieve_async(refund, {"expand": ["charge"]}), Priority.PURCHASE
        )
        status, charge = str(found.status), found.charge
        payment, is_returned = _id(found.payment_intent), status in _FAILED
        if charge is None or isinstance(charge, str):
            return Reversal(found.id, payment, found.amount, found.created, status, True, is_returned)
        whole = charge.refunded and not is_returned
        return Reversal(
            found.id,
            payment,
            found.amount,
            found.created,
            status,
            True,
            is_returned,
            payer=_id(charge.customer),
            is_whole=whole,
        )

    async def refunded_before(self, refund: Reversal) -> int:
        """Minor units of the same payment that refunds before this one sent back, those that failed among them."""
        params: Any = {"payment_intent": refund.payment, "limit": _PAGE}
        total, is_before = 0, False
        while True:
            listed = await self._connection.read(_listing(params), Priority.PURCHASE)
            for row in listed.data:  # newest first
                total += row.amount if is_before else 0
                is_before = is_before or row.id == refund.id
            if not listed.has_more:
                return total
            params["starting_after"] = listed.data[-1].id

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

    async def paid_for(self, payment: str, customer: str, namespace: str) -> str | None:
        """The live subscription of ours whose running period was paid by `payment` (`pi_…`) of `customer`, or None."""
        listed = await self._connection.read(
            lambda client: client.v1.subscriptions.list_async(
                {"customer": customer, "limit": 10, "expand": ["data.latest_invoice.payments"]}
            ),
            Priority.PURCHASE,
        )
        now = self._connection.clock.now()
        for row in listed.data:
            invoice = row.latest_invoice
            if invoice is None or isinstance(invoice, str) or invoice.payments is None:
                continue
            paid_by = {_id(one.payment.payment_intent) for one in invoice.payments.data}
            # Usage is billed when its period is over; a fee, when it begins.
            is_running = any(line.amount > 0 and line.period.end > now for line in invoice.lines.data)
            if payment in paid_by and is_running and plain(row.metadata).get("stripe_meter") == namespace:
                return row.id
        return None

    async def end(self, subscription: str) -> None:
        """End a subscription (`sub_…`) now and bill what was used; once it has ended, nothing."""
        try:
            await self._connection.write(
                lambda client, options: client.v1.subscriptions.cancel_async(
                    subscription, {"invoice_now": True, "prorate": False}, options
                ),
                priority=Priority.PURCHASE,
            )
        except StripeRejected as error:
            if error.code != "resource_missing":
                raise

    async def mark(self, customer: str, dispute: str, status: str | None) -> None:
        """Write on a customer that a dispute is open, or drop the mark with None; twice does no harm."""
        await self._connection.write(
            lambda client, options: client.v1.customers.update_async(
                customer, {"metadata": {dispute_mark(dispute): status or ""}}, options
            ),
            priority=Priority.PURCHASE,
        )


def _listing(params: Any) -> Callable[[stripe.StripeClient], Awaitable[stripe.ListObject[stripe.Refund]]]:
    return lambda client: client.v1.refunds.list_async(params)


def _id(reference: str | stripe.PaymentIntent | stripe.Customer | None) -> str | None:
    return reference if isinstance(reference, str) or reference is None else reference.id
