"""Credit notes for single charges on invoices that are final.

Owns finding the lines that billed a charge and what of them is left to give back. Usage of one price may be several
lines, one for each tier; a call less would have been one less in the highest of them, so that is where it is given back
first. A note is found again by its metadata.

https://docs.stripe.com/api/credit_notes/create · https://docs.stripe.com/api/invoices/line_item
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Any, Final

from stripe_meter.domain.receipts import Voucher
from stripe_meter.errors import ConfigurationError
from stripe_meter.gateway.connection import Connection, plain

if TYPE_CHECKING:
    import stripe

#: Metadata key on a credit note: the receipt it takes back.
METADATA_VOID: Final = "stripe_meter_void"
_FINAL: Final = ("open", "paid", "uncollectible")


@dataclass(frozen=True, slots=True)
class _Billed:
    """One line of a final invoice that bills usage of the meter at the moment of the charge."""

    id: str
    amount: int
    unit_amount: Decimal


class RefundNotes:
    """Makes credit notes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # By price: its meter. By event name: the meter. Neither changes.
        self._meters: dict[str, str | None] = {}
        self._meter_of: dict[str, str] = {}

    async def give(self, voucher: Voucher) -> tuple[str, bool] | None:
        """Credit a charge on its invoice, once.

        Returns:
            The note, `cn_…`, and whether it was made now; None when no final invoice bills that moment.

        Raises:
            ConfigurationError: The charge is included in a plan, worth less than half a minor unit, or given back in
                full by other notes.
        """
        async for invoice in self._invoices(voucher):
            lines = await self._lines(invoice, voucher)
            if lines is None:
                continue
            notes = await self._notes(str(invoice.id))
            for note in notes:
                if plain(note.metadata).get(METADATA_VOID) == voucher.number:
                    return note.id, False
            return await self._make(voucher, invoice, _shares(voucher.billed, lines, _credited(notes))), True
        return None

    async def _notes(self, invoice: str) -> list[stripe.CreditNote]:
        page = await self._connection.read(
            lambda client: client.v1.credit_notes.list_async({"invoice": invoice, "limit": 100})
        )
        return [note async for note in page.auto_paging_iter()]

    async def _make(self, voucher: Voucher, invoice: stripe.Invoice, shares: Sequence[tuple[str, int]]) -> str:
        amount = sum(share for _, share in shares)
        if amount == 0:
            raise ConfigurationError(
                "this charge was included, given back already, or less than half a minor unit; nothing is left to undo"
            )
        params: dict[str, Any] = {
            "invoice": invoice.id,
            "lines": [
                {"type": "invoice_line_item", "invoice_line_item": line, "amount": share}
                for line, share in shares
                if share
            ],
            "metadata": {METADATA_VOID: voucher.number},
            "reason": "order_change",
        }
        if invoice.status == "paid":
            params["credit_amount"] = amount
        note: stripe.CreditNote = await self._connection.write(
            lambda client, options: client.v1.credit_notes.create_async(params, options),
            key=f"note:{voucher.number}",
        )
        return note.id

    async def _invoices(self, voucher: Voucher) -> AsyncIterator[stripe.Invoice]:
        """Final invoices made since the charge, newest first."""
        page = await self._connection.read(
            lambda client: client.v1.invoices.list_async(
                {"customer": voucher.customer, "created": {"gte": voucher.charged_at}, "limit": 100}
            )
        )
        async for invoice in page.auto_paging_iter():
            if invoice.status in _FINAL:
                yield invoice

    async def _lines(self, invoice: stripe.Invoice, voucher: Voucher) -> list[_Billed] | None:
        """What the invoice bills for the meter at that moment, in the order of tiers; None when it is another time."""
        rows = list(invoice.lines.data)
        if invoice.lines.has_more:
            page = await self._connection.read(
                lambda client: client.v1.invoices.line_items.list_async(str(invoice.id), {"limit": 100})
            )
            rows = [row async for row in page.auto_paging_iter()]
        then = [row for row in rows if row.period.start <= voucher.charged_at < row.period.end]
        meter = await self._meter(voucher.event_name)
        ours = [row for row in then if await self._meter_on(_price(row)) == meter]
        if not ours:
            return None
        return [_Billed(row.id, row.amount, _unit(row)) for row in ours if row.amount > 0]

    async def _meter(self, event_name: str) -> str:
        if event_name not in self._meter_of:
            page = await self._connection.read(lambda client: client.v1.billing.meters.list_async({"limit": 100}))
            async for meter in page.auto_paging_iter():
                self._meter_of[meter.event_name] = meter.id
        return self._meter_of.get(event_name, "")

    async def _meter_on(self, price: str | None) -> str | None:
        if price is None:
            return None
        if price not in self._meters:
            found = await self._connection.read(lambda client: client.v1.prices.retrieve_async(price))
            self._meters[price] = None if found.recurring is None else found.recurring.meter
        return self._meters[price]


def _shares(units: int, lines: Sequence[_Billed], credited: dict[str, int]) -> list[tuple[str, int]]:
    """What is given back on each line, in minor units, from the highest tier down."""
    shares, left = [], Decimal(units)
    for line in reversed(lines):
        rest = line.amount - credited.get(line.id, 0)
        if left <= 0 or rest <= 0 or line.unit_amount <= 0:
            continue
        whole = (left * line.unit_amount).quantize(Decimal(1), ROUND_HALF_UP)
        share = min(rest, int(whole))
        shares.append((line.id, share))
        left = Decimal(0) if share == whole else left - share / line.unit_amount
    return shares


def _credited(notes: Sequence[stripe.CreditNote]) -> dict[str, int]:
    """What other notes gave back on each line."""
    given: dict[str, int] = {}
    for note in notes:
        for line in note.lines.data if note.status != "void" else ():
            if line.invoice_line_item is not None:
                given[line.invoice_line_item] = given.get(line.invoice_line_item, 0) + line.amount
    return given


def _unit(row: stripe.InvoiceLineItem) -> Decimal:
    unit = None if row.pricing is None else row.pricing.unit_amount_decimal
    if unit is not None:
        return Decimal(str(unit))
    return Decimal(row.amount) / row.quantity if row.quantity else Decimal(0)


def _price(row: stripe.InvoiceLineItem) -> str | None:
    details = None if row.pricing is None else row.pricing.price_details
    if details is None or details.price is None:
        return None
    return details.price if isinstance(details.price, str) else details.price.id
