"""Our pages in a browser, at the width of a phone and without JavaScript: choose, pay, sign up, manage, change."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Page

from stripe_meter import StripeMeter
from stripe_meter.domain.plans import CreditPack, Credits, Free, PayAsYouGo, Plan, Subscription
from stripe_meter.emulator import EmulatorServer
from stripe_meter.settings import Settings
from tests.e2e.conftest import Served, call, fits, link, serving

pytestmark = pytest.mark.anyio

BASIC = Subscription("basic", "$5/month", included=1)
PRO = Subscription("pro", "$50/month", included=3, overage="$0.25")
PACKS = Credits([CreditPack(100, "$9.99", "Starter"), CreditPack(1000, "$79", "Large")], credit_value="$0.01")
MONTH = 32 * 86_400

Serve = Callable[..., Served]


@pytest.fixture
def serve(stripe: EmulatorServer) -> Iterator[Serve]:
    """Servers that sell these plans, ended with the test."""
    running = []

    def start(*plans: Plan) -> Served:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        settings = Settings(emulator=stripe.url, public_url=f"http://127.0.0.1:{port}")
        running.append(serving(StripeMeter(plans, settings=settings), port))
        return running[-1].__enter__()

    yield start
    for server in running:
        server.__exit__(None, None, None)


async def seen(page: Page, name: str) -> None:
    """The page holds on a phone, names the seller, and says that no real money moves; kept as a picture if asked."""
    await fits(page)
    body = await page.inner_text("body")
    assert "Demo Seller" in body
    assert "Test mode: no real money moves" in body
    if kept := os.environ.get("STRIPE_METER_PICTURES"):
        for width in (360, 1280):
            await page.set_viewport_size({"width": width, "height": 740})
            await page.screenshot(path=Path(kept) / f"{name}-{width}.png", full_page=True)
        await page.set_viewport_size({"width": 360, "height": 740})


async def pay(page: Page, button: str, card: str = "4242424242424242") -> None:
    """Stripe's page, filled in."""
    if await page.locator("#email").count():
        await page.locator("#email").fill("caller@example.com")
    await page.get_by_label("Card number").fill(card)
    await page.get_by_role("button", name=button).first.click()


async def bought(served: Served, page: Page, choice: str, button: str = "Subscribe") -> str:
    """The API key of a stranger who was refused, chose, and paid."""
    _, _, meta = await call(served)
    await page.goto(link(meta))
    await page.get_by_label(choice).check()
    await page.get_by_role("button", name="Go on to payment").click()
    await pay(page, button)
    return await page.inner_text("#api-key")


async def signed_up(served: Served, page: Page) -> str:
    """The API key of a stranger who took a free one."""
    await page.goto(f"{served.url}/billing/signup")
    await page.get_by_role("button", name="Get my key").click()
    return await page.inner_text("#api-key")


async def test_refused_then_chosen_then_paid_then_served(serve: Serve, stripe: EmulatorServer, page: Page) -> None:
    """The link of the refusal leads to the plans with their prices; no session is made before one is chosen."""
    served = serve(PayAsYouGo(), BASIC, PACKS)
    failed, text, meta = await call(served)
    assert failed
    assert link(meta) in text
    assert link(meta).startswith(f"{served.url}/billing/plans?token=")
    await page.goto(link(meta))
    await seen(page, "plans")
    body = await page.inner_text("body")
    for amount in ("$0.05 a call", "$5.00 a month", "$9.99 once", "$79.00 once", "1000 credits"):
        assert amount in body
    assert not list(stripe.emulator.account.store.all("checkout.session"))
    await page.get_by_label("basic").check()
    await page.get_by_role("button", name="Go on to payment").click()
    await pay(page, "Subscribe")
    await seen(page, "key")
    failed, text, _ = await call(served, await page.inner_text("#api-key"))
    assert not failed
    assert text == "Three sentences about https://example.com."


async def test_a_known_caller_chooses_credits_and_is_served_at_once(serve: Serve, page: Page) -> None:
    """Whoever has used their pack is offered both packs, pays, and the very next call goes through."""
    served = serve(PACKS)
    key = await bought(served, page, "Starter", "Pay")
    for _ in range(20):
        assert not (await call(served, key))[0]
    failed, _, meta = await call(served, key)
    assert failed
    await page.goto(link(meta))
    await seen(page, "packs")
    await page.get_by_label("Large").check()
    await page.get_by_role("button", name="Go on to payment").click()
    await pay(page, "Pay")
    await seen(page, "paid")
    assert "Paid $79.00." in await page.inner_text("body")
    assert "call the tool again" in await page.inner_text("body")
    assert not (await call(served, key))[0]


