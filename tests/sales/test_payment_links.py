"""Payment Links: the lasting address of a credit pack."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator

import anyio.to_thread
import httpx
import pytest

from stripe_meter import Credits, PayAsYouGo
from stripe_meter.domain.identity import Caller, credential
from stripe_meter.domain.refusals import Refusal
from stripe_meter.enforcement.gate import Admission
from stripe_meter.errors import NotForSale
from tests.cli.support import run
from tests.conftest import PAGES
from tests.sales.conftest import ALICE, BIG, REFILLED, STARTER, Counter, Open
from tests.webhooks.conftest import SECRET, deliver, events

pytestmark = pytest.mark.anyio

CREDITS = Credits([STARTER, BIG])
#: A bank account whose debit takes days.
PAYS_LATER = "000123456789"


async def follow(shop: Counter, link: str) -> str:
    """Open the link as a browser does; the address of the page that takes the card."""
    return str(shop.visit(link).url)


async def test_a_link_is_found_again_and_not_made_twice(open_shop: Open) -> None:
    """Two processes at once, a third one weeks later, the command line: one link for each pack."""
    shops = [await open_shop(CREDITS) for _ in range(3)]
    urls = await asyncio.gather(*(shop.billing.payment_link("Starter") for shop in shops[:2]))
    shops[0].stripe.advance(30 * 86_400)
    urls.append(await shops[2].billing.payment_link("starter"))
    env = {"STRIPE_METER_EMULATOR": shops[0].stripe.url, "STRIPE_METER_PUBLIC_URL": PAGES}
    shown = await anyio.to_thread.run_sync(lambda: run("link", "Starter", env=env))
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.strip() == urls[0]
    assert len(set(urls)) == 1
    assert len(shops[0].rows("payment_link")) == 1
    assert await shops[0].billing.payment_link("Big") != urls[0]


async def test_the_credits_are_whose_link_it_is_whoever_pays(open_shop: Open) -> None:
    """A colleague pays; the customer whom the link names is served, on every road that tells of the payment."""
    shop = await open_shop(CREDITS)
    assert (await shop.refusal()).reason == "payment_required"
    url = await follow(shop, await shop.billing.payment_link("Starter", ALICE))
    back = await shop.pay(url)
    assert back.startswith(f"{PAGES}/billing/success?session_id=cs_")
    await shop.billing.engine.sales.complete(back.partition("=")[2], None)
    assert await shop.is_served(times=2)
    assert (await shop.refusal()).reason == "credits_exhausted"


@pytest.mark.parametrize("named", ["", "cus_elsewhere", "somebody", "%00%0d%0a"])
async def test_a_name_that_nobody_has_leaves_the_credits_with_the_payer(open_shop: Open, named: str) -> None:
    """Anybody may write anything behind a link; money that was paid is never without an owner."""
    shop = await open_shop(CREDITS)
    link = await shop.billing.payment_link("Starter")
    await shop.pay(await follow(shop, f"{link}?client_reference_id={named}"))
    [payment] = shop.rows("payment_intent")
    payer = next(row for row in shop.rows("customer") if row["id"] == payment["customer"])
    wallet = next(row for row in shop.rows("customer") if row["id"] == payer["metadata"]["stripe_meter_wallet"])
    assert -wallet["balance"] == 2


async def test_a_link_asks_nobody_to_be_charged_again(open_shop: Open) -> None:
    """Who follows a public link may not be whose credits they are, so its card is never saved."""
    shop = await open_shop(REFILLED)
    await shop.pay(await follow(shop, await shop.billing.payment_link("Starter", ALICE)))
    assert all("stripe_meter_top_up" not in row["metadata"] for row in shop.rows("customer"))
    assert [row["setup_future_usage"] for row in shop.rows("payment_intent")] == [None]


def buy(shop: Counter, link: str) -> str:
    """Follow a link as a stranger and pay; where the payer is led to, below our pages."""
    back = shop.stripe.complete_checkout(str(shop.visit(link).url), email="payer@example.com")
    return back.removeprefix(f"{PAGES}/billing/")


@pytest.fixture
async def browser(open_shop: Open) -> AsyncIterator[tuple[Counter, httpx.AsyncClient]]:
    """A shop with credits, and the browser of a payer at its pages."""
    shop = await open_shop(CREDITS, stripe_webhook_secret=SECRET)
    served = httpx.ASGITransport(shop.billing.asgi())
    async with httpx.AsyncClient(transport=served, base_url=PAGES) as client:
        yield shop, client


Browser = tuple[Counter, httpx.AsyncClient]


async def test_a_stranger_who_paid_by_a_link_reads_their_key_once(
    browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    """Credits without a key are nothing: the first who looks reads it, and until then no log tells the session's id."""
    shop, client = browser
    back = buy(shop, await shop.billing.payment_link("Starter"))
    assert (await client.head(back)).text == ""
    await deliver(shop.billing.engine, events(shop.stripe))
    said = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("stripe_meter"))
    assert '"kind": "purchase"' in said
    assert back.partition("session_id=")[2] not in said
    page = await client.get(back)
    key = re.search(r"smk_\w+", page.text)
    assert key is not None
    assert "was shown already" in (await client.get(back)).text
    caller = Caller(credential("k", key[0]), key[0])
    for _ in range(2):
        admission = await shop.billing.engine.admit(shop.tool, caller)
        assert isinstance(admission, Admission)
        admission.settle(1)
    assert isinstance(await shop.billing.engine.admit(shop.tool, caller), Refusal)


