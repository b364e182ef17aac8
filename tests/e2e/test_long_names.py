"""Names as long as Stripe takes them, without a blank to break at, on every page at the width of a phone."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from playwright.async_api import Page

from stripe_meter import StripeMeter
from stripe_meter.domain.plans import CreditPack, Credits, Subscription
from stripe_meter.emulator import Emulator, EmulatorServer
from stripe_meter.settings import Settings
from tests.e2e.conftest import Served, call, fits, link, serving

pytestmark = pytest.mark.anyio

LONG = "W" * 60
PLANS = (
    Subscription("w" * 29, "$9999.99/month", included=100_000),
    Credits([CreditPack(100, "$9.99", "W" * 29)], credit_value="$0.05"),
)


@pytest.fixture
def stripe() -> Iterator[EmulatorServer]:
    """A seller of that name."""
    with EmulatorServer(Emulator(merchant=LONG, deterministic=True, lag=0.0)) as server:
        yield server


@pytest.fixture
def served(stripe: EmulatorServer) -> Iterator[Served]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = Settings(emulator=stripe.url, public_url=f"http://127.0.0.1:{port}")
    with serving(StripeMeter(PLANS, settings=settings), port) as running:
        yield running


async def test_no_name_makes_a_page_wider_than_a_phone(served: Served, stripe: EmulatorServer, page: Page) -> None:
    """Ours and the stand-in's: choosing, paying, the key, the portal, the overview, the invoice, a closed link."""
    _, _, meta = await call(served)
    await page.goto(link(meta))
    await fits(page)
    await page.get_by_role("button", name="Go on to payment").click()
    await fits(page)
    await page.locator("#email").fill(f"{'w' * 50}@example.com")
    await page.get_by_role("button", name="Subscribe").click()
    await page.wait_for_url(f"{served.url}/billing/success**")
    await fits(page)
    key = await page.inner_text("#api-key")
    for url in (
        await served.billing.portal(key),
        await served.billing.checkout(key, pack="w" * 29),
        await served.billing.payment_link("w" * 29),
        stripe.url,
        *(str(row["hosted_invoice_url"]) for row in stripe.emulator.account.store.all("invoice")),
        f"{stripe.url}/b/plink_none",
    ):
        await page.goto(url)
        await fits(page)
