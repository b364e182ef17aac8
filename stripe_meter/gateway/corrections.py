"""Taking a charge back: a negative meter event while the invoice is open, a credit note once it is final.

Owns which of the two it is. Cancelling the original event would cancel every call that was merged into it. What was
done is looked for first: by a list at the customer for negative events, by metadata for credit notes.

https://docs.stripe.com/api/billing/meter-event/create
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from stripe_meter.domain.receipts import Voucher
from stripe_meter.domain.usage import event_timestamp
from stripe_meter.errors import ConfigurationError, IdempotencyConflict, StripeRejected
from stripe_meter.gateway.connection import Connection
from stripe_meter.gateway.refund_notes import RefundNotes
from stripe_meter.gateway.voids import Voids

if TYPE_CHECKING:
    import stripe

#: Stripe takes events this far back, in seconds.
_REACH: Final = 34 * 86_400


@dataclass(frozen=True, slots=True)
class Undone:
    """A charge that was taken back.

    Attributes:
        id: `evt` for a negative meter event, or the id of the credit note, `cn_…`.
        is_new: Whether it was done now; False when it had been done before.
    """

    id: str
    is_new: bool


class Corrections:
    """Takes charges back."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._notes = RefundNotes(connection)
        self._voids = Voids(connection)
        # One after the other, for each writes a list that the one before has read.
        self._turn = asyncio.Lock()

    async def take_back(self, voucher: Voucher) -> Undone:
        """Undo one charge; doing it again changes nothing.

        Raises:
            ConfigurationError: It is too old for a meter event and on no invoice, or cost nothing on it.
        """
        async with self._turn:
            customer = await self._connection.read(
                lambda client: client.v1.customers.retrieve_async(voucher.customer, {"expand": ["subscriptions"]})
            )
            if getattr(customer, "deleted", False):
                raise ConfigurationError(f"{voucher.customer} was deleted in Stripe, so nothing can be given back")
            if self._voids.has(customer, voucher.number):
                return Undone("evt", is_new=False)
            if voucher.ledger in ("usage", "plan") and (note := await self._notes.give(voucher)) is not None:
                return Undone(*note)
            dated = self._date(voucher, customer)
            self._voids.check_room(customer)
            await self._negative_event(voucher, dated)
            await self._voids.add(customer, voucher.number)
            return Undone("evt", is_new=True)

    async def uncount(self, voucher: Voucher) -> None:
        """Take credits that were given back off the meter that makes their use visible; too late is no harm."""
        if self._connection.clock.now() - voucher.charged_at < 86_400:
            # Once, as long as Stripe knows the identifier.
            await self._negative_event(voucher, voucher.charged_at)

    def _date(self, voucher: Voucher, customer: stripe.Customer) -> int:
        """The date of the negative event: that of the usage, or now where only the same period reaches so far back."""
        now = int(self._connection.clock.now())
        if now - voucher.charged_at <= _REACH:
            return voucher.charged_at
        subscriptions = [] if customer.subscriptions is None else customer.subscriptions.data
        starts = [item.current_period_start for row in subscriptions for item in row.items.data]
        if voucher.ledger in ("usage", "plan") and any(start <= voucher.charged_at for start in starts):
            return event_timestamp(now)
        raise ConfigurationError("this charge is older than 34 days and on no invoice, so there is nothing to undo")

    async def _negative_event(self, voucher: Voucher, dated: int) -> None:
        identifier = f"void:{voucher.number}"
        params: dict[str, Any] = {
            "event_name": voucher.event_name,
            "payload": {"stripe_customer_id": voucher.customer, "value": str(-voucher.quantity)},
            "identifier": identifier,
            "timestamp": dated,
        }
        try:
            await self._connection.write(
                lambda client, options: client.v1.billing.meter_events.create_async(params, options),
                key=identifier,
            )
        except IdempotencyConflict:
            return  # dated otherwise, so it was sent before
        except StripeRejected as error:
            if "already exists with identifier" not in str(error):
                raise
