"""Invoice items: single amounts for the next invoice of a customer.

Owns: /v1/invoiceitems. Does not own: the object (`invoice_items`) or invoices. An item on an invoice cannot be deleted
once that invoice is final.
"""

from typing import Final

from stripe_meter.emulator import invoice_items, invoicing
from stripe_meter.emulator.account import Account
from stripe_meter.emulator.billing import rates_in
from stripe_meter.emulator.currencies import currency_code
from stripe_meter.emulator.errors import JSON, invalid
from stripe_meter.emulator.listing import matching, page
from stripe_meter.emulator.resources.customers import existing
from stripe_meter.emulator.routing import PAGING, Operation


def _create(account: Account, params: JSON) -> JSON:
    if "customer" not in params:
        raise invalid("Missing required param: customer.", "customer", "parameter_missing")
    customer = existing(account, params["customer"])
    if ("amount" in params) == ("pricing" in params):
        raise invalid("You must specify exactly one of `amount` and `pricing`.", "amount", "parameter_missing")
    currency = currency_code(params.get("currency") or customer["currency"] or invoicing.DEFAULT_CURRENCY)
    if customer["currency"] not in (None, currency):
        message = f"You cannot combine currencies on a single customer. This customer has {customer['currency']}."
        raise invalid(message, "currency")
    if "pricing" in params:
        price = account.store.get("price", params["pricing"].get("price", ""), "pricing[price]", 400)
        if price["recurring"] is not None:
            raise invalid("The price specified is recurring; only one-time prices fit here.", "pricing[price]")
        if rates_in(price, currency) is None:
            raise invalid(f"The price {price['id']} is not available in {currency}.", "pricing[price]")
    row = invoice_items.new_item(account, customer, {**params, "currency": currency})
    if "invoice" in params:
        _put(account, row, params["invoice"])
    return row


def _put(account: Account, row: JSON, id: str) -> None:
    invoice = account.store.get("invoice", id, "invoice", 400)
    if invoice["status"] != "draft" or invoice["customer"] != row["customer"]:
        raise invalid("Only a draft invoice of the same customer can take an invoice item.", "invoice")
    row["invoice"] = id
    account.invoice_specs[id].append(invoice_items.spec(account, row))
    invoicing.refresh(account, invoice)


def _retrieve(account: Account, params: JSON, id: str) -> JSON:
    return account.store.get("invoiceitem", id)


def _list(account: Account, params: JSON) -> JSON:
    rows = matching(account.store.newest("invoiceitem"), params, "customer", "invoice")
    if "pending" in params:
        rows = [row for row in rows if (row["invoice"] is None) is params["pending"]]
    return page(rows, params, ROOT)


def _delete(account: Account, params: JSON, id: str) -> JSON:
    row = account.store.get("invoiceitem", id)
    if row["invoice"] is not None:
        raise invalid("The invoice item is on an invoice already.")
    account.store.remove("invoiceitem", id)
    return {"id": id, "object": "invoiceitem", "deleted": True}


ROOT: Final = "/v1/invoiceitems"
KEY: Final = "invoice"
CREATE: Final = "amount currency customer description invoice metadata pricing quantity"
OPERATIONS: Final = (
    Operation("POST", ROOT, "InvoiceItemCreateParams", _create, KEY, CREATE),
    Operation("GET", ROOT, "InvoiceItemListParams", _list, KEY, f"customer invoice pending {PAGING}"),
    Operation("GET", ROOT + "/{id}", "InvoiceItemRetrieveParams", _retrieve, KEY),
    Operation("DELETE", ROOT + "/{id}", "InvoiceItemDeleteParams", _delete, KEY),
)
