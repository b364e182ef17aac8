"""Invoices: from line specifications to a draft, a final amount and a payment.

Owns: the life of an invoice object and what it does to the customer's balance. Does not own: when a period ends
(`cycle`) or how a quantity is priced (`billing`). A declined card leaves the invoice open and raises; callers that
work in the background record the failure on the subscription instead.
"""

from decimal import Decimal
from typing import Any, Final

from stripe_meter.emulator import billing, credits, payments, taxes
from stripe_meter.emulator.account import Account
from stripe_meter.emulator.errors import JSON, ApiError, invalid
from stripe_meter.emulator.events import emit
from stripe_meter.emulator.invoice_form import invoice_form, line_form
from stripe_meter.emulator.usage import aggregate

DEFAULT_CURRENCY: Final = "usd"


def usage_line(item: JSON, start: int, end: int) -> JSON:
    """Specification of a metered line: usage of the item with `start <= timestamp < end`."""
    return {"item": item, "start": start, "end": end, "usage": True, "proration": False}


def fee_line(item: JSON, start: int, end: int) -> JSON:
    """Specification of a licensed line for a whole period."""
    return {"item": item, "start": start, "end": end, "usage": False, "proration": False}


def proration_line(item: JSON, start: int, end: int, amount: int, description: str) -> JSON:
    """Specification of a line with a fixed amount for part of a period (negative for unused time)."""
    line = fee_line(item, start, end)
    return {**line, "proration": True, "amount": amount, "description": description}


def usage_of(account: Account, price: JSON, customer: str, start: int, end: int) -> Decimal:
    """Billable quantity of a metered price; a total below zero bills as zero."""
    meter = account.store.get("billing.meter", price["recurring"]["meter"])
    records = account.usage.between(meter["id"], customer, start, end)
    return max(Decimal(0), aggregate(meter["default_aggregation"]["formula"], records))


def draft(account: Account, subscription: JSON, reason: str, specs: list[JSON], finalizes_at: int | None) -> JSON:
    """A stored draft invoice of a subscription with the lines of `specs`."""
    invoice = preview(account, subscription, reason, specs, account.ids.new("in"))
    invoice["automatically_finalizes_at"] = finalizes_at
    account.store.add(invoice)
    account.invoice_specs[invoice["id"]] = specs
    refresh(account, invoice)
    subscription["latest_invoice"] = invoice["id"]
    emit(account, "invoice.created", invoice)
    return invoice


def draft_of_items(account: Account, customer: JSON, currency: str, specs: list[JSON]) -> JSON:
    """A stored draft of a customer's invoice items, outside any subscription."""
    invoice = invoice_form(account, None, customer, account.ids.new("in"), "manual")
    invoice["currency"] = currency
    account.store.add(invoice)
    account.invoice_specs[invoice["id"]] = specs
    refresh(account, invoice)
    emit(account, "invoice.created", invoice)
    return invoice


def preview(account: Account, subscription: JSON, reason: str, specs: list[JSON], id: str) -> JSON:
    """The same invoice without storing it."""
    customer = account.store.get("customer", subscription["customer"])
    invoice = invoice_form(account, subscription, customer, id, reason)
    _fill(account, invoice, specs)
    return invoice


def refresh(account: Account, invoice: JSON) -> None:
    """Price the lines of a draft again, with the usage known by now."""
    account.credit_uses[invoice["id"]] = _fill(account, invoice, account.invoice_specs[invoice["id"]])


def subscription_of(invoice: JSON) -> str:
    """Id of the subscription an invoice belongs to, "" for one of a one-time payment."""
    parent: Any = invoice["parent"]
    return parent["subscription_details"]["subscription"] if parent else ""


