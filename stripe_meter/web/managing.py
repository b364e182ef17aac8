"""Routes for who is a customer already: coming back from Stripe, the portal, a saved card, another plan.

Owns from a checked request to the call of the counter (`Sales`). The success page believes no id: it asks Stripe about
the session, and wants the claim that only the payer was sent back with.
"""

from __future__ import annotations

import re
from typing import Final

from starlette.responses import Response

from stripe_meter.domain.identity import Caller, credential
from stripe_meter.domain.topups import STOP
from stripe_meter.enforcement.claims import Completion
from stripe_meter.web import change as words
from stripe_meter.web import choose, pages
from stripe_meter.web.answers import Refused, html, json
from stripe_meter.web.buying import leave
from stripe_meter.web.visit import Actor, Visit

#: A signed link to change a plan: customer, subscription, plan, end, signature.
_CHANGE: Final = re.compile(r"cus_\w{1,120}\.sub_\w{1,120}\.[a-z0-9_-]{1,30}\.\d{10}\.[0-9a-f]{32}", re.ASCII)


async def success(visit: Visit) -> Response:
    """Back from Checkout: paid, and perhaps with an API key to be shown this once."""
    if visit.request.method == "HEAD":  # of a scanner of links: the key is shown once, to who looks
        return html("")
    session, claim = visit.sent.get("session_id"), visit.sent.get("claim")
    if session is None or (claim is None and "claim" in visit.request.query_params):
        return html(pages.not_found(), 404)
    done = await visit.engine.sales.complete(session, claim, visit.client)
    if done.customer is None:
        return html(pages.not_found(), 404)
    shop = await visit.shop()
    if done.key is not None:
        return html(pages.key_shown(shop, done.key.reveal(), _did(done), has_card=done.mode == "subscription"))
    if done.mode == "setup":
        return html(pages.card_saved(shop))
    if done.already_shown:
        return html(pages.key_was_shown(shop, _did(done)))
    if done.is_late:
        return html(pages.key_too_late(shop, _did(done)))
    return html(pages.paid(shop, _did(done)) if done.is_paid else pages.pending(shop))


def _did(done: Completion) -> str:
    """What the payer has just done, with the amount, where one was due."""
    if done.total is None:
        return "Done"
    return f"Paid {done.total}" if done.is_paid else f"Your bank has been asked for {done.total}"


async def cancel(visit: Visit) -> Response:
    """Back from Checkout without paying."""
    return html(pages.cancelled(await visit.shop()))


async def done(visit: Visit) -> Response:
    """Back from the portal."""
    return html(pages.done(await visit.shop()))


async def change(visit: Visit) -> Response:
    """GET shows what a signed link offers, POST makes the change."""
    token = visit.sent.get("token", "")
    if not _CHANGE.fullmatch(token):
        return html(words.gone(), 404)
    plan = visit.sent.get("plan") if visit.request.method == "POST" else None
    proposal = await visit.engine.sales.change_plan(token, plan)
    if proposal is None:
        return html(words.gone(), 404)
    shop = await visit.shop()
    return html(words.changed(shop, proposal) if proposal.done else words.asking(shop, proposal))


async def portal(visit: Visit) -> Response:
    """The button to the portal."""
    token = visit.link("portal", Actor(await visit.customer("portal")))
    credits = visit.engine.offering.credits
    tops_up = credits is not None and credits.refill is not None
    return html(choose.portal(await visit.shop(), token, tops_up=tops_up), to=visit.leaves_for())


async def open_portal(visit: Visit) -> Response:
    """A session of the portal."""
    customer = await visit.customer("portal")
    return_url = visit.sent.get("return_url") or f"{visit.pages()}/done"
    if not visit.leads_back(return_url):
        raise Refused(
            400, "bad_return_url", "return_url leads neither to this server nor to an origin that its author allows."
        )
    url = await visit.engine.sales.portal(customer, return_url=return_url, flow=visit.sent.get("flow"))
    return leave(visit, url)


async def setup(visit: Visit) -> Response:
    """The button to the page that saves a card."""
    token = visit.link("setup", Actor(await visit.customer("setup")))
    consent = await visit.engine.sales.consent(_stop(visit))
    return html(choose.setup(await visit.shop(), token, consent), to=visit.leaves_for())


async def open_setup(visit: Visit) -> Response:
    """A Checkout session that saves a card."""
    customer = await visit.customer("setup")
    return leave(visit, await visit.engine.sales.setup(customer, pages=visit.pages()))


async def top_ups(visit: Visit) -> Response:
    """The button that ends automatic top-ups; whoever has only an API key types it in."""
    actor = await visit.actor("portal")
    token = None if actor.customer is None else visit.link("portal", actor)
    return html(choose.top_ups(await visit.shop(), token))


async def stop_top_ups(visit: Visit) -> Response:
    """Nothing is bought by itself any more."""
    key = visit.sent.get("key")
    if key is None:
        customer: str | None = await visit.customer("portal")
    else:
        customer = await visit.engine.sales.identify(Caller(credential("k", key), key, client=visit.client))
    if customer is None:
        raise Refused(401, "not_known", "This API key is nobody's here; it was revoked, or mistyped.")
    await visit.engine.sales.stop_top_up(customer)
    return json({"status": "stopped"}) if visit.is_json else html(pages.top_ups_stopped(await visit.shop()))


def _stop(visit: Visit) -> str:
    return f"{visit.pages()}/{STOP}"
