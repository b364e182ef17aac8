"""Invoices: making, reading, finalising, paying, voiding.

Owns: /v1/invoices. Does not own: amounts (`invoicing`), previews (`invoice_preview`) or the moment a subscription's
draft appears (`cycle`). A card that refuses `pay` is a 402 and leaves the invoice open.
"""

from typing import Final

from stripe_meter.emulator import cycle, invoice_items, invoicing, taxes
from stripe_meter.emulator.account import Account
from stripe_meter.emulator.cards import card_for
from stripe_meter.emulator.currencies import currency_code
from stripe_meter.emulator.errors import JSON, invalid, missing
from stripe_meter.emulator.listing import matching, page
from stripe_meter.emulator.metadata import merged
from stripe_meter.emulator.resources.customers import existing
from stripe_meter.emulator.routing import PAGING, Operation


def _retrieve(account: Account, params: JSON, id: str) -> JSON:
    return account.store.get("invoice", id)


def _list(account: Account, params: JSON) -> JSON:
    rows = matching(account.store.newest("invoice"), params, "customer", "status")
    if "subscription" in params:
        rows = [row for row in rows if invoicing.subscription_of(row) == params["subscription"]]
    return page(rows, params, "/v1/invoices")


def _lines(account: Account, params: JSON, id: str) -> JSON:
    return page(account.store.get("invoice", id)["lines"]["data"], params, f"/v1/invoices/{id}/lines")


def _create(account: Account, params: JSON) -> JSON:
    """A draft of the customer's pending invoice items; Stripe's default leaves them out."""
    if "customer" not in params:
        raise invalid("Missing required param: customer.", "customer", "parameter_missing")
    customer = existing(account, params["customer"])
    currency = currency_code(params.get("currency") or customer["currency"] or invoicing.DEFAULT_CURRENCY)
    wanted = params.get("pending_invoice_items_behavior") == "include"
    rows = invoice_items.pending(account, customer, currency) if wanted else []
    invoice = invoicing.draft_of_items(account, customer, currency, [invoice_items.spec(account, row) for row in rows])
    for row in rows:
        row["invoice"] = invoice["id"]
    invoice["metadata"] = merged({}, params.get("metadata"))
    invoice.update({name: params[name] or None for name in ("description",) if name in params})
    invoice["auto_advance"] = params.get("auto_advance", False)
    if invoice["auto_advance"]:
        at = int(account.now() + account.switches.grace)
        invoice["automatically_finalizes_at"] = at
        account.clock.schedule(at, lambda: _advance(account, invoice))
    return invoice


def _advance(account: Account, invoice: JSON) -> None:
    if invoice["status"] == "draft" and account.store.find("invoice", invoice["id"]) is not None:
        cycle.collect(account, invoice)


def _finalize(account: Account, params: JSON, id: str) -> JSON:
    invoice = account.store.get("invoice", id)
    if not invoicing.finalize(account, invoice):
        raise invalid(taxes.MISSING, "automatic_tax", "customer_tax_location_invalid")
    cycle.settle_status(account, invoice)
    return invoice


def _pay(account: Account, params: JSON, id: str) -> JSON:
    invoice = account.store.get("invoice", id)
    method = params.get("payment_method")
    if method is not None:
        row = account.store.find("payment_method", method)
        if row is None or row["customer"] != invoice["customer"]:
            raise missing("PaymentMethod", method, "payment_method", status=400)
    pay_invoice(account, invoice, method, present=params.get("off_session") is False)
    return invoice


def pay_invoice(account: Account, invoice: JSON, method: str | None = None, *, present: bool = False) -> None:
    """Pay an invoice with `method` or the usual card; raises the card's 402."""
    if invoice["status"] == "draft" and not invoicing.finalize(account, invoice):
        raise invalid(taxes.MISSING, "automatic_tax", "customer_tax_location_invalid")
    if invoice["status"] != "paid" or invoice["amount_due"] > 0:
        subscription = account.store.find("subscription", invoicing.subscription_of(invoice))
        card = method or card_for(account, subscription, invoice["customer"])
        try:
            invoicing.pay(account, invoice, card, off_session=not present)
        finally:
            cycle.settle_status(account, invoice)


def _void(account: Account, params: JSON, id: str) -> JSON:
    invoice = account.store.get("invoice", id)
    invoicing.void(account, invoice)
    cycle.settle_status(account, invoice)
    return invoice


ROOT: Final = "/v1/invoices"
KEY: Final = "invoice"
CREATE: Final = "auto_advance currency customer description metadata pending_invoice_items_behavior"
LIST: Final = f"customer status subscription {PAGING}"
LINES: Final = "limit starting_after ending_before"
OPERATIONS: Final = (
    Operation("POST", ROOT, "InvoiceCreateParams", _create, KEY, CREATE),
    Operation("GET", ROOT, "InvoiceListParams", _list, KEY, LIST),
    Operation("GET", ROOT + "/{id}", "InvoiceRetrieveParams", _retrieve, KEY),
    Operation("GET", ROOT + "/{id}/lines", "InvoiceLineItemListParams", _lines, KEY, LINES),
    Operation("POST", ROOT + "/{id}/finalize", "InvoiceFinalizeInvoiceParams", _finalize, KEY),
    Operation("POST", ROOT + "/{id}/pay", "InvoicePayParams", _pay, KEY, "payment_method off_session"),
    Operation("POST", ROOT + "/{id}/void", "InvoiceVoidInvoiceParams", _void, KEY),
)