def _fill(account: Account, invoice: JSON, specs: list[JSON]) -> list[tuple[str, str, int]]:
    """Lines, period and amounts from the specifications; returns which grants would pay for what."""
    lines: list[JSON] = []
    metered: list[tuple[JSON, str]] = []
    for spec in specs:
        price = account.store.find("price", spec["item"].get("price"))
        for part in _parts(account, spec, price, invoice):
            id = f"il_{invoice['id'].partition('_')[2]}_{len(lines) + 1}"
            lines.append(line_form(account, invoice, spec, price, part, id))
            metered += [(lines[-1], spec["item"]["price"])] if spec["usage"] else []
    invoice["lines"]["data"] = lines
    closed = [spec for spec in specs if spec["usage"]] or specs
    if closed:
        invoice["period_start"] = min(spec["start"] for spec in closed)
        invoice["period_end"] = max(spec["end"] for spec in closed)
    uses = credits.allocate(account, invoice, metered)
    set_amounts(account, invoice, credits.show(invoice, uses, {}))
    return uses


def set_amounts(account: Account, invoice: JSON, credited: int) -> None:
    """Totals of the lines less billing credits, and what would be due after the customer's balance."""
    subtotal = sum(line["amount"] for line in invoice["lines"]["data"])
    total = subtotal - credited
    invoice.update(subtotal=subtotal, subtotal_excluding_tax=subtotal, total=total, total_excluding_tax=total)
    balance = account.store.get("customer", invoice["customer"])["balance"]
    invoice["starting_balance"] = balance
    due = max(0, total + balance)
    invoice["amount_due"] = 0 if due < billing.minimum_charge(invoice["currency"]) else due
    invoice["amount_remaining"] = invoice["amount_due"]


def _parts(account: Account, spec: JSON, price: JSON | None, invoice: JSON) -> list[billing.Priced]:
    if "amount" in spec or price is None:
        return [billing.Priced(Decimal(spec["item"].get("quantity", 1)), None, spec["amount"], spec["description"])]
    before: Decimal = spec.get("before", billing.NONE)
    if spec["usage"]:
        quantity = max(before, usage_of(account, price, invoice["customer"], spec["start"], spec["end"]))
    else:
        quantity = Decimal(spec["item"].get("quantity", 1))
    return billing.price_quantity(price, invoice["currency"], quantity, before)


def finalize(account: Account, invoice: JSON) -> bool:
    """Make a draft final: fix its number and amounts, apply the customer's balance, settle it if nothing is due.

    False, and still a draft, when automatic tax has no customer location to work with.
    """
    if invoice["status"] != "draft":
        raise invalid("This invoice is already finalized, you can't re-finalize a non-draft invoice.")
    if invoice["id"] in account.invoice_specs:
        refresh(account, invoice)
    if not taxes.locate(account, invoice):
        emit(account, "invoice.finalization_failed", invoice)
        return False
    now = account.now()
    account.invoice_specs.pop(invoice["id"], None)
    credits.settle(account, invoice)
    invoice.update(status="open", number=_number(account), effective_at=now, auto_advance=True)
    invoice.update(automatically_finalizes_at=None, hosted_invoice_url=f"{account.base_url}/i/{invoice['id']}")
    invoice["status_transitions"]["finalized_at"] = now
    _apply_balance(account, invoice)
    emit(account, "invoice.finalized", invoice)
    if invoice["amount_due"] == 0:
        mark_paid(account, invoice)
    else:
        payments.request_for(account, invoice)
    return True


def close_paid(account: Account, invoice: JSON, intent: JSON) -> None:
    """Finish the invoice of a payment already taken by Checkout; no balance is applied to it."""
    total = sum(line["amount"] for line in invoice["lines"]["data"])
    for name in ("subtotal", "subtotal_excluding_tax", "total", "total_excluding_tax", "amount_due"):
        invoice[name] = total
    now = account.now()
    invoice.update(number=_number(account), effective_at=now, ending_balance=invoice["starting_balance"])
    invoice.update(status="open", hosted_invoice_url=f"{account.base_url}/i/{invoice['id']}")
    invoice["status_transitions"]["finalized_at"] = now
    emit(account, "invoice.finalized", invoice)
    payments.link(account, invoice, intent)
    mark_paid(account, invoice)


def _number(account: Account) -> str:
    finals = sum(1 for row in account.store.all("invoice") if row["number"] is not None)
    return f"EMULATED-{finals + 1:04d}"


