"""Payment Links: the lasting address of a credit pack."""

from __future__ import annotations

import asyncio
import json

import anyio.to_thread
import pytest

from stripe_meter import Credits, PayAsYouGo
from stripe_meter.errors import NotForSale
from tests.cli.support import run
from tests.conftest import PAGES
from tests.sales.conftest import ALICE, BIG, REFILLED, STARTER, Counter, Open

pytestmark = pytest.mark.anyio

CREDITS = Credits([STARTER, BIG])


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


async def test_a_changed_price_is_another_link(open_shop: Open) -> None:
    """The old address sells what it sold; the new one the new price."""
    old = await open_shop(CREDITS, namespace="a")
    new = await open_shop(CREDITS, namespace="b")
    assert await old.billing.payment_link("Big") != await new.billing.payment_link("Big")


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
    assert "set STRIPE_METER_PUBLIC_URL" in shown.stderr
    assert json.loads(shown.stdout)["pack"] == "starter"
    assert shop.visit(json.loads(shown.stdout)["url"]).status_code == 200