@pytest.mark.parametrize(
    ("card", "says"), [("4000000000000002", "declined"), ("4000000000009995", "insufficient funds")]
)
async def test_a_card_that_does_not_pay_sells_nothing(serve: Serve, page: Page, card: str, says: str) -> None:
    """Stripe's page says why, the caller is still refused, and the same page takes another card."""
    served = serve(BASIC, PACKS)
    _, _, meta = await call(served)
    await page.goto(link(meta))
    await page.get_by_role("button", name="Go on to payment").click()
    await pay(page, "Subscribe", card)
    assert says in (await page.get_by_role("alert").inner_text()).lower()
    assert (await call(served))[0]
    await pay(page, "Subscribe")
    assert not (await call(served, await page.inner_text("#api-key")))[0]


@pytest.mark.parametrize(("choice", "count"), [("Complete", 1), ("Fail", 0)])
async def test_three_d_secure_after_the_chooser(serve: Serve, page: Page, choice: str, count: int) -> None:
    """The bank's page in between: confirming it ends in a key, failing it does not."""
    served = serve(BASIC, PACKS)
    _, _, meta = await call(served)
    await page.goto(link(meta))
    await page.get_by_role("button", name="Go on to payment").click()
    await pay(page, "Subscribe", "4000002500003155")
    await page.get_by_role("button", name=choice).click()
    assert await page.locator("#api-key").count() == count


async def test_a_free_key_is_made_once_and_serves(serve: Serve, stripe: EmulatorServer, page: Page) -> None:
    """From the refusal to the form, to the key, to the free calls; sending the form again shows no second one."""
    served = serve(Free(calls=2))
    failed, text, meta = await call(served)
    assert failed
    assert "free API key" in text
    await page.goto(link(meta))
    await seen(page, "signup")
    assert "2 free calls a month" in await page.inner_text("body")
    await page.get_by_role("button", name="Get my key").click()
    await seen(page, "free-key")
    key = await page.inner_text("#api-key")
    assert [(await call(served, key))[0] for _ in range(3)] == [False, False, True]
    await page.reload()
    assert "shown already" in await page.inner_text("body")
    assert len(list(stripe.emulator.account.store.all("customer"))) == 1


async def test_the_chooser_offers_free_calls_beside_the_plans(serve: Serve, page: Page) -> None:
    """A stranger need not pay to begin."""
    served = serve(Free(calls=1), BASIC)
    _, _, meta = await call(served)
    await page.goto(link(meta))
    await seen(page, "plans-and-free")
    await page.get_by_role("link", name="get a free key").click()
    await page.get_by_role("button", name="Get my key").click()
    key = await page.inner_text("#api-key")
    assert not (await call(served, key))[0]
    failed, _, meta = await call(served, key)
    assert failed
    await page.goto(link(meta))
    await pay(page, "Subscribe")
    assert not (await call(served, key))[0]


def portal_link(served: Served, key: str, page: str = "portal") -> str:
    """What an agent tool or the author hands to a customer."""
    customer = key.removeprefix("smk_").rpartition("_")[0]
    token = served.billing.engine.sales.front.token(page, customer)  # type: ignore[arg-type]  # any page
    return f"{served.url}/billing/{page}?token={token}"


async def test_in_the_portal_a_card_is_changed(serve: Serve, stripe: EmulatorServer, page: Page) -> None:
    """Our button, Stripe's page, and back to ours; the new card is the one that is charged."""
    served = serve(BASIC, PACKS)
    key = await bought(served, page, "basic")
    await page.goto(portal_link(served, key))
    await seen(page, "portal")
    await page.get_by_role("button", name="Change my card").click()
    await page.get_by_label("Card number").fill("5555555555554444")
    await page.get_by_role("button", name="Save").or_(page.get_by_role("button", name="card")).first.click()
    await page.wait_for_url(f"{served.url}/billing/done")
    await seen(page, "done")
    cards = [row["card"]["last4"] for row in stripe.emulator.account.store.all("payment_method") if row["customer"]]
    assert "4444" in cards


async def test_in_the_portal_a_subscription_is_cancelled(serve: Serve, stripe: EmulatorServer, page: Page) -> None:
    """It ends with its period; until then the caller is served."""
    served = serve(PRO, PACKS)
    key = await bought(served, page, "pro")
    await page.goto(portal_link(served, key))
    await page.get_by_role("button", name="Cancel my subscription").click()
    await page.get_by_role("button", name="Cancel").first.click()
    (row,) = stripe.emulator.account.store.all("subscription")
    assert row["cancel_at_period_end"] or row["cancel_at"]
    assert not (await call(served, key))[0]


