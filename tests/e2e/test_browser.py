"""The main job, seen by a person: refused, paid in a browser, and served with the key the page showed."""

from __future__ import annotations

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from playwright.async_api import Page

from stripe_meter import StripeMeter
from stripe_meter.emulator import EmulatorServer
from stripe_meter.settings import Settings
from tests.conftest import PAGES
from tests.e2e.conftest import Served, call, fits, link, serving

pytestmark = pytest.mark.anyio


async def test_refused_then_paid_in_a_browser_then_served(served: Served, stripe: EmulatorServer, page: Page) -> None:
    """The link of the refusal leads to Checkout, Checkout to the key, the key to the result and the meter."""
    failed, text, meta = await call(served)
    assert failed
    assert "$0.05" in text
    assert link(meta) in text

    await page.goto(link(meta))
    await fits(page)
    assert "Demo Seller" in (await page.inner_text("body"))
    await page.get_by_label("E-mail").fill("caller@example.com")
    await page.get_by_role("button", name="Subscribe").click()
    await page.wait_for_url(f"{served.url}/billing/success**")
    await fits(page)
    key = await page.inner_text("#api-key")
    assert key.startswith("smk_")
    await page.reload()
    assert "shown already" in (await page.inner_text("body"))

    failed, text, meta = await call(served, key)
    assert not failed
    assert text == "Three sentences about https://example.com."
    receipt = meta["stripe-meter/receipt"]
    assert isinstance(receipt, dict)
    assert receipt["text"] == "$0.05"

    assert served.billing.flush()
    stripe.settle()
    await page.goto(stripe.url)
    await fits(page)
    assert "mcp.summarize" in (await page.inner_text("body"))
    stripe.advance(32 * 86400)
    invoices = list(stripe.emulator.account.store.all("invoice"))
    assert [invoice["total"] for invoice in invoices] == [5]


@pytest.mark.parametrize(
    ("card", "says"),
    [("4000000000000002", "declined"), ("4000000000009995", "insufficient funds"), ("1234123412341234", "card")],
)
async def test_a_card_that_does_not_pay_is_explained(served: Served, page: Page, card: str, says: str) -> None:
    """The page says why, nothing is sold, and another card works on the same page."""
    _, _, meta = await call(served)
    await page.goto(link(meta))
    await page.get_by_label("E-mail").fill("caller@example.com")
    await page.get_by_label("Card number").fill(card)
    await page.get_by_role("button", name="Subscribe").click()
    assert says in (await page.get_by_role("alert").inner_text()).lower()
    await page.get_by_label("Card number").fill("4242424242424242")
    await page.get_by_label("E-mail").fill("caller@example.com")
    await page.get_by_role("button", name="Subscribe").click()
    assert (await page.inner_text("#api-key")).startswith("smk_")


@pytest.mark.parametrize(("choice", "served_after"), [("Complete", True), ("Fail", False)])
async def test_three_d_secure_is_confirmed_or_not(served: Served, page: Page, choice: str, served_after: bool) -> None:
    """An extra page of the bank's; failing it sells nothing."""
    _, _, meta = await call(served)
    await page.goto(link(meta))
    await page.get_by_label("E-mail").fill("caller@example.com")
    await page.get_by_label("Card number").fill("4000002500003155")
    await page.get_by_role("button", name="Subscribe").click()
    await fits(page)
    await page.get_by_role("button", name=choice).click()
    assert (await page.locator("#api-key").count() == 1) == served_after


async def test_going_back_from_checkout_charges_nothing(served: Served, page: Page) -> None:
    """The cancel page says so."""
    _, _, meta = await call(served)
    await page.goto(link(meta))
    await page.get_by_role("link", name="Cancel").or_(page.get_by_role("link", name="Back")).first.click()
    assert "Nothing was charged" in (await page.inner_text("body"))


async def test_a_header_does_not_make_a_stranger_local(stripe: EmulatorServer) -> None:
    """Whoever calls themselves `local` must not ride on somebody else's purchase."""
    billing = StripeMeter(settings=Settings(emulator=stripe.url, public_url=PAGES))
    with serving(billing) as served:
        for name in ("local", "background"):
            async with (
                httpx2.AsyncClient(headers={"x-forwarded-for": name}) as http,
                Client(streamable_http_client(f"{served.url}/mcp", http_client=http)) as client,
            ):
                first = await client.call_tool("summarize", {"url": "https://example.com"})
                stripe.complete_checkout(link(dict(first.meta or {})), email="victim@example.com")
                second = await client.call_tool("summarize", {"url": "https://example.com"})
            assert first.is_error
            assert second.is_error
