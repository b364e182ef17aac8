"""The address of a payment link: opens a Checkout session and leads to its page.

Owns: the redirect and the page of thanks. Does not own: links or sessions. An inactive or unknown link is a 404.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from stripe_meter.emulator.errors import ApiError
from stripe_meter.emulator.pages.layout import not_found, page
from stripe_meter.emulator.resources.payment_links import follow

if TYPE_CHECKING:
    from stripe_meter.emulator.core import Emulator


def routes(emulator: Emulator) -> list[Route]:
    """The link and its page of thanks."""

    async def visit(request: Request) -> Response:
        account = emulator.account
        with account.lock:
            link = account.store.find("payment_link", request.path_params["id"])
            if link is None or not link["active"]:
                return not_found((link or {}).get("inactive_message") or "This link is not active.")
            given = request.query_params
            try:
                session = follow(account, link, given.get("client_reference_id"), given.get("prefilled_email"))
            except ApiError as error:
                return not_found(str(error))
        return RedirectResponse(session["url"], 303)

    async def thanks(request: Request) -> Response:
        return page("Thank you", '<div class="card"><h1>Thanks for your payment</h1></div>')

    return [Route("/b/{id}", visit, methods=["GET"]), Route("/b/{id}/thanks", thanks, methods=["GET"])]
