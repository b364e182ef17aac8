"""Links to Checkout that a seller's own code asks for."""

from __future__ import annotations

import asyncio

import pytest

from stripe_meter import Credits, Free, PayAsYouGo, StripeMeter, Subscription
from stripe_meter.errors import ConfigurationError, NotForSale
from stripe_meter.settings import Settings
from tests.conftest import PAGES
from tests.sales.conftest import ALICE, BIG, DECLINED, FAILS_LATER, STARTER, Open

pytestmark = pytest.mark.anyio

BASIC = Subscription("basic", "$5/month", included=10)
PRO = Subscription("pro", "$50/month", included=100)
CREDITS = Credits([STARTER, BIG])


async def test_a_plan_is_bought_by_the_link_of_its_name(open_shop: Open) -> None:
    """Of several plans the one that was asked for is sold, not the first on offer."""
    shop = await open_shop(BASIC, PRO, price="1 call")
    await shop.pay(await shop.billing.checkout(ALICE, "pro"))
    [subscription] = shop.rows("subscription")
    assert subscription["metadata"]["stripe_meter_plan"] == "pro"
    assert await shop.is_served()


async def test_the_named_pack_is_bought(open_shop: Open) -> None:
    """Packs are chosen by name; the credits are there when the payer is back."""
    shop = await open_shop(CREDITS)
    await shop.pay(await shop.billing.checkout(ALICE, pack="Big"))
    assert [row["amount"] for row in shop.rows("payment_intent")] == [7900]
    assert await shop.is_served(times=50)
    assert (await shop.refusal()).reason == "credits_exhausted"


async def test_a_stranger_gets_a_key_after_paying(open_shop: Open) -> None:
    """Nobody has to be known to buy; the key that the page shows is a customer from then on."""
    shop = await open_shop(PayAsYouGo(), price="$0.05")
    back = shop.stripe.complete_checkout(await shop.billing.checkout(), email="stranger@example.com")
    session, _, claim = back.partition("session_id=")[2].partition("&claim=")
    done = await shop.billing.engine.sales.complete(session, claim)
    assert done.key is not None
    assert await shop.billing.customer(done.key.reveal()) == done.customer


async def test_the_link_is_the_same_until_somebody_paid(open_shop: Open) -> None:
    """Asked twice, at once and by two processes, there is one session; after paying for a pack there is a new one."""
    shops = [await open_shop(CREDITS) for _ in range(2)]
    urls = set(await asyncio.gather(*(shop.billing.checkout(ALICE, pack="Big") for shop in shops for _ in range(2))))
    assert len(urls) == 1
    assert len(shops[0].rows("customer")) == 1
    [url] = urls
    await shops[0].pay(url)
    assert await shops[1].billing.checkout(ALICE, pack="Big") != url


async def test_the_same_pack_can_be_bought_again_and_again(open_shop: Open) -> None:
    """Each link is good for one payment, however often that happens on one day."""
    shop = await open_shop(CREDITS)
    for _ in range(5):
        await shop.pay(await shop.billing.checkout(ALICE, pack="Starter"))
    assert await shop.is_served(times=10)
    assert (await shop.refusal()).reason == "credits_exhausted"


async def test_a_server_that_does_not_know_its_address_says_so(open_shop: Open) -> None:
    """A link that leads back to loopback would strand the payers of a live server."""
    shop = await open_shop(CREDITS)
    live = StripeMeter([CREDITS], settings=Settings(stripe_secret_key="sk_live_0000"))
    with pytest.raises(ConfigurationError, match="set STRIPE_METER_PUBLIC_URL"):
        await live.engine.sales.pages()
    assert await shop.billing.engine.sales.pages() == f"{PAGES}/billing"


async def test_whoever_is_subscribed_changes_what_they_have(open_shop: Open) -> None:
    """A second subscription would bill each call twice, so the link leads to our page of changes instead."""
    shop = await open_shop(BASIC, PRO, price="1 call")
    await shop.pay(await shop.billing.checkout(ALICE, "basic"))
    url = await shop.billing.checkout(ALICE, "pro")
    assert url.startswith(f"{PAGES}/billing/change?token=")
    assert len(shop.rows("checkout.session")) == 1


async def test_an_open_session_of_another_process_is_closed(open_shop: Open) -> None:
    """Two tabs with two plans make one subscription: the older page takes no money any more."""
    first, second = [await open_shop(BASIC, PRO, price="1 call") for _ in range(2)]
    older = await first.billing.checkout(ALICE, "basic")
    newer = await second.billing.checkout(ALICE, "pro")
    assert first.visit(older).status_code == 410
    await second.pay(newer)
    assert len(first.rows("subscription")) == 1


