"""Routes on which something is bought: the chooser, Checkout, links of packs, a free key.

Owns from a checked request to the call of the counter (`Sales`), and what its answer looks like to a person and to a
program. Looking changes nothing, for chat programs open links to preview them; only a form or a JSON body does.
"""

from __future__ import annotations

import secrets

from starlette.responses import Response

from stripe_meter.domain.metadata import LONGEST_KEY, LONGEST_VALUE, MOST_KEYS, RESERVED, checked
from stripe_meter.errors import ConfigurationError
from stripe_meter.web import choose, pages
from stripe_meter.web.answers import Refused, html, json, see_other
from stripe_meter.web.visit import Visit


async def plans(visit: Visit) -> Response:
    """The chooser page."""
    actor = await visit.actor("plans")
    window = await visit.front.window(actor.customer, actor.tool)
    # The link of a refusal is read by agents and in chats: it must not lead to the card and the invoices.
    is_proved = actor.customer is not None and not visit.has_link
    portal = visit.front.token("portal", actor.who) if is_proved else None
    page = choose.plans(await visit.shop(), window, visit.link("plans", actor), tool=actor.tool, portal=portal)
    return html(page, to=visit.leaves_for())


async def checkout(visit: Visit) -> Response:
    """A Checkout session for what was chosen, made now."""
    actor = await visit.actor("plans")
    plan, pack = visit.sent.get("plan"), visit.sent.get("pack")
    if choice := visit.sent.get("choice"):
        plan, _, chosen = choice.partition(":")
        pack = chosen or None
    if plan is None and pack is None:
        raise Refused(400, "missing_field", "Name a plan or a pack.")
    if actor.is_local:
        url = await visit.front.buy_locally(plan, pack, visit.pages())
    else:
        url = await visit.engine.sales.checkout(
            actor.customer,
            plan,
            pack=pack,
            pages=visit.pages(),
            metadata=_metadata(visit),
            may_change=not visit.has_link,
            may_agree=not visit.has_link,
            client=visit.client,
        )
    return leave(visit, url)


async def links(visit: Visit) -> Response:
    """Packs that have a lasting link."""
    actor = await visit.actor("plans")
    window = await visit.front.window(actor.customer)
    wares = [ware for ware in window.wares if ware.pack is not None]
    page = choose.packs(await visit.shop(), wares, visit.link("plans", actor))
    return html(page, to=visit.leaves_for())


async def link(visit: Visit) -> Response:
    """The lasting link of one pack, for the customer who asks where one is known."""
    actor = await visit.actor("plans")
    stranger = visit.client if actor.customer is None else None
    return leave(visit, await visit.engine.sales.payment_link(visit.sent["pack"], actor.customer, stranger=stranger))


async def signup(visit: Visit) -> Response:
    """The form of the free plan; its token is one occasion, so that sending it twice makes one customer."""
    token = visit.front.token("signup", about=secrets.token_hex(12))
    return html(choose.signup(await visit.shop(), _free(visit), token))


async def sign_up(visit: Visit) -> Response:
    """A free key, shown once."""
    _free(visit)
    occasion = secrets.token_hex(12)
    if (await visit.actor("signup")).customer is not None:
        raise Refused(409, "has_a_key", "You have an API key already; it counts your free calls.")
    if "token" in visit.sent:
        ticket = visit.front.read(visit.sent["token"], "signup")
        occasion = ticket.about if ticket is not None else occasion
    key = await visit.front.sign_up(occasion)
    if visit.is_json:
        if key is None:
            raise Refused(409, "was_shown", "The key of this sign-up was shown already.")
        return json({"api_key": key.reveal()})
    shop = await visit.shop()
    if key is None:
        return html(pages.key_was_shown(shop, pages.SIGNED_UP))
    return html(pages.key_shown(shop, key.reveal(), pages.SIGNED_UP, has_card=False))


def leave(visit: Visit, url: str) -> Response:
    """A browser goes to Stripe; a program is told where its person has to go."""
    return json({"url": url}) if visit.is_json else see_other(url)


def _metadata(visit: Visit) -> dict[str, str]:
    try:
        return dict(checked(visit.sent.get("metadata", {})))
    except ConfigurationError:
        raise Refused(
            400,
            "bad_field",
            f"metadata cannot be used; it is at most {MOST_KEYS} texts of 1 to {LONGEST_VALUE} characters, under keys "
            f"of at most {LONGEST_KEY} characters that do not begin with {' or '.join(RESERVED)}.",
        ) from None


def _free(visit: Visit) -> str:
    free = visit.front.free()
    if free is None:
        raise Refused(404, "nothing_free", "There is no free plan here to sign up for.")
    return free