async def test_a_card_is_saved_without_a_charge(serve: Serve, stripe: EmulatorServer, page: Page) -> None:
    """The page says that nothing is charged, and nothing is."""
    served = serve(Free(calls=1), PACKS)
    key = await signed_up(served, page)
    await page.goto(portal_link(served, key, "setup"))
    await seen(page, "setup")
    assert "Nothing is charged today" in await page.inner_text("body")
    await page.get_by_role("button", name="Go on").click()
    await pay(page, "Save")
    await page.wait_for_url(f"{served.url}/billing/success**")
    await seen(page, "saved")
    assert "Your card is saved" in await page.inner_text("body")
    assert not list(stripe.emulator.account.store.all("charge"))
    assert [row for row in stripe.emulator.account.store.all("payment_method") if row["customer"]]


async def test_automatic_top_ups_are_agreed_to_and_stopped(serve: Serve, stripe: EmulatorServer, page: Page) -> None:
    """The page says what saving the card agrees to, and a typed key is all it takes to stop it."""
    starter = CreditPack(100, "$9.99", "Starter")
    served = serve(Free(calls=1), Credits([starter], credit_value="$0.01", top_up="Starter", top_up_limit=1))
    key = await signed_up(served, page)
    await page.goto(portal_link(served, key, "setup"))
    await seen(page, "setup-top-ups")
    assert "100 more are bought with this card for $9.99" in await page.inner_text("body")
    await page.get_by_role("button", name="Go on").click()
    await pay(page, "Save")
    await page.wait_for_url(f"{served.url}/billing/success**")
    await page.goto(f"{served.url}/billing/top-ups")
    await seen(page, "top-ups")
    await page.get_by_label("API key").fill(key)
    await page.get_by_role("button", name="Stop").click()
    await seen(page, "top-ups-stopped")
    [row] = [row for row in stripe.emulator.account.store.all("customer") if "stripe_meter_top_up" in row["metadata"]]
    assert row["metadata"]["stripe_meter_top_up"].startswith("off ")


async def test_a_pack_is_bought_by_its_payment_link(serve: Serve, page: Page) -> None:
    """The page of links leads a known customer to the lasting link, and their credits are there."""
    served = serve(Free(calls=1), PACKS)
    key = await signed_up(served, page)
    assert [(await call(served, key))[0] for _ in range(2)] == [False, True]
    await page.goto(portal_link(served, key, "plans").replace("/plans?", "/links?"))
    await seen(page, "links")
    await page.get_by_label("Starter").check()
    await page.get_by_role("button", name="Go on to payment").click()
    await pay(page, "Pay")
    await page.wait_for_url(f"{served.url}/billing/success**")
    assert not (await call(served, key))[0]


async def test_a_stranger_buys_a_pack_by_its_payment_link(serve: Serve, page: Page) -> None:
    """From a website to the link, to the key on our page, to the call: nobody has to be asked for anything."""
    served = serve(PACKS)
    await call(served)
    await page.goto(await served.billing.payment_link("Starter"))
    await pay(page, "Pay")
    await page.wait_for_url(f"{served.url}/billing/success**")
    await seen(page, "link-key")
    assert "Paid $9.99." in await page.inner_text("body")
    key = await page.inner_text("#api-key")
    assert not (await call(served, key))[0]
    await page.reload()
    assert "shown already" in await page.inner_text("body")


async def test_a_plan_is_changed_on_our_page(serve: Serve, stripe: EmulatorServer, page: Page) -> None:
    """Who has used their plan is led to the page that changes it; from the next period on they are on the other one."""
    served = serve(BASIC, PRO)
    key = await bought(served, page, "basic")
    assert not (await call(served, key))[0]
    failed, _, meta = await call(served, key)
    assert failed
    await page.goto(link(meta))
    await seen(page, "change")
    await page.get_by_label("pro").check()
    await page.get_by_role("button", name="Confirm").click()
    await seen(page, "changed")
    assert "$50.00 a month" in await page.inner_text("body")


async def test_what_is_refused_is_a_page_too(serve: Serve, page: Page) -> None:
    """A link that is too old says what to do."""
    served = serve(BASIC, PACKS)
    await page.goto(f"{served.url}/billing/plans?token=plans...1700000000.{'0' * 32}")
    await fits(page)
    assert "not valid any more" in await page.inner_text("body")
