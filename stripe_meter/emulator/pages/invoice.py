"""The hosted invoice page: lines, totals, status, and a button to pay what is open.

Owns: the page behind `hosted_invoice_url`. Does not own: amounts or payment (`invoicing`). A refused card shows the
page again with the reason (HTTP 402).
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from stripe_meter.emulator.account import Account
from stripe_meter.emulator.billing import minimum_charge, shown_money
from stripe_meter.emulator.cards import new_payment_method
from stripe_meter.emulator.errors import JSON, ApiError
from stripe_meter.emulator.events import emit
from stripe_meter.emulator.pages.card_form import card_field
from stripe_meter.emulator.pages.forms import target
from stripe_meter.emulator.pages.layout import alert, badge, moment, not_found, page, rows
from stripe_meter.emulator.resources.invoices import pay_invoice

if TYPE_CHECKING:
    from stripe_meter.emulator.core import Emulator


def routes(emulator: Emulator) -> list[Route]:
    """The invoice page and its form's target."""

    async def show(request: Request) -> Response:
        emulator.clock.run_due()
        return _page_for(emulator.account, request.path_params["id"])

    return [Route("/i/{id}", show, methods=["GET"]), Route("/i/{id}", target(emulator, _pay), methods=["POST"])]


def _page_for(account: Account, id: str, problem: str | None = None) -> Response:
    invoice = account.store.find("invoice", id)
    if invoice is None:
        return not_found("There is no such invoice.")
    currency = invoice["currency"]
    stored = invoice["lines"]["data"]
    lines = [(escape(line["description"]), escape(shown_money(line["amount"], currency))) for line in stored]
    credited = sum(row["amount"] for row in invoice["total_pretax_credit_amounts"])
    if credited:
        lines.append(("Billing credits", escape(shown_money(-credited, currency))))
    total = ("Total", escape(shown_money(invoice["total"], currency)))
    content = (
        f'<div class="card"><p class="soft">Invoice {escape(invoice["number"] or "(draft)")} from</p>'
        f"<h1>{escape(account.merchant)}</h1><p>{badge(invoice['status'])}</p>"
        f'<p class="soft">For {escape(invoice["customer_email"] or invoice["customer"])}<br>'
        f"{moment(invoice['period_start'])} \u2013 {moment(invoice['period_end'])}</p>{rows(lines, total)}"
        f"{_balance(account, invoice)}</div>{_pay_form(invoice, problem)}"
    )
    return page(f"Invoice {invoice['number'] or id}", content, 402 if problem else 200)


def _balance(account: Account, invoice: JSON) -> str:
    """How credits and the customer's balance changed what is due."""
    currency = invoice["currency"]
    lines = [("Amount due", escape(shown_money(invoice["amount_due"], currency)))]
    moved = _moved(account, invoice)
    if moved:
        least = shown_money(minimum_charge(currency), currency)
        words = f"Moved to the customer balance: less than the minimum charge of {least}"
        lines.insert(0, (escape(words), escape(shown_money(moved, currency))))
    if invoice["starting_balance"] != 0:
        shown = shown_money(invoice["starting_balance"], currency)
        lines.insert(0, ("Customer balance before (negative is credit)", escape(shown)))
    if invoice["status"] == "paid":
        lines.append(("Paid", escape(shown_money(invoice["amount_paid"], currency))))
    return rows(lines)


def _moved(account: Account, invoice: JSON) -> int:
    """What was too small to charge and went to the next invoice."""
    rows = account.store.all("customer_balance_transaction")
    mine = [row for row in rows if row["invoice"] == invoice["id"] and row["type"] == "invoice_too_small"]
    return sum(row["amount"] for row in mine)


def _pay_form(invoice: JSON, problem: str | None) -> str:
    if invoice["status"] != "open":
        return ""
    amount = escape(shown_money(invoice["amount_remaining"], invoice["currency"]))
    return (
        f'<form class="card" method="post" action="/i/{escape(invoice["id"])}">{alert(problem)}'
        f'{card_field("Card number", problem)}<button type="submit">Pay {amount}</button></form>'
    )


def _pay(account: Account, id: str, fields: dict[str, str]) -> Response:
    number = fields.get("card", "")
    """Pay with a new card, which becomes the customer's default as on Stripe's page when it is saved."""
    invoice = account.store.find("invoice", id)
    if invoice is None or invoice["status"] != "open":
        return _page_for(account, id)
    try:
        method = new_payment_method(account, number, invoice["customer"])
        pay_invoice(account, invoice, method["id"], present=True)
    except ApiError as error:
        return _page_for(account, id, str(error))
    customer = account.store.get("customer", invoice["customer"])
    customer["invoice_settings"]["default_payment_method"] = method["id"]
    emit(account, "customer.updated", customer)
    return RedirectResponse(f"/i/{id}", 303)
