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
#: Metadata key of a payment by Checkout: the occasion for which the saved card did not pay.
METADATA_INSTEAD: Final = "stripe_meter_instead"
#: Metadata key of a payment: the key of the pack it pays.
METADATA_PACK: Final = "stripe_meter_pack"

Outcome = Literal["paid", "processing", "authentication_required", "declined"]
#: A bank has given the seller the money back, or never took it.
_SETTLED: Final = frozenset({"won", "warning_closed", "prevented"})
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
    """A payment (`pi_…`), how it ended, and the key of the pack it was for."""

    payment: str
    outcome: Outcome
    pack: str = ""


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
        is_other = (intent.amount, _pack(intent)) != (bill.amount, bill.metadata.get(METADATA_PACK, ""))
        if is_other or intent.status in _OVER or intent.status == "canceled" or intent.last_payment_error is not None:
            # Tried before, and a bank is not asked the same question twice; or made when something else was sold.
            return await self._ended(intent, None)
        return await self._confirm(intent.id, bill.method, present=present)

    async def known(self, customer: str, occasion: str) -> Charge | None:
        """The payment of an occasion, by the saved card or by Checkout in its place, that was made or is on its way."""
        found = await self._find(customer, occasion, 0)
        return Charge(found.id, _OVER[found.status], _pack(found)) if found and found.status in _OVER else None

    async def is_disputed(self, customer: str, since: int) -> bool:
        """Whether a payment of theirs is disputed now, or was and lost after `since` (Unix seconds)."""
        params: Any = {"customer": customer, "limit": 100}
        while True:
            listed = await self._connection.read(_charges(params), Priority.PURCHASE)
            for charge in [row.id for row in listed.data if row.disputed]:
                if await self._is_open(charge, since):
                    return True
            if not listed.has_more:
                return False
            params = {**params, "starting_after": listed.data[-1].id}

    async def _is_open(self, charge: str, since: int) -> bool:
        listed = await self._connection.read(
            lambda client: client.v1.disputes.list_async({"charge": charge, "limit": 100}), Priority.PURCHASE
        )
        return any(row.created >= since if row.status == "lost" else row.status not in _SETTLED for row in listed.data)

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
            return Charge(made.id, _OVER[made.status], _pack(made))
        code = made.last_payment_error.code if made.last_payment_error is not None else code
        outcome: Outcome = "authentication_required" if code == "authentication_required" else "declined"
        return Charge(made.id, outcome, _pack(made))

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
            found += [row for row in rows if _is_of(row, occasion)]
            if not listed.has_more or len(rows) < len(listed.data):
                # Failures may have left several, none of them paid but one; the oldest is the one all agree on.
                return min(reversed(found), key=_rank, default=None)
            params["starting_after"] = listed.data[-1].id


def _is_of(intent: stripe.PaymentIntent, occasion: str) -> bool:
    marks = plain(intent.metadata)
    if marks.get(METADATA_OCCASION) == occasion:
        return True
    # Checkout's own payments are not ours to confirm or to cancel.
    return marks.get(METADATA_INSTEAD) == occasion and intent.status in _OVER


def _pack(intent: stripe.PaymentIntent) -> str:
    return plain(intent.metadata).get(METADATA_PACK, "")


def _rank(intent: stripe.PaymentIntent) -> int:
    """Money that was taken first, then what was tried, then what was only made."""
    if intent.status in _OVER:
        return 0
    return 1 if intent.status == "canceled" or intent.last_payment_error is not None else 2


def _listing(params: Any) -> Callable[[stripe.StripeClient], Awaitable[stripe.ListObject[stripe.PaymentIntent]]]:
    def request(client: stripe.StripeClient) -> Awaitable[stripe.ListObject[stripe.PaymentIntent]]:
        return client.v1.payment_intents.list_async(params)

    return request


def _charges(params: Any) -> Callable[[stripe.StripeClient], Awaitable[stripe.ListObject[stripe.Charge]]]:
    return lambda client: client.v1.charges.list_async(params)
