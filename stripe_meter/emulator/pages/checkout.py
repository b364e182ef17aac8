"""Hosted Checkout: the page behind a session's `url`, and its 3-D Secure step.

Owns: forms and what they say. Does not own: what paying does (`completion`). A refused card shows the page again with
the reason (HTTP 402); a session that is not open shows why it cannot be paid.
"""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING, Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from stripe_meter.emulator.account import Account
from stripe_meter.emulator.billing import shown_money
from stripe_meter.emulator.cards import card_of
from stripe_meter.emulator.completion import Payer, complete, needs_card
from stripe_meter.emulator.errors import JSON, ApiError
from stripe_meter.emulator.pages.card_form import USUAL_CARD, card_field, described, test_cards
from stripe_meter.emulator.pages.forms import target
from stripe_meter.emulator.pages.layout import alert, not_found, page, rows
from stripe_meter.emulator.pages.price_words import unit_prices

if TYPE_CHECKING:
    from stripe_meter.emulator.core import Emulator

BUTTONS: Final = {"subscription": "Subscribe", "payment": "Pay", "setup": "Save card"}


def routes(emulator: Emulator) -> list[Route]:
    """Checkout page and 3-D Secure page, each with its form's target."""

    async def show(request: Request) -> Response:
        return _page_for(emulator.account, request.path_params["id"])

    async def challenge(request: Request) -> Response:
        return _challenge(emulator.account, request.path_params["id"])

    return [
        Route("/c/pay/{id}", show, methods=["GET"]),
        Route("/c/pay/{id}", target(emulator, _submit), methods=["POST"]),
        Route("/c/pay/{id}/authenticate", challenge, methods=["GET"]),
        Route("/c/pay/{id}/authenticate", target(emulator, _answer), methods=["POST"]),
    ]


def _page_for(account: Account, id: str, problem: str | None = None, typed: dict[str, str] | None = None) -> Response:
    account.clock.run_due()
    session = account.store.find("checkout.session", id)
    if session is None:
        return not_found("There is no such Checkout session.")
    if session["status"] != "open":
        return _closed(session)
    typed = typed or {}
    title = {"setup": "Save a card with", "subscription": "Subscribe to", "payment": "Pay"}[session["mode"]]
    content = (
        f'<div class="card"><p class="soft">{escape(title)}</p><h1>{escape(account.merchant)}</h1>'
        f"{_order(account, session)}</div>"
        f'<form class="card" method="post" action="/c/pay/{escape(id)}">{alert(problem)}'
        f"{_email_field(account, session, typed, problem)}{_country_field(session, typed)}"
        f"{_card(session, typed, problem)}{_own_words(session)}"
        f'<button type="submit">{_button(session)}</button>{_cancel_link(session)}{_help(session)}</form>'
        f"{_bank_form(account, session, typed)}"
    )
    return page(f"{title} {account.merchant}", content, 402 if problem else 200)


def _order(account: Account, session: JSON) -> str:
    """What is sold: each line with its unit price, and what is due today."""
    lines = [_line(account, line) for line in session["line_items"]]
    if session["mode"] == "setup":
        return '<p class="soft">Nothing is charged today.</p>'
    due = shown_money(session["amount_total"], session["currency"])
    return rows(lines, ("Due today", escape(due)))


def _line(account: Account, line: JSON) -> tuple[str, str]:
    price = account.store.get("price", line["price"])
    product = account.store.get("product", price["product"])
    name = f"<strong>{escape(product['name'])}</strong>"
    if line["quantity"] is not None and line["quantity"] > 1:
        name += f" \u00d7 {line['quantity']}"
    details = "<br>".join(escape(text) for text in unit_prices(price, product, line["currency"]))
    amount = "by use" if line["quantity"] is None else escape(shown_money(line["amount_total"], line["currency"]))
    return f'{name}<br><span class="soft">{details}</span>', amount


def _email_field(account: Account, session: JSON, typed: dict[str, str], problem: str | None) -> str:
    customer = account.store.find("customer", session["customer"])
    if customer is not None:
        known = customer.get("email") or customer["id"]
        return f'<p class="soft">Paying as <strong>{escape(known)}</strong></p>'
    value = typed.get("email", session["customer_email"] or "")
    return (
        '<label for="email">E-mail</label><input id="email" name="email" type="email" autocomplete="email" required '
        f'value="{escape(value)}"{described(problem)}>'
    )


def _card(session: JSON, typed: dict[str, str], problem: str | None) -> str:
    if not needs_card(session):
        return '<p class="soft">No card is needed today.</p>'
    return card_field("Card number", problem, typed.get("card", USUAL_CARD))


