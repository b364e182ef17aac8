"""What somebody can do who has only seen a link: in a chat, in a log, in what an agent was told."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import urlsplit

import httpx
import pytest

from stripe_meter.domain.refusals import Refusal
from stripe_meter.enforcement.gate import Admission
from stripe_meter.enforcement.tickets import Page, Ticket, Tickets
from tests.conftest import a_tool, with_key
from tests.web.conftest import Site

pytestmark = pytest.mark.anyio

#: Where a token of ours begins, in a form's field or in an address.
_TOKENS = re.compile(r'(?:name="token" value="|token=)([^"]+)"')


def tokens(page: httpx.Response) -> set[str]:
    """Every token that a page hands on."""
    assert page.status_code == 200
    return {unescape(token) for token in _TOKENS.findall(page.text)}


async def chooser_of(site: Site, key: str) -> str:
    """The token of the link that the refused call of a customer shows, free calls being used."""
    for _ in range(3):
        verdict = await site.engine.admit(a_tool(), with_key(key))
        if isinstance(verdict, Admission):
            verdict.settle(1)
    assert isinstance(verdict, Refusal)
    return str(verdict.checkout_url).partition("plans?token=")[2]


async def subscribed(site: Site, token: str) -> None:
    """Whoever holds this chooser link has bought the first plan."""
    async with site.client() as client:
        leaves = await client.post("checkout", data={"token": token, "choice": "basic"})
        back = urlsplit(site.stripe.complete_checkout(leaves.headers["location"]))
        assert (await client.get(f"success?{back.query}")).status_code == 200


async def test_a_chooser_link_leads_to_no_portal(site: Site) -> None:
    """Agents read it, so it must not open a page on which a card is changed, an invoice read, a plan cancelled."""
    customer, key = await site.customer()
    chooser = await chooser_of(site, key)
    async with site.client("198.51.100.66") as client:
        page = await client.get("plans", params={"token": chooser})
        assert tokens(page) == {chooser}
        assert 'href="portal' not in page.text
        assert tokens(await client.get("links", params={"token": chooser})) == {chooser}
        assert (await client.get("portal", params={"token": chooser})).status_code == 404
    async with site.client(**{"x-api-key": key}) as client:
        page = await client.get("plans")
    (portal,) = (token for token in tokens(page) if token.startswith("portal."))
    ticket = site.engine.sales.front.read(portal, "portal")
    assert ticket is not None
    assert ticket.customer == customer


@pytest.mark.parametrize(
    ("page", "path"), [("plans", "plans"), ("plans", "links"), ("portal", "portal"), ("setup",) * 2]
)
async def test_no_link_outlives_its_end_by_being_opened(site: Site, page: Page, path: str) -> None:
    """A page hands on the link it was opened with: a fresh one would make every link last for ever."""
    customer, _ = await site.customer()
    fifty_minutes_ago = site.engine.thread.clock.now() - 3000
    token = Tickets(site.engine.settings.key()).seal(Ticket(page, customer), fifty_minutes_ago)
    assert site.token(page, customer) != token
    async with site.client() as client:
        assert tokens(await client.get(path, params={"token": token})) == {token}


async def test_a_chooser_link_does_not_change_a_plan(site: Site) -> None:
    """Who has seen it may pay by a card of their own; the customer's card pays for no dearer plan by it."""
    _, key = await site.customer()
    chooser = await chooser_of(site, key)
    await subscribed(site, chooser)
    async with site.client("198.51.100.66") as client:
        with site.unchanged():
            form = await client.post("checkout", data={"token": chooser, "choice": "pro"})
            program = await client.post("checkout", json={"token": chooser, "plan": "pro"})
        assert (form.status_code, program.status_code) == (409, 409)
        assert program.json()["error"]["code"] == "not_for_sale"
        for answer in (form, program):
            assert "token" not in answer.text
            assert "location" not in answer.headers
        pack = await client.post("checkout", json={"token": chooser, "pack": "starter"})
        assert pack.json()["url"].startswith(site.stripe.url)
    async with site.client(**{"x-api-key": key}) as client:
        assert "/billing/change?token=" in (await client.post("checkout", json={"plan": "pro"})).json()["url"]


async def test_a_scanner_of_links_does_not_use_up_the_key(site: Site) -> None:
    """Mail and chat programs ask for the head of an address first; the key is shown to who looks at the page."""
    async with site.client() as client:
        url = (await client.post("checkout", json={"plan": "basic"})).json()["url"]
        back = urlsplit(site.stripe.complete_checkout(url, email="caller@example.com"))
        with site.unchanged():
            head = await client.head(f"success?{back.query}")
        assert (head.status_code, head.content) == (200, b"")
        assert "smk_" in (await client.get(f"success?{back.query}")).text
