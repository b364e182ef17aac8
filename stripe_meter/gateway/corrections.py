"""Taking a charge back: a negative meter event while the invoice is open, a credit note once it is final.

Owns which of the two it is. Cancelling the original event would cancel every call that was merged into it. A negative
event carries an identifier of its own, so asking twice takes back once; a credit note is found by its metadata first.

https://docs.stripe.com/api/billing/meter-event/create · https://docs.stripe.com/api/credit_notes/create
"""

from __future__ import annotations

from collections.abc import Collection
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Any, Final

from stripe_meter.domain.receipts import Voucher
from stripe_meter.domain.usage import event_timestamp
from stripe_meter.errors import ConfigurationError, StripeRejected
from stripe_meter.gateway.connection import Connection, plain

if TYPE_CHECKING:
    import stripe

#: Metadata key on a credit note: the receipt it takes back.
METADATA_VOID: Final = "stripe_meter_void"
#: Stripe takes events this far back, in seconds.
_REACH: Final = 34 * 86_400


class Corrections:
    """Takes charges back."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def take_back(self, voucher: Voucher, prices: Collection[str]) -> str:
        """Undo one charge; doing it again changes nothing.

        Args:
            voucher: What was charged.
            prices: Stripe prices (`price_…`) that bill the meter it was counted on.

        Returns:
            `evt` for a negative meter event, or the id of the credit note, `cn_…`.

        Raises:
            ConfigurationError: It is too old for a meter event, and no invoice bills it.
        """
        final = await self._final_invoice(voucher, prices)
        if final is not None:
            return await self._credit_note(voucher, *final)
        if self._connection.clock.now() - voucher.charged_at > _REACH:
            raise ConfigurationError("this charge is older than 34 days and on no invoice, so there is nothing to undo")
        await self._negative_event(voucher)
        return "evt"

    async def _final_invoice(
        self, voucher: Voucher, prices: Collection[str]
    ) -> tuple[stripe.Invoice, stripe.InvoiceLineItem] | None:
        """The invoice and its line that bill the moment of the charge, if Stripe takes no more usage for it."""
        if voucher.ledger == "allowance":
            return None
        listed = await self._connection.read(
            lambda client: client.v1.invoices.list_async(
                {"customer": voucher.customer, "created": {"gte": voucher.charged_at}, "limit": 100}
            )
        )
        for invoice in listed.data:
            for line in invoice.lines.data if invoice.status in ("open", "paid", "uncollectible") else ():
                is_then = line.period.start <= voucher.charged_at < line.period.end
                if is_then and line.amount > 0 and _price(line) in prices:
                    return invoice, line
        return None

    async def _credit_note(self, voucher: Voucher, invoice: stripe.Invoice, line: stripe.InvoiceLineItem) -> str:
        amount = int((voucher.unit_amount * voucher.billed).quantize(Decimal(1), ROUND_HALF_UP))
        if amount == 0:
            raise ConfigurationError("this charge was less than half a minor unit, so there is nothing to give back")
        made = await self._connection.read(
            lambda client: client.v1.credit_notes.list_async({"invoice": str(invoice.id), "limit": 100})
        )
        for note in made.data:
            if plain(note.metadata).get(METADATA_VOID) == voucher.number:
                return note.id
        params: dict[str, Any] = {
            "invoice": invoice.id,
            "lines": [{"type": "invoice_line_item", "invoice_line_item": line.id, "amount": amount}],
            "metadata": {METADATA_VOID: voucher.number},
            "reason": "order_change",
        }
        if invoice.status == "paid":
            params["credit_amount"] = amount
        note = await self._connection.write(
            lambda client, options: client.v1.credit_notes.create_async(params, options),
            key=f"void:{voucher.number}",
        )
        return note.id

    async def _negative_event(self, voucher: Voucher) -> None:
        identifier = f"void:{voucher.number}"
        params: dict[str, Any] = {
            "event_name": voucher.event_name,
            "payload": {"stripe_customer_id": voucher.customer, "value": str(-voucher.quantity)},
            "identifier": identifier,
            "timestamp": event_timestamp(voucher.charged_at),
        }
        try:
            await self._connection.write(
                lambda client, options: client.v1.billing.meter_events.create_async(params, options),
                key=identifier,
            )
        except StripeRejected as error:
            if "already exists with identifier" not in str(error):
                raise


def _price(line: stripe.InvoiceLineItem) -> str | None:
    details = None if line.pricing is None else line.pricing.price_details
    if details is None or details.price is None:
        return None
    return details.price if isinstance(details.price, str) else details.price.id
