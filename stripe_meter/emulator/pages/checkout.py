"""Hosted Checkout: the page behind a session's `url`, and its 3-D Secure step.

Owns: forms and what they say. Does not own: what paying does (`completion`). A refused card shows the page again with
the reason (HTTP 402); a session that is not open shows why it cannot be paid.
"""

from __future__ import annotations

from decimal import Decimal
from html import escape
from typing import TYPE_CHECKING, Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from stripe_meter.emulator.account import Account
from stripe_meter.emulator.billing import rates_in, shown_money
from stripe_meter.emulator.cards import card_of
from stripe_meter.emulator.completion import complete
from stripe_meter.emulator.errors import JSON, ApiError
from stripe_meter.emulator.pages.layout import alert, not_found, page, rows
from stripe_meter.emulator.reading import form_of

if TYPE_CHECKING:
    from stripe_meter.emulator.core import Emulator

USUAL_CARD: Final = "4242 4242 4242 4242"
BUTTONS: Final = {"subscription": "Subscribe", "payment": "Pay", "setup": "Save card"}
TEST_CARDS: Final = (
    ("4242 4242 4242 4242", "succeeds"),
    ("4000 0025 0000 3155", "asks for 3-D Secure"),
    ("4000 0000 0000 0002", "is declined"),
    ("4000 0000 0000 9995", "has insufficient funds"),
)


def routes(emulator: Emulator) -> list[Route]:
    """Checkout page and 3-D Secure page, each with its form's target."""

    async def show(request: Request) -> Response:
        return _page_for(emulator.account, request.path_params["id"])

    async def submit(request: Request) -> Response:
        fields = await form_of(request)
        with emulator.account.lock:
            answer = _submit(emulator.account, request.path_params["id"], fields)
        emulator.courier.pump()
        return answer

    async def challenge(request: Request) -> Response:
        return _challenge(emulator.account, request.path_params["id"])

    async def answer_challenge(request: Request) -> Response:
        fields = await form_of(request)
        with emulator.account.lock:
            answer = _answer(emulator.account, request.path_params["id"], fields)
        emulator.courier.pump()
        return answer

    return [
        Route("/c/pay/{id}", show, methods=["GET"]),
        Route("/c/pay/{id}", submit, methods=["POST"]),
        Route("/c/pay/{id}/authenticate", challenge, methods=["GET"]),
        Route("/c/pay/{id}/authenticate", answer_challenge, methods=["POST"]),
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
        f"{_email_field(account, session, typed, problem)}{_card_field(typed, problem)}"
        f'<button type="submit">{_button(session)}</button>{_cancel_link(session)}{_help()}</form>'
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


def unit_prices(price: JSON, product: JSON, currency: str) -> list[str]:
    """The price in words, one entry per tier: `0.05 USD per call`."""
    rates = rates_in(price, currency) or price
    recurring = price["recurring"]
    metered = recurring is not None and recurring["usage_type"] == "metered"
    every = "" if recurring is None else _every(recurring)
    unit = product["unit_label"] or ("unit" if metered else "")
    per = (f" per {unit}" if unit else "") + (
        f", billed every {every}" if metered else f" every {every}" if every else ""
    )
    if price["billing_scheme"] == "per_unit":
        package = price["transform_quantity"]
        if package is not None:
            per = f" per {package['divide_by']} {unit or 'unit'}s" + per.removeprefix(f" per {unit}" if unit else "")
        return [shown_money(Decimal(rates["unit_amount_decimal"]), currency) + per]
    return [_tier(tier, currency, unit or "unit") for tier in rates["tiers"]] + [f"billed every {every}"]


def _every(recurring: JSON) -> str:
    count = recurring["interval_count"]
    return str(recurring["interval"]) if count == 1 else f"{count} {recurring['interval']}s"


def _tier(tier: JSON, currency: str, unit: str) -> str:
    where = "then" if tier["up_to"] is None else f"up to {tier['up_to']:,}"
    text = f"{where}: {shown_money(Decimal(tier['unit_amount_decimal'] or 0), currency)} per {unit}"
    flat = tier["flat_amount_decimal"]
    return f"{text} + {shown_money(Decimal(flat), currency)}" if flat else text


def _email_field(account: Account, session: JSON, typed: dict[str, str], problem: str | None) -> str:
    customer = account.store.find("customer", session["customer"])
    if customer is not None:
        known = customer.get("email") or customer["id"]
        return f'<p class="soft">Paying as <strong>{escape(known)}</strong></p>'
    value = typed.get("email", session["customer_email"] or "")
    return (
        '<label for="email">E-mail</label><input id="email" name="email" type="email" autocomplete="email" required '
        f'value="{escape(value)}"{_described(problem)}>'
    )


def _card_field(typed: dict[str, str], problem: str | None) -> str:
    return (
        '<label for="card">Card number</label><input id="card" name="card" inputmode="numeric" autocomplete="off" '
        f'required maxlength="30" value="{escape(typed.get("card", USUAL_CARD))}"{_described(problem)}>'
    )


def _described(problem: str | None) -> str:
    return ' aria-describedby="problem" aria-invalid="true"' if problem else ""


def _button(session: JSON) -> str:
    text = BUTTONS[session["mode"]]
    if session["mode"] == "payment":
        text += f" {shown_money(session['amount_total'], session['currency'])}"
    return escape(text)


def _cancel_link(session: JSON) -> str:
    if not session["cancel_url"]:
        return ""
    return f'<a class="cancel" href="{escape(session["cancel_url"])}">Cancel and go back</a>'


def _help() -> str:
    cards = "".join(f"<li><code>{number}</code><span>{what}</span></li>" for number, what in TEST_CARDS)
    return (
        '<details><summary class="soft">Test cards</summary>'
        f'<ul class="rows soft">{cards}</ul></details>'
        '<p class="soft">No real card is accepted and no money moves.</p>'
    )


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
    number = fields.get("card", "")
    try:
        if card_of(number).authenticate:
            account.checkout_data[id]["waiting"] = {"card": number, "email": email}
            return RedirectResponse(f"/c/pay/{id}/authenticate", 303)
        return RedirectResponse(complete(account, session, number, email), 303)
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
    waiting: JSON | None = account.checkout_data.get(id, {}).pop("waiting", None)
    if session is None or waiting is None:
        return _page_for(account, id)
    if fields.get("outcome") != "complete":
        problem = "We are unable to authenticate your payment method. Try again or use another card."
        return _page_for(account, id, problem, {"email": waiting["email"] or "", "card": waiting["card"]})
    try:
        return RedirectResponse(complete(account, session, waiting["card"], waiting["email"]), 303)
    except ApiError as error:
        return _page_for(account, id, str(error))
