"""Charging a saved card without its owner: one payment for one pack, and what becomes of it.

Owns the three ways it can end. A card that wants its owner (3-D Secure) or is declined ends the payment for good: it is
cancelled, so that nobody can pay it later beside the Checkout link that takes its place. Made first and confirmed
second, so that its id is known whatever the confirmation answers.

https://docs.stripe.com/payments/save-and-reuse · https://docs.stripe.com/declines/codes
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from stripe_meter.errors import StripeRejected, StripeUnavailable
from stripe_meter.gateway.connection import Connection, plain
from stripe_meter.gateway.limiter import Priority

if TYPE_CHECKING:
    import stripe

#: Metadata key of a payment: for which occasion it was made.
METADATA_OCCASION: Final = "stripe_meter_occasion"

Outcome = Literal["paid", "processing", "authentication_required", "declined"]
_OVER: Final[Mapping[str, Outcome]] = {"succeeded": "paid", "processing": "processing"}


@dataclass(frozen=True, slots=True)
class Bill:
    """What is charged.

    Attributes:
        customer: `cus_…`.
        method: `pm_…`.
        amount: Minor units.
        currency: Lower-case ISO code.
        description: One line for receipts and the Dashboard.
        metadata: What the payment says it was for.
    """

    customer: str
    method: str
    amount: int
    currency: str
    description: str
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Charge:
    """A payment (`pi_…`) and how it ended."""

    payment: str
    outcome: Outcome


class Payments:
    """Charges saved cards."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        self._connection = connection
        self._namespace = namespace
        #: Failures of creating a payment that Stripe would repeat, by occasion.
        self._failed: dict[str, int] = {}

    async def charge(self, bill: Bill, occasion: str, *, present: bool, since: int) -> Charge:
        """Charge a card; on the same occasion once, however often it is asked.

        Args:
            occasion: Names the payment: it is its idempotency key, and it is found again by it when that is forgotten.
            present: Whether the customer is there and asked for it; else it is an off-session payment they agreed to.
            since: Unix seconds before which the occasion cannot have been tried.
        """
        intent = await self._find(bill.customer, occasion, since) or await self._create(bill, occasion)
        if intent.status in _OVER or intent.status == "canceled" or intent.last_payment_error is not None:
            # Tried before; a bank is not asked the same question twice.
            return await self._ended(intent, None)
        return await self._confirm(intent.id, bill.method, present=present)

    async def _create(self, bill: Bill, occasion: str) -> stripe.PaymentIntent:
        params: Any = {
            "customer": bill.customer,
            "amount": bill.amount,
            "currency": bill.currency,
            "description": bill.description,
            "metadata": {**bill.metadata, "stripe_meter": self._namespace, METADATA_OCCASION: occasion},
            # A redirect would need somebody to be redirected.
            "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
        }
        # All processes that meet a stored failure go on by the same names, so they still make one payment.
        failed = self._failed.get(occasion, 0)
        try:
            return await self._connection.write(
                lambda client, options: client.v1.payment_intents.create_async(params, options),
                key=f"{occasion}:s{failed}" if failed else occasion,
                priority=Priority.PURCHASE,
            )
        except StripeUnavailable as error:
            if error.stored:
                self._failed[occasion] = failed + 1
            raise

    async def _confirm(self, intent: str, method: str, *, present: bool) -> Charge:
        params: Any = {"payment_method": method}
        params["error_on_requires_action" if present else "off_session"] = True
        code = None
        try:
            made = await self._connection.write(
                lambda client, options: client.v1.payment_intents.confirm_async(intent, params, options),
                # A payment is paid once whatever the key; a stored failure would be answered for a day.
                priority=Priority.PURCHASE,
            )
        except StripeRejected as error:
            # Declined, or over already: only the payment itself tells which.
            code = error.code
            made = await self._retrieve(intent)
        return await self._ended(made, code)

    async def _ended(self, made: stripe.PaymentIntent, code: str | None) -> Charge:
        if made.status not in (*_OVER, "canceled"):
            made = await self._cancel(made.id)
        if made.status in _OVER:
            return Charge(made.id, _OVER[made.status])
        code = made.last_payment_error.code if made.last_payment_error is not None else code
        return Charge(made.id, "authentication_required" if code == "authentication_required" else "declined")

    async def _cancel(self, intent: str) -> stripe.PaymentIntent:
        try:
            return await self._connection.write(
                lambda client, options: client.v1.payment_intents.cancel_async(
                    intent, {"cancellation_reason": "abandoned"}, options
                ),
                priority=Priority.PURCHASE,
            )
        except StripeRejected:
            # It is over already; another process, or an answer that was lost.
            return await self._retrieve(intent)

    async def _retrieve(self, intent: str) -> stripe.PaymentIntent:
        return await self._connection.read(
            lambda client: client.v1.payment_intents.retrieve_async(intent), Priority.PURCHASE
        )

    async def _find(self, customer: str, occasion: str, since: int) -> stripe.PaymentIntent | None:
        """The payment of an occasion: an idempotency key is forgotten after a day, metadata is not."""
        params: dict[str, Any] = {"customer": customer, "limit": 100}
        found: list[stripe.PaymentIntent] = []
        while True:
            listed = await self._connection.read(_listing(params), Priority.PURCHASE)
            rows = [row for row in listed.data if row.created >= since]
            found += [row for row in rows if plain(row.metadata).get(METADATA_OCCASION) == occasion]
            if not listed.has_more or len(rows) < len(listed.data):
                # Failures may have left several, none of them paid but one; the oldest is the one all agree on.
                return min(reversed(found), key=_rank, default=None)
            params["starting_after"] = listed.data[-1].id


def _rank(intent: stripe.PaymentIntent) -> int:
    """Money that was taken first, then what was tried, then what was only made."""
    if intent.status in _OVER:
        return 0
    return 1 if intent.status == "canceled" or intent.last_payment_error is not None else 2


def _listing(params: Any) -> Callable[[stripe.StripeClient], Awaitable[stripe.ListObject[stripe.PaymentIntent]]]:
    def request(client: stripe.StripeClient) -> Awaitable[stripe.ListObject[stripe.PaymentIntent]]:
        return client.v1.payment_intents.list_async(params)

    return request