async def test_a_link_shows_a_key_for_nothing_else(browser: Browser) -> None:
    """Not for credits of somebody else, not before the money is there, not a day later, not for what others sell."""
    shop, client = browser
    link = await shop.billing.payment_link("Starter")
    customer = await shop.billing.customer(ALICE)
    for_alice = buy(shop, f"{link}?client_reference_id={customer}")
    debit = shop.visit(str(shop.visit(link).url), bank=PAYS_LATER, email="payer@example.com").headers["location"]
    late = buy(shop, link)
    foreign = shop.post(
        "/v1/payment_links",
        **{
            "line_items[0][price]": shop.rows("price")[0]["id"],
            "line_items[0][quantity]": "1",
            "after_completion[type]": "redirect",
            "after_completion[redirect][url]": f"{PAGES}/billing/success?session_id={{CHECKOUT_SESSION_ID}}",
        },
    )
    pages = {
        "for alice": await client.get(for_alice),
        "debit": await client.get(debit.removeprefix(f"{PAGES}/billing/")),
        "not ours": await client.get(buy(shop, foreign["url"])),
    }
    shop.stripe.advance(24 * 3600)
    pages["late"] = await client.get(late)
    assert "on its way" in pages["debit"].text
    assert "Paid $9.99. Your API key is not shown here any more" in pages["late"].text
    assert not [name for name, page in pages.items() if "smk_" in page.text]
    assert not [row for row in shop.rows("customer") if any("stripe_meter_key" in name for name in row["metadata"])]


async def test_the_doctor_names_who_paid_and_has_no_key(open_shop: Open) -> None:
    """Without our page, or with a closed tab, the author has to know to whom to give one, and how."""
    shop = await open_shop(CREDITS)
    link = await shop.billing.payment_link("Starter")
    buy(shop, link)
    buy(shop, f"{link}?client_reference_id={await shop.billing.customer(ALICE)}")
    env = {"STRIPE_METER_EMULATOR": shop.stripe.url}

    async def found() -> list[str]:
        shown = await anyio.to_thread.run_sync(lambda: run("doctor", "--json", env=env))
        findings = json.loads(shown.stdout)["accounts"][0]["findings"]
        return [found["command"] for found in findings if found["check"] == "sold_without_key"]

    (command,) = await found()
    assert command.startswith("stripe-meter keys create cus_")
    made = await anyio.to_thread.run_sync(lambda: run(*command.split()[1:], env=env))
    assert made.returncode == 0, made.stderr
    assert await found() == []


async def test_a_link_at_an_old_price_is_closed(open_shop: Open) -> None:
    """It would go on selling what it was made with, on websites nobody thinks of; the new price has its own link."""
    shop = await open_shop(CREDITS)
    old = await shop.billing.payment_link("Starter")
    other = await shop.billing.payment_link("Big")
    (price,) = [row for row in shop.rows("price") if row["lookup_key"] == "mcp:pack:starter"]
    shop.post(
        "/v1/prices",
        product=price["product"],
        currency="usd",
        unit_amount="1999",
        lookup_key="mcp:pack:starter",
        transfer_lookup_key="true",
        **{f"metadata[{name}]": value for name, value in price["metadata"].items()},
    )
    env = {"STRIPE_METER_EMULATOR": shop.stripe.url, "STRIPE_METER_PUBLIC_URL": PAGES}
    shown = await anyio.to_thread.run_sync(lambda: run("link", "Starter", env=env))
    new = shown.stdout.strip()
    assert "Closed plink_" in shown.stderr
    assert shop.visit(old).status_code == 404
    assert "price of these credits has changed" in shop.visit(old).text
    assert "19.99" in shop.visit(new).text
    assert shop.visit(other).status_code == 200
    # A server that has been running since before the change asks again: it learns, and closes nothing.
    assert await shop.billing.payment_link("Starter") == new
    assert shop.visit(new).status_code == 200


async def test_a_link_that_was_switched_off_is_made_anew(open_shop: Open) -> None:
    """In the Dashboard, an hour ago: Stripe would answer with the dead link for a day."""
    shop = await open_shop(CREDITS)
    first = await shop.billing.payment_link("Starter")
    (link,) = shop.rows("payment_link")
    await anyio.to_thread.run_sync(lambda: shop.post(f"/v1/payment_links/{link['id']}", active="false"))
    second = await shop.billing.payment_link("Starter")
    assert second != first
    assert await shop.billing.payment_link("Starter") == second
    assert [row["active"] for row in shop.rows("payment_link")] == [False, True]


async def test_what_is_no_pack_has_no_link(open_shop: Open) -> None:
    """Stripe has no links for metered prices, and an unknown name gets the names that exist."""
    shop = await open_shop(CREDITS)
    with pytest.raises(NotForSale, match="on sale are 'Starter', 'Big'"):
        await shop.billing.payment_link("pro")
    metered = await open_shop(PayAsYouGo(), price="$0.05", namespace="metered")
    with pytest.raises(NotForSale, match="no credits are on offer"):
        await metered.billing.payment_link("Starter")
    env = {"STRIPE_METER_EMULATOR": shop.stripe.url}
    shown = await anyio.to_thread.run_sync(lambda: run("link", "pro", env=env))
    assert shown.returncode == 1
    assert "no credit pack 'pro' of namespace 'mcp' is on sale" in shown.stderr


async def test_the_command_says_where_payers_end(open_shop: Open) -> None:
    """Without a public address the server learns of a payment by its webhook alone, which has to be said."""
    shop = await open_shop(CREDITS)
    env = {"STRIPE_METER_EMULATOR": shop.stripe.url}
    shown = await anyio.to_thread.run_sync(lambda: run("link", "Starter", "--json", env=env))
    assert "Set STRIPE_METER_PUBLIC_URL" in shown.stderr
    assert "keys create cus_…" in shown.stderr
    assert json.loads(shown.stdout)["pack"] == "starter"
    assert shop.visit(json.loads(shown.stdout)["url"]).status_code == 200
