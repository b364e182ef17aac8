"""3-D Secure for a payment made by the API: the page behind `next_action[redirect_to_url]`.

Owns: this page and its form. Does not own: payments (`payments`). Either answer leads to the seller's return address,
which learns the outcome from the payment intent, as on Stripe.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from stripe_meter.emulator import payments
from stripe_meter.emulator.account import Account
from stripe_meter.emulator.billing import shown_money
from stripe_meter.emulator.errors import JSON
from stripe_meter.emulator.events import emit
from stripe_meter.emulator.pages.forms import target
from stripe_meter.emulator.pages.layout import not_found, page

if TYPE_CHECKING:
    from stripe_meter.emulator.core import Emulator


def routes(emulator: Emulator) -> list[Route]:
    """The page and its form's target."""

    async def show(request: Request) -> Response:
        return _page_for(emulator.account, request.path_params["id"])

    return [Route("/a/{id}", show, methods=["GET"]), Route("/a/{id}", target(emulator, _answer), methods=["POST"])]


def _waiting(account: Account, id: str) -> JSON | None:
    intent = account.store.find("payment_intent", id)
    asks = intent is not None and (intent["next_action"] or {}).get("type") == "redirect_to_url"
    return intent if asks else None


def _page_for(account: Account, id: str) -> Response:
    intent = _waiting(account, id)
    if intent is None:
        return not_found("There is nothing to confirm here.")
    amount = escape(shown_money(intent["amount"], intent["currency"]))
    content = (
        f'<form class="card" method="post" action="/a/{escape(id)}"><h1>3-D Secure</h1>'
        f"<p>Your bank asks you to confirm a payment of {amount} to {escape(account.merchant)}.</p>"
        '<button name="outcome" value="complete">Complete authentication</button>'
        '<button class="quiet" name="outcome" value="fail">Fail authentication</button></form>'
    )
    return page("3-D Secure", content)


def _answer(account: Account, id: str, fields: dict[str, str]) -> Response:
    complete = fields.get("outcome") == "complete"
    intent = _waiting(account, id)
    if intent is None:
        return _page_for(account, id)
    back = intent["next_action"]["redirect_to_url"]["return_url"]
    if complete:
        payments.succeed(account, intent, account.store.get("payment_method", intent["payment_method"]))
    else:
        error = {
            "code": "payment_intent_authentication_failure",
            "message": "The provided PaymentMethod has failed authentication.",
            "type": "card_error",
        }
        method = account.store.get("payment_method", intent["payment_method"])
        intent.update(status="requires_payment_method", payment_method=None, next_action=None)
        intent["last_payment_error"] = {**error, "payment_method": method}
        emit(account, "payment_intent.payment_failed", intent)
    status = "succeeded" if complete else "failed"
    query = urlencode({"payment_intent": id, "redirect_status": status})
    return RedirectResponse(f"{back}{'&' if '?' in back else '?'}{query}", 303)
