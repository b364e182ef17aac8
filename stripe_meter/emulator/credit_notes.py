"""Credit notes: taking back a part of a final invoice.

Owns: what a credit note may take back, and what it does to invoice, customer balance and payment. Does not own: the
endpoints (`resources.credit_notes`). On an open invoice it lowers what is due; on a paid one its total must be
refunded, credited to the balance, or settled elsewhere. Billing credits used by the invoice are not given back.
"""

from decimal import Decimal
from typing import Final

from stripe_meter.emulator import cycle, invoicing, payments
from stripe_meter.emulator.account import Account
from stripe_meter.emulator.billing import plain, rounded
from stripe_meter.emulator.errors import JSON, invalid, only
from stripe_meter.emulator.metadata import merged
from stripe_meter.emulator.refunding import refund

WAYS: Final = ("credit_amount", "out_of_band_amount", "refund_amount")
LINE: Final = frozenset({"amount", "description", "invoice_line_item", "quantity", "type", "unit_amount", "metadata"})


def of(account: Account, invoice: JSON) -> list[JSON]:
    """The issued credit notes of an invoice."""
    rows = account.store.all("credit_note")
    return [row for row in rows if row["invoice"] == invoice["id"] and row["status"] == "issued"]


def form(account: Account, fields: JSON) -> JSON:
    """A checked credit note that is not stored and has moved no money."""
    invoice = account.store.get("invoice", fields["invoice"], "invoice", 400)
    if invoice["status"] not in ("open", "paid"):
        raise invalid("A credit note can be created for an open or paid invoice only.", "invoice")
    id = account.ids.new("cn")
    lines = _lines(account, invoice, id, fields)
    total = sum(line["amount"] for line in lines) if lines else fields.get("amount", 0)
    taken = sum(row["total"] for row in of(account, invoice))
    if total <= 0:
        raise invalid("You must specify `amount` or `lines` with an amount above zero.", "amount", "parameter_missing")
    if total > invoice["total"] - taken:
        message = (
            f"The credit note's amount ({total}) exceeds what is left of the invoice ({invoice['total'] - taken})."
        )
        raise invalid(message, "amount")
    paid = invoice["status"] == "paid"
    _check_ways(invoice, fields, total, paid)
    number = sum(1 for row in account.store.all("credit_note") if row["invoice"] == invoice["id"]) + 1
    return {
        "id": id,
        "object": "credit_note",
        **dict.fromkeys(("customer_account", "customer_balance_transaction", "shipping_cost", "voided_at")),
        "amount": total,
        "amount_shipping": 0,
        "created": account.now(),
        "currency": invoice["currency"],
        "customer": invoice["customer"],
        "discount_amount": 0,
        "discount_amounts": [],
        "effective_at": fields.get("effective_at", account.now()),
        "invoice": invoice["id"],
        "lines": {
            "object": "list",
            "data": lines or [_plain_line(account, total)],
            "has_more": False,
            "url": f"/v1/credit_notes/{id}/lines",
        },
        "livemode": False,
        "memo": fields.get("memo"),
        "metadata": merged({}, fields.get("metadata")),
        "number": f"{invoice['number']}-CN-{number:02d}",
        "out_of_band_amount": fields.get("out_of_band_amount"),
        "pdf": f"{account.base_url}/i/{invoice['id']}",
        "post_payment_amount": total if paid else 0,
        "pre_payment_amount": 0 if paid else total,
        "pretax_credit_amounts": [],
        "reason": fields.get("reason"),
        "refunds": [],
        "status": "issued",
        "subtotal": total,
        "subtotal_excluding_tax": total,
        "total": total,
        "total_excluding_tax": total,
        "total_taxes": [],
        "type": "post_payment" if paid else "pre_payment",
    }


def _check_ways(invoice: JSON, fields: JSON, total: int, paid: bool) -> None:
    given = sum(fields.get(name, 0) for name in WAYS)
    if not paid and given:
        raise invalid("An open invoice has nothing to refund or credit.", next(name for name in WAYS if name in fields))
    if paid and given != total:
        message = f"The sum of credit, refund and out of band amounts ({given}) must equal the total ({total})."
        raise invalid(message, "credit_amount")


