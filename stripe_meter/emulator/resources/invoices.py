"""Invoices: reading, previewing, finalising, paying, voiding.

Owns: /v1/invoices. Does not own: amounts (`invoicing`) or the moment a draft appears (`cycle`). A card that refuses
`pay` is a 402 and leaves the invoice open.
"""

from typing import Any, Final

from stripe_meter.emulator import cycle, invoicing
from stripe_meter.emulator.account import Account
from stripe_meter.emulator.errors import JSON, ApiError, invalid, missing
from stripe_meter.emulator.listing import page
from stripe_meter.emulator.resources.customers import existing
from stripe_meter.emulator.routing import PAGING, Operation
from stripe_meter.emulator.views import items_of, live_subscriptions


def _retrieve(account: Account, params: JSON, id: str) -> JSON:
    return account.store.get("invoice", id)


def _list(account: Account, params: JSON) -> JSON:
    rows = list(account.store.newest("invoice"))
    for name in ("customer", "status"):
        if name in params:
            rows = [row for row in rows if row[name] == params[name]]
    if "subscription" in params:
        rows = [row for row in rows if invoicing.subscription_of(row) == params["subscription"]]
    return page(rows, params, "/v1/invoices")


def _lines(account: Account, params: JSON, id: str) -> JSON:
    return page(account.store.get("invoice", id)["lines"]["data"], params, f"/v1/invoices/{id}/lines")


def _preview(account: Account, params: JSON) -> JSON:
    """The invoice that would come next, or now with `subscription_details[cancel_now]`."""
    subscription = _previewed(account, params)
    details: Any = params.get("subscription_details") or {}
    for name in details:
        if name != "cancel_now":
            raise invalid(f"The emulator does not implement subscription_details[{name}].", name, "not_emulated")
    items = items_of(account, subscription["id"])
    specs = account.pending_lines.get(subscription["id"], []) + cycle.usage_specs(account, items)
    if not details.get("cancel_now") and subscription["cancel_at"] is None:
        specs += [_next_fee(account, subscription, spec) for spec in cycle.fee_specs(account, items)]
    id = f"upcoming_in_{subscription['id'].partition('_')[2]}"
    return invoicing.preview(account, subscription, "upcoming", specs, id)


def _next_fee(account: Account, subscription: JSON, spec: JSON) -> JSON:
    price = account.store.get("price", spec["item"]["price"])
    start, end = cycle.period_of(account, subscription, price, spec["end"])
    return {**spec, "start": start, "end": end}


def _previewed(account: Account, params: JSON) -> JSON:
    if "subscription" in params:
        subscription = account.store.get("subscription", params["subscription"], "subscription", 400)
        if subscription["status"] in cycle.ENDED:
            raise missing("subscription", subscription["id"], "subscription", status=400)
        return subscription
    if "customer" not in params:
        raise invalid("Missing required param: customer or subscription.", "customer", "parameter_missing")
    rows = live_subscriptions(account, existing(account, params["customer"])["id"])
    if not rows:
        message = f"No upcoming invoices for customer: {params['customer']}"
        raise ApiError(400, message, code="invoice_upcoming_none")
    return rows[0]


def _finalize(account: Account, params: JSON, id: str) -> JSON:
    invoice = account.store.get("invoice", id)
    invoicing.finalize(account, invoice)
    cycle.settle_status(account, invoice)
    return invoice


def _pay(account: Account, params: JSON, id: str) -> JSON:
    invoice = account.store.get("invoice", id)
    method = params.get("payment_method")
    if method is not None:
        row = account.store.find("payment_method", method)
        if row is None or row["customer"] != invoice["customer"]:
            raise missing("PaymentMethod", method, "payment_method", status=400)
    pay_invoice(account, invoice, method)
    return invoice


def pay_invoice(account: Account, invoice: JSON, method: str | None = None) -> None:
    """Pay an invoice with `method` or the usual card; raises the card's 402."""
    if invoice["status"] == "draft":
        invoicing.finalize(account, invoice)
    if invoice["status"] != "paid" or invoice["amount_due"] > 0:
        subscription = account.store.find("subscription", invoicing.subscription_of(invoice))
        card = method or cycle.card_for(account, subscription, invoice["customer"])
        try:
            invoicing.pay(account, invoice, card)
        finally:
            cycle.settle_status(account, invoice)


def _void(account: Account, params: JSON, id: str) -> JSON:
    invoice = account.store.get("invoice", id)
    invoicing.void(account, invoice)
    cycle.settle_status(account, invoice)
    return invoice


ROOT: Final = "/v1/invoices"
KEY: Final = "invoice"
PREVIEW: Final = "customer subscription subscription_details preview_mode"
LIST: Final = f"customer status subscription {PAGING}"
LINES: Final = "limit starting_after ending_before"
OPERATIONS: Final = (
    Operation("POST", f"{ROOT}/create_preview", "InvoiceCreatePreviewParams", _preview, KEY, PREVIEW),
    Operation("GET", ROOT, "InvoiceListParams", _list, KEY, LIST),
    Operation("GET", ROOT + "/{id}", "InvoiceRetrieveParams", _retrieve, KEY),
    Operation("GET", ROOT + "/{id}/lines", "InvoiceLineItemListParams", _lines, KEY, LINES),
    Operation("POST", ROOT + "/{id}/finalize", "InvoiceFinalizeInvoiceParams", _finalize, KEY),
    Operation("POST", ROOT + "/{id}/pay", "InvoicePayParams", _pay, KEY, "payment_method off_session"),
    Operation("POST", ROOT + "/{id}/void", "InvoiceVoidInvoiceParams", _void, KEY),
)
