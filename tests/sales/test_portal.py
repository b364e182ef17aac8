"""The customer portal: cards and cancelling, and nothing that gives usage away."""

from __future__ import annotations

import asyncio

import pytest

from stripe_meter import PayAsYouGo, Subscription
from stripe_meter.errors import NotForSale, StripeRejected
from tests.conftest import PAGES
from tests.sales.conftest import ALICE, GOOD, Open

pytestmark = pytest.mark.anyio

BASIC = Subscription("basic", "$5/month", included=10)


async def test_a_customer_cancels_at_the_end_of_the_period_only(open_shop: Open) -> None:
    """Cancelling at once would give the unbilled calls of the period away; until then they are served and billed."""
    shop = await open_shop(PayAsYouGo(), price="$0.50")
    await shop.pay(await shop.billing.checkout(ALICE))
    assert await shop.is_served(times=3)
    assert shop.billing.flush()
    url = await shop.billing.portal(ALICE, flow="subscription_cancel", return_url="https://seller.example/account")
    [subscription] = shop.rows("subscription")
    done = shop.visit(url, action="cancel", subscription=subscription["id"])
    assert done.headers["location"] == "https://seller.example/account"
    assert (subscription["status"], subscription["cancel_at"] is None) == ("active", False)
    shop.stripe.advance(32 * 86_400)
    assert subscription["status"] == "canceled"
    assert [row["total"] for row in shop.rows("invoice") if row["total"]] == [150]


async def test_the_portal_is_ours_and_made_once(open_shop: Open) -> None:
    """The account's default portal may let customers cancel at once; two processes make one configuration of ours."""
    shops = [await open_shop(BASIC, price="1 call") for _ in range(3)]
    await shops[0].pay(await shops[0].billing.checkout(ALICE))
    await asyncio.gather(*(shop.billing.portal(ALICE) for shop in shops[:2]))
    await shops[2].billing.portal(ALICE)
    [ours] = shops[0].rows("billing_portal.configuration", is_default=False)
    assert ours["features"]["subscription_cancel"]["mode"] == "at_period_end"
    assert ours["features"]["subscription_update"]["enabled"] is False
    assert {row["configuration"] for row in shops[0].rows("billing_portal.session")} == {ours["id"]}


async def test_asked_twice_it_is_one_link(open_shop: Open) -> None:
    """A double click opens one session, and each page of the portal is a session of its own."""
    shop = await open_shop(BASIC, price="1 call")
    await shop.pay(await shop.billing.checkout(ALICE))
    urls = [await shop.billing.portal(ALICE) for _ in range(2)]
    card = await shop.billing.portal(ALICE, flow="payment_method_update")
    assert len(set(urls)) == 1
    assert card not in urls


async def test_who_comes_back_is_not_told_that_nothing_was_paid(open_shop: Open) -> None:
    """Many come from the portal after paying an invoice."""
    shop = await open_shop(BASIC, price="1 call")
    await shop.pay(await shop.billing.checkout(ALICE))
    await shop.billing.portal(ALICE)
    assert [row["return_url"] for row in shop.rows("billing_portal.session")] == [f"{PAGES}/billing/done"]


async def test_the_whole_portal_changes_the_card(open_shop: Open) -> None:
    """The page without a flow shows card, plan and invoices, and what is saved there is charged next."""
    shop = await open_shop(BASIC, price="1 call")
    await shop.pay(await shop.billing.checkout(ALICE))
    url = await shop.billing.portal(ALICE)
    assert "Cancel at the end of the period" in shop.visit(url).text
    assert shop.visit(url, action="card", card="5555555555554444").status_code == 303
    assert "Card ending in 4444" in shop.visit(url).text


async def test_without_a_subscription_there_is_nothing_to_cancel(open_shop: Open) -> None:
    """Said in a sentence, before Stripe is asked for a page that it would refuse."""
    shop = await open_shop(BASIC, price="1 call")
    with pytest.raises(NotForSale, match="has no subscription here that could be cancelled"):
        await shop.billing.portal(ALICE, flow="subscription_cancel")
    assert shop.rows("billing_portal.session") == []


async def test_a_portal_of_a_customer_who_does_not_exist_is_refused(open_shop: Open) -> None:
    """An id that is not of this account opens nothing."""
    shop = await open_shop(BASIC, price="1 call")
    with pytest.raises(StripeRejected, match="No such customer"):
        await shop.billing.portal("cus_elsewhere")


async def test_a_saved_card_makes_a_customer_solvent(open_shop: Open) -> None:
    """The page that saves a card takes no money; afterwards the card is the one that invoices are charged to."""
    shop = await open_shop(BASIC, price="1 call")
    url = await shop.billing.save_card(ALICE)
    assert await shop.billing.save_card(ALICE) == url
    await shop.pay(url, GOOD)
    [customer] = shop.rows("customer")
    [method] = shop.rows("payment_method")
    assert customer["invoice_settings"]["default_payment_method"] == method["id"]
    assert shop.rows("payment_intent") == []
    assert await shop.billing.save_card(ALICE) != url


async def test_a_card_that_was_changed_since_stays_changed(open_shop: Open) -> None:
    """Stripe tells of a finished page again for days; what the customer chose meanwhile counts."""
    shop = await open_shop(BASIC, price="1 call")
    await shop.pay(await shop.billing.save_card(ALICE))
    await shop.change_card("5555555555554444")
    [customer], [session] = shop.rows("customer"), shop.rows("checkout.session")
    newer = customer["invoice_settings"]["default_payment_method"]
    await shop.billing.engine.sales.complete(session["id"], None)
    assert customer["invoice_settings"]["default_payment_method"] == newer


async def test_a_page_of_the_authors_own_saves_a_card(open_shop: Open) -> None:
    """A SetupIntent for Stripe's scripts: the same one while it is open, and told twice it is done once."""
    shop = await open_shop(BASIC, price="1 call")
    begun = await shop.billing.setup_intent(ALICE)
    assert await shop.billing.setup_intent(ALICE) == begun
    assert begun.client_secret not in repr(begun)
    assert await shop.billing.card_saved(begun.id) is None
    saved = shop.confirm_setup(begun.id, "pm_card_visa")
    for _ in range(2):
        assert await shop.billing.card_saved(begun.id) == await shop.billing.customer(ALICE)
    [customer] = shop.rows("customer")
    assert customer["invoice_settings"]["default_payment_method"] == saved["payment_method"]
    assert (await shop.billing.setup_intent(ALICE)).id != begun.id