async def test_who_owes_is_led_to_the_invoice(open_shop: Open) -> None:
    """A subscriber whose card failed pays what is open; a new subscription would leave that behind."""
    shop = await open_shop(BASIC, price="1 call")
    await shop.pay(await shop.billing.checkout(ALICE, "basic"))
    await shop.change_card(FAILS_LATER)
    shop.stripe.advance(32 * 86_400)
    *_, unpaid = shop.rows("invoice", status="open")
    assert await shop.billing.checkout(ALICE, "basic") == unpaid["hosted_invoice_url"]


async def test_a_trial_is_waited_for(open_shop: Open) -> None:
    """A change would end the trial, and a second subscription would begin another one."""
    shop = await open_shop(Subscription("pro", "$9/month", included=5, trial_days=7, trial_calls=2), price="1 call")
    await shop.pay(await shop.billing.checkout(ALICE))
    with pytest.raises(NotForSale, match="has a subscription that is trialing"):
        await shop.billing.checkout(ALICE)


async def test_metadata_reaches_everything_a_purchase_makes(open_shop: Open) -> None:
    """Stripe does not promise to copy a session's metadata, and an author looks for it on payment and invoice."""
    shop = await open_shop(CREDITS, BASIC, price=("1 credit", "1 call"))
    await shop.pay(await shop.billing.checkout(ALICE, pack="Big", metadata={"order": "17", "straße": "höher 🙂"}))
    await shop.pay(await shop.billing.checkout(ALICE, "basic", metadata={"order": "18"}))
    [payment] = [row for row in shop.rows("payment_intent") if "stripe_meter_units" in row["metadata"]]
    [invoice] = [row for row in shop.rows("invoice") if row["metadata"]]
    [subscription] = shop.rows("subscription")
    bought, subscribed = shop.rows("checkout.session")
    assert [row["metadata"]["order"] for row in (payment, invoice, bought)] == ["17"] * 3
    assert payment["metadata"]["straße"] == "höher 🙂"
    assert [row["metadata"]["order"] for row in (subscription, subscribed)] == ["18"] * 2


@pytest.mark.parametrize(
    "metadata",
    [
        {f"key{n}": "x" for n in range(41)},
        {"k" * 41: "x"},
        {"a[b]": "x"},
        {"": "x"},
        {"order": "x" * 501},
        {"order": ""},
        {"order": "one\r\nX-Injected: two"},
        {"order": "\ud800"},
        {"stripe_meter_units": "1000000"},
        {"sm_granted": "cbtxn_1"},
        {"order": 17},
    ],
)
async def test_metadata_that_stripe_would_refuse_is_refused_here(open_shop: Open, metadata: dict[str, str]) -> None:
    """One sentence instead of a failed request; and nobody but us says how many credits were sold."""
    shop = await open_shop(CREDITS)
    with pytest.raises(ConfigurationError, match="metadata"):
        await shop.billing.checkout(ALICE, pack="Big", metadata=metadata)
    assert shop.rows("checkout.session") == []


async def test_what_is_not_on_offer_is_said(open_shop: Open) -> None:
    """Names of plans come from people; a wrong one costs a sentence, not a session."""
    shop = await open_shop(Free(calls=5), CREDITS, price=("1 credit", "1 call"))
    for plan, pack, said in [
        ("gold", None, "no plan is called 'gold'; on offer are 'free', 'credits'"),
        (None, "Huge", "no credit pack is called 'Huge'; on sale are 'Starter', 'Big'"),
        ("free", None, "is free, so there is nothing to pay for"),
        ("free", "Big", "has no credit packs; 'credits' has"),
    ]:
        with pytest.raises(NotForSale, match=said):
            await shop.billing.checkout(ALICE, plan, pack=pack)
    assert shop.rows("checkout.session") == []


async def test_nobody_buys_for_a_customer_who_does_not_exist(open_shop: Open) -> None:
    """An id of another account, a deleted customer, a revoked key: one sentence each, and no new customer."""
    shop = await open_shop(BASIC, price="1 call")
    with pytest.raises(NotForSale, match="cus_elsewhere is no customer"):
        await shop.billing.checkout("cus_elsewhere", "basic")
    with pytest.raises(NotForSale, match="this API key is nobody's"):
        await shop.billing.checkout("smk_cus_elsewhere_" + "A" * 40, "basic")
    with pytest.raises(ConfigurationError, match="who is no customer id"):
        await shop.billing.checkout("alice@example.com", "basic")
    assert shop.rows("customer") == []


async def test_a_declined_card_buys_nothing(open_shop: Open) -> None:
    """The page says so, the link stays good for another card, and nobody is served meanwhile."""
    shop = await open_shop(CREDITS)
    url = await shop.billing.checkout(ALICE, pack="Starter")
    with pytest.raises(ValueError, match="declined"):
        await shop.pay(url, card=DECLINED)
    assert (await shop.refusal()).checkout_url is not None
    assert await shop.billing.checkout(ALICE, pack="Starter") == url
    await shop.pay(url)
    assert await shop.is_served(times=2)