def _lines(account: Account, invoice: JSON, note: str, fields: JSON) -> list[JSON]:
    if "lines" in fields and "amount" in fields:
        raise invalid("You may only specify one of `amount` and `lines`.", "amount")
    return [_line(account, invoice, one, f"lines[{number}]") for number, one in enumerate(fields.get("lines") or [])]


def _line(account: Account, invoice: JSON, fields: JSON, where: str) -> JSON:
    only(fields, LINE, where)
    if fields["type"] == "custom_line_item":
        amount = fields.get("amount", fields.get("unit_amount", 0) * fields.get("quantity", 1))
        return {**_plain_line(account, amount), "description": fields.get("description")}
    known = {row["id"]: row for row in invoice["lines"]["data"]}
    source = known.get(fields.get("invoice_line_item", ""))
    if source is None:
        raise invalid("No such invoice line item.", f"{where}[invoice_line_item]", "resource_missing")
    quantity = fields.get("quantity")
    unit = (source["pricing"] or {}).get("unit_amount_decimal")
    amount = fields.get("amount")
    if amount is None:
        amount = source["amount"] if quantity is None else rounded(Decimal(unit or 0) * quantity)
    taken = sum(
        line["amount"]
        for row in of(account, invoice)
        for line in row["lines"]["data"]
        if line.get("invoice_line_item") == source["id"]
    )
    if amount > source["amount"] - taken:
        raise invalid(f"The line has {source['amount'] - taken} left to credit.", f"{where}[amount]")
    row = {**_plain_line(account, amount), "description": source["description"], "type": "invoice_line_item"}
    row.update(invoice_line_item=source["id"], quantity=quantity, unit_amount_decimal=unit)
    return row


def _plain_line(account: Account, amount: int) -> JSON:
    return {
        "id": account.ids.new("cnli"),
        "object": "credit_note_line_item",
        "amount": amount,
        "description": None,
        "discount_amount": 0,
        "discount_amounts": [],
        "livemode": False,
        "metadata": {},
        "pretax_credit_amounts": [],
        "quantity": None,
        "tax_rates": [],
        "taxes": [],
        "type": "custom_line_item",
        "unit_amount": None,
        "unit_amount_decimal": plain(Decimal(amount)),
    }


def issue(account: Account, note: JSON, fields: JSON) -> None:
    """Store a note and move the money it names; a refund that Stripe would refuse stores nothing."""
    invoice = account.store.get("invoice", note["invoice"])
    if fields.get("refund_amount"):
        intent = payments.intent_of(account, invoice)
        if intent is None:
            raise invalid("The invoice was not paid by a payment that could be refunded.", "refund_amount")
        row = refund(account, intent, {"amount": fields["refund_amount"]})
        note["refunds"] = [
            {"amount_refunded": row["amount"], "payment_record_refund": None, "refund": row["id"], "type": "refund"}
        ]
    account.store.add(note)
    if fields.get("credit_amount"):
        customer = account.store.get("customer", invoice["customer"])
        more = {"credit_note": note["id"]}
        moved = invoicing.change_balance(account, customer, -fields["credit_amount"], "credit_note", invoice, more)
        note["customer_balance_transaction"] = moved["id"]
    kind = "post" if invoice["status"] == "paid" else "pre"
    invoice[f"{kind}_payment_credit_notes_amount"] += note["total"]
    if kind == "pre":
        _lower(account, invoice, note["total"])


def _lower(account: Account, invoice: JSON, amount: int) -> None:
    """Less is due on an open invoice; nothing left means paid."""
    invoice["amount_due"] -= amount
    invoice["amount_remaining"] = invoice["amount_due"]
    intent = payments.intent_of(account, invoice)
    if intent is not None and invoice["amount_due"] > 0:
        intent["amount"] = invoice["amount_due"]
    if invoice["amount_due"] <= 0:
        invoice.update(amount_due=0, amount_remaining=0)
        invoicing.mark_paid(account, invoice)
        cycle.settle_status(account, invoice)


def void(account: Account, note: JSON) -> None:
    """Take a credit note of an open invoice back."""
    invoice = account.store.get("invoice", note["invoice"])
    if note["status"] == "void" or invoice["status"] != "open":
        raise invalid("You can only void an issued credit note of an open invoice.")
    note.update(status="void", voided_at=account.now())
    invoice["pre_payment_credit_notes_amount"] -= note["total"]
    _lower(account, invoice, -note["total"])