def _apply_balance(account: Account, invoice: JSON) -> None:
    """Use the balance as Stripe does on finalising (docs.stripe.com/billing/customer/balance)."""
    customer = account.store.get("customer", invoice["customer"])
    owed = invoice["total"] + customer["balance"]
    if customer["balance"] != 0 or owed < 0:
        # What was credit and is used up, or was debt and is billed now, leaves the balance.
        change_balance(account, customer, min(owed, 0) - customer["balance"], "applied_to_invoice", invoice)
    if 0 < owed < billing.minimum_charge(invoice["currency"]):
        change_balance(account, customer, owed, "invoice_too_small", invoice)
    invoice["ending_balance"] = customer["balance"]


def _unapply_balance(account: Account, invoice: JSON) -> None:
    """A voided invoice gives back what it took from the balance."""
    customer = account.store.get("customer", invoice["customer"])
    rows = [row for row in account.store.all("customer_balance_transaction") if row["invoice"] == invoice["id"]]
    taken = sum(row["amount"] for row in rows if row["type"] == "applied_to_invoice")
    if taken and not customer.get("deleted"):
        change_balance(account, customer, -taken, "unapplied_from_invoice", invoice)


def change_balance(
    account: Account, customer: JSON, amount: int, type: str, invoice: JSON | None = None, more: JSON | None = None
) -> JSON:
    """Write one balance transaction and move the balance; negative amounts are credit for the customer."""
    customer["balance"] += amount
    if customer["currency"] is None:
        customer["currency"] = invoice["currency"] if invoice else DEFAULT_CURRENCY
    row: JSON = {
        "id": account.ids.new("cbtxn"),
        "object": "customer_balance_transaction",
        "amount": amount,
        "checkout_session": None,
        "created": account.now(),
        "credit_note": None,
        "currency": invoice["currency"] if invoice else customer["currency"],
        "customer": customer["id"],
        "customer_account": None,
        "description": None,
        "ending_balance": customer["balance"],
        "invoice": invoice["id"] if invoice else None,
        "livemode": False,
        "metadata": {},
        "type": type,
    }
    return account.store.add({**row, **(more or {})})


def pay(account: Account, invoice: JSON, payment_method: str | None, *, off_session: bool = True) -> None:
    """Charge what is due; raises the card's 402 and leaves the invoice open when the card refuses."""
    if invoice["status"] != "open":
        what = "already paid" if invoice["status"] == "paid" else f"{invoice['status']} and cannot be paid"
        raise invalid(f"Invoice is {what}.", code="invoice_already_paid" if what == "already paid" else None)
    invoice.update(attempted=True, attempt_count=invoice["attempt_count"] + 1)
    intent = payments.intent_of(account, invoice) or payments.request_for(account, invoice)
    try:
        payments.attempt(account, intent, payment_method, off_session=off_session)
    except ApiError as error:
        if error.code == "authentication_required":
            emit(account, "invoice.payment_action_required", invoice)
        emit(account, "invoice.payment_failed", invoice)
        raise
    mark_paid(account, invoice)


def mark_paid(account: Account, invoice: JSON) -> None:
    """The invoice is settled, by a payment or because nothing was due."""
    invoice.update(status="paid", attempted=True, next_payment_attempt=None, amount_remaining=0)
    invoice["amount_paid"] = invoice["amount_due"]
    invoice["status_transitions"]["paid_at"] = account.now()
    payments.close(account, invoice, "paid")
    emit(account, "invoice.paid", invoice)
    emit(account, "invoice.payment_succeeded", invoice)


def void(account: Account, invoice: JSON) -> None:
    """Void an open invoice."""
    if invoice["status"] not in ("open", "uncollectible"):
        raise invalid(f"You can only pass in open invoices. This invoice isn't open: it is {invoice['status']}.")
    invoice.update(status="void", next_payment_attempt=None)
    invoice["status_transitions"]["voided_at"] = account.now()
    payments.close(account, invoice, "canceled")
    credits.give_back(account, invoice)
    _unapply_balance(account, invoice)
    emit(account, "invoice.voided", invoice)
