"""The invoice of a one-time payment made by Checkout with `invoice_creation`.

Owns: its lines. Does not own: its life (`invoicing`). It is paid by the payment that was already taken; the customer's
balance is not applied to it.
"""

from decimal import Decimal

from stripe_meter.emulator import invoicing
from stripe_meter.emulator.account import Account
from stripe_meter.emulator.billing import Priced
from stripe_meter.emulator.errors import JSON
from stripe_meter.emulator.events import emit
from stripe_meter.emulator.invoice_form import invoice_form, line_form


def write(account: Account, session: JSON, customer: JSON | None, intent: JSON) -> None:
    """The paid invoice of a session, if it asked for one and has a customer."""
    if customer is None or not session["invoice_creation"]["enabled"]:
        return
    customer["currency"] = customer["currency"] or session["currency"]
    invoice = invoice_form(account, None, customer, account.ids.new("in"), "manual")
    invoice["currency"] = session["currency"]
    wanted = session["invoice_creation"]["invoice_data"]
    invoice.update(metadata=dict(wanted["metadata"] or {}), description=wanted["description"], footer=wanted["footer"])
    for number, row in enumerate(session["line_items"], start=1):
        price = account.store.get("price", row["price"])
        spec = {"item": {"metadata": {}}, "start": account.now(), "end": account.now(), "proration": False}
        unit = Decimal(row["amount_total"]) / (row["quantity"] or 1)
        part = Priced(Decimal(row["quantity"]), unit, row["amount_total"])
        id = f"il_{invoice['id'].partition('_')[2]}_{number}"
        invoice["lines"]["data"].append(line_form(account, invoice, spec, price, part, id))
    account.store.add(invoice)
    emit(account, "invoice.created", invoice)
    invoicing.close_paid(account, invoice, intent)
    session["invoice"] = invoice["id"]