def _help(session: JSON) -> str:
    return test_cards() if needs_card(session) else ""


def _country_field(session: JSON, typed: dict[str, str], id: str = "country") -> str:
    """Automatic tax needs to know where the customer is."""
    if not session["automatic_tax"]["enabled"]:
        return ""
    return (
        f'<label for="{id}">Country (two letters)</label><input id="{id}" name="country" required maxlength="2" '
        f'pattern="[A-Za-z]{{2}}" autocomplete="country" value="{escape(typed.get("country", "US"))}">'
    )


def _own_words(session: JSON) -> str:
    text = (session["custom_text"]["submit"] or {}).get("message")
    return f'<p class="soft">{escape(text)}</p>' if text else ""


def _bank_form(account: Account, session: JSON, typed: dict[str, str]) -> str:
    """A bank debit, which settles later; folded away because few want it."""
    if "us_bank_account" not in session["payment_method_types"]:
        return ""
    email = ""
    if session["customer"] is None:
        value = escape(typed.get("email", session["customer_email"] or ""))
        email = (
            '<label for="bank-email">E-mail</label><input id="bank-email" name="email" type="email" required '
            f'value="{value}">'
        )
    return (
        f'<form class="card" method="post" action="/c/pay/{escape(session["id"])}"><details>'
        f"<summary>Pay by bank debit</summary>{email}{_country_field(session, typed, 'bank-country')}"
        '<label for="bank">Account number</label>'
        f'<input id="bank" name="bank" inputmode="numeric" autocomplete="off" required maxlength="20" '
        'value="000123456789"><p class="soft">Settles later. 000222222227 has insufficient funds.</p>'
        '<button class="quiet" type="submit">Pay by bank debit</button></details></form>'
    )


def _button(session: JSON) -> str:
    text = BUTTONS[session["mode"]]
    if session["mode"] == "payment":
        text += f" {shown_money(session['amount_total'], session['currency'])}"
    return escape(text)


def _cancel_link(session: JSON) -> str:
    if not session["cancel_url"]:
        return ""
    return f'<a class="cancel" href="{escape(session["cancel_url"])}">Cancel and go back</a>'


def _closed(session: JSON) -> Response:
    words = {"complete": "This session is already complete.", "expired": "This session has expired."}
    text = words[session["status"]]
    return page("Checkout", f'<div class="card"><h1>Nothing to pay here</h1><p>{text}</p></div>', 410)


def _submit(account: Account, id: str, fields: dict[str, str]) -> Response:
    session = account.store.find("checkout.session", id)
    if session is None or session["status"] != "open":
        return _page_for(account, id)
    email = fields.get("email")
    if not (session["customer"] or session["customer_email"] or (email and "@" in email)):
        return _page_for(account, id, "Enter an e-mail address.", fields)
    country = fields.get("country")
    if session["automatic_tax"]["enabled"] and not re.fullmatch(r"[A-Za-z]{2}", country or ""):
        return _page_for(account, id, "Enter your country as two letters.", fields)
    payer = Payer(fields.get("card", ""), email, country, fields.get("bank"))
    try:
        if payer.bank is None and needs_card(session) and card_of(payer.card).authenticate:
            account.checkout_data[id]["waiting"] = payer
            return RedirectResponse(f"/c/pay/{id}/authenticate", 303)
        return RedirectResponse(complete(account, session, payer), 303)
    except ApiError as error:
        return _page_for(account, id, str(error), fields)


def _challenge(account: Account, id: str) -> Response:
    session = account.store.find("checkout.session", id)
    if session is None or session["status"] != "open" or "waiting" not in account.checkout_data[id]:
        return _page_for(account, id)
    content = (
        f'<form class="card" method="post" action="/c/pay/{escape(id)}/authenticate"><h1>3-D Secure</h1>'
        f"<p>Your bank asks you to confirm this payment to {escape(account.merchant)}.</p>"
        '<button name="outcome" value="complete">Complete authentication</button>'
        '<button class="quiet" name="outcome" value="fail">Fail authentication</button></form>'
    )
    return page("3-D Secure", content)


def _answer(account: Account, id: str, fields: dict[str, str]) -> Response:
    session = account.store.find("checkout.session", id)
    waiting: Payer | None = account.checkout_data.get(id, {}).pop("waiting", None)
    if session is None or waiting is None:
        return _page_for(account, id)
    if fields.get("outcome") != "complete":
        problem = "We are unable to authenticate your payment method. Try again or use another card."
        return _page_for(account, id, problem, {"email": waiting.email or "", "card": waiting.card})
    try:
        return RedirectResponse(complete(account, session, waiting), 303)
    except ApiError as error:
        return _page_for(account, id, str(error))
