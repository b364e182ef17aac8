"""The hosted customer portal: change the card, switch or cancel the plan, look at invoices.

Owns: the page behind a portal session's `url` and its forms. Does not own: subscriptions or cards. Only what the
session's configuration enables is offered and accepted. A refused card shows the page again with the reason (402).
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from stripe_meter.emulator import cycle
from stripe_meter.emulator.account import Account
from stripe_meter.emulator.billing import shown_money
from stripe_meter.emulator.cards import new_payment_method
from stripe_meter.emulator.errors import JSON, ApiError
from stripe_meter.emulator.events import emit
from stripe_meter.emulator.pages import portal_update
from stripe_meter.emulator.pages.card_form import card_field
from stripe_meter.emulator.pages.forms import target
from stripe_meter.emulator.pages.layout import alert, badge, moment, not_found, page, rows
from stripe_meter.emulator.resources.subscription_update import cancel_at_end
from stripe_meter.emulator.views import items_of, live_subscriptions

if TYPE_CHECKING:
    from stripe_meter.emulator.core import Emulator


def routes(emulator: Emulator) -> list[Route]:
    """The portal page and its forms' target."""

    async def show(request: Request) -> Response:
        emulator.clock.run_due()
        with emulator.account.lock:
            return _page_for(emulator.account, request.path_params["id"])

    async def done(request: Request) -> Response:
        return _done(emulator.account, request.path_params["id"])

    return [
        Route("/p/session/{id}", show, methods=["GET"]),
        Route("/p/session/{id}", target(emulator, _submit), methods=["POST"]),
        Route("/p/session/{id}/done", done, methods=["GET"]),
    ]


def _features(account: Account, session: JSON) -> JSON:
    features: JSON = account.store.get("billing_portal.configuration", session["configuration"])["features"]
    return features


def _page_for(account: Account, id: str, problem: str | None = None) -> Response:
    session = account.store.find("billing_portal.session", id)
    customer = account.store.find("customer", session["customer"]) if session else None
    if session is None or customer is None or customer.get("deleted"):
        return not_found("There is no such portal session.")
    features = _features(account, session)
    flow = (session["flow"] or {}).get("type")
    content = f"<h1>{escape(account.merchant)}</h1><p class=soft>For {escape(customer['email'] or customer['id'])}</p>"
    if flow in (None, "subscription_cancel"):
        content += _subscriptions(account, session, features["subscription_cancel"])
    if flow in (None, "subscription_update", "subscription_update_confirm"):
        content += portal_update.choices(account, session, features["subscription_update"])
    if flow in (None, "payment_method_update") and features["payment_method_update"]["enabled"]:
        content += _card(account, customer, id, problem)
    if flow is None and features["invoice_history"]["enabled"]:
        content += _invoices(account, customer["id"])
    if session["return_url"]:
        content += f'<a class="cancel" href="{escape(session["return_url"])}">Return to {escape(account.merchant)}</a>'
    return page(f"{account.merchant} \u2013 your account", content, 402 if problem else 200)


def _subscriptions(account: Account, session: JSON, feature: JSON) -> str:
    only = ((session["flow"] or {}).get("subscription_cancel") or {}).get("subscription")
    parts = []
    for row in live_subscriptions(account, session["customer"]):
        if only in (None, row["id"]):
            parts.append(_subscription(account, session["id"], row, feature))
    return "".join(parts) or '<div class="card"><p>You have no subscription.</p></div>'


def _subscription(account: Account, session: str, row: JSON, feature: JSON) -> str:
    names = []
    for item in items_of(account, row["id"]):
        price = account.store.get("price", item["price"])
        names.append(escape(account.store.get("product", price["product"])["name"]))
    end = max(item["current_period_end"] for item in items_of(account, row["id"]))
    if row["cancel_at"] is not None:
        text, button = f"Ends on {moment(row['cancel_at'])}.", ("keep", "Keep subscription")
    elif feature["mode"] == "immediately":
        text, button = f"Renews on {moment(end)}.", ("cancel", "Cancel subscription now")
    else:
        text, button = f"Renews on {moment(end)}.", ("cancel", "Cancel at the end of the period")
    form = (
        f'<form method="post" action="/p/session/{escape(session)}">'
        f'<input type="hidden" name="subscription" value="{escape(row["id"])}">'
        f'<button class="quiet" name="action" value="{button[0]}">{button[1]}</button></form>'
    )
    shown = form if feature["enabled"] else ""
    return f'<div class="card"><h2>{", ".join(names)}</h2><p>{badge(row["status"])} {escape(text)}</p>{shown}</div>'


def _card(account: Account, customer: JSON, session: str, problem: str | None) -> str:
    method = account.store.find("payment_method", customer["invoice_settings"]["default_payment_method"])
    known = "No card yet." if method is None else f"Card ending in {method['card']['last4']}."
    return (
        f'<form class="card" method="post" action="/p/session/{escape(session)}"><h2>Payment method</h2>'
        f"{alert(problem)}<p>{escape(known)}</p>{card_field('New card number', problem)}"
        '<button name="action" value="card">Save card</button></form>'
    )


def _invoices(account: Account, customer: str) -> str:
    lines = []
    for row in account.store.newest("invoice"):
        if row["customer"] == customer and row["number"] is not None:
            link = f'<a href="/i/{escape(row["id"])}">{escape(row["number"])}</a> {badge(row["status"])}'
            lines.append((link, escape(shown_money(row["total"], row["currency"]))))
    return f'<div class="card"><h2>Invoices</h2>{rows(lines)}</div>' if lines else ""


def _submit(account: Account, id: str, fields: dict[str, str]) -> Response:
    session = account.store.find("billing_portal.session", id)
    if session is None:
        return _page_for(account, id)
    features = _features(account, session)
    action = fields.get("action")
    try:
        if action == "card" and features["payment_method_update"]["enabled"]:
            _save_card(account, session["customer"], fields.get("card", ""))
        elif action in ("cancel", "keep") and features["subscription_cancel"]["enabled"]:
            _change(account, session, fields.get("subscription", ""), action, features["subscription_cancel"]["mode"])
        elif action == "update" and features["subscription_update"]["enabled"]:
            portal_update.switch(account, session, fields)
        else:
            return _page_for(account, id, "This is not possible here.")
    except ApiError as error:
        return _page_for(account, id, str(error))
    return RedirectResponse(_after(session), 303)


def _after(session: JSON) -> str:
    """Where a finished task leads: as the flow says, else back to the portal."""
    here = f"/p/session/{session['id']}"
    after = (session["flow"] or {}).get("after_completion") or {}
    if after.get("type") == "redirect":
        return str(after["redirect"]["return_url"])
    return f"{here}/done" if after.get("type") == "hosted_confirmation" else here


def _done(account: Account, id: str) -> Response:
    """The confirmation that a flow asked for."""
    session = account.store.find("billing_portal.session", id)
    if session is None:
        return not_found("There is no such portal session.")
    after = (session["flow"] or {}).get("after_completion") or {}
    words = (after.get("hosted_confirmation") or {}).get("custom_message") or "Your change was saved."
    content = f'<div class="card"><h1>{escape(account.merchant)}</h1><p>{escape(words)}</p></div>'
    if session["return_url"]:
        content += f'<a class="cancel" href="{escape(session["return_url"])}">Return to {escape(account.merchant)}</a>'
    return page(f"{account.merchant} \u2013 your account", content)


def _save_card(account: Account, customer_id: str, number: str) -> None:
    """The new card becomes the default of the customer and of the subscriptions that had a card of their own."""
    method = new_payment_method(account, number, customer_id)
    customer = account.store.get("customer", customer_id)
    customer["invoice_settings"]["default_payment_method"] = method["id"]
    for row in live_subscriptions(account, customer_id):
        if row["default_payment_method"] is not None:
            cycle.update(account, row, default_payment_method=method["id"])
    emit(account, "customer.updated", customer)


def _change(account: Account, session: JSON, id: str, action: str, mode: str) -> None:
    row = account.store.get("subscription", id)
    if row["customer"] != session["customer"] or row["status"] in cycle.ENDED:
        raise ApiError(404, "There is no such subscription.")
    if action == "cancel" and mode == "immediately":
        cycle.cancel(account, row, invoice_now=True, prorate=False)
        return
    cancel_at_end(account, row, action == "cancel")
    emit(account, "customer.subscription.updated", row)
