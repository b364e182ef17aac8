"""Payment links and the sessions they open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
import stripe

if TYPE_CHECKING:
    from tests.emulator.conftest import Shop


def pack(shop: Shop) -> str:
    """A one-time price of 5 dollars."""
    terms = {"currency": "usd", "unit_amount": 500, "product_data": {"name": "Pack"}}
    return str(shop.v1.prices.create(terms).id)


def link(shop: Shop, price: str | None = None, **more: Any) -> Any:
    """A link that sells two packs, or `price`."""
    line = [{"price": price or pack(shop), "quantity": 2}]
    return shop.v1.payment_links.create({"line_items": line, **more})


def test_link_opens_a_session_that_knows_the_user(shop: Shop) -> None:
    """`?client_reference_id=` maps the user; the session names its link (docs.stripe.com/payment-links)."""
    made = link(shop, metadata={"grant_value": "1000"}, invoice_creation={"enabled": True}, customer_creation="always")
    visit = httpx.get(f"{made.url}?client_reference_id=user_7&prefilled_email=a@b.c")
    assert visit.status_code == 303
    thanks = shop.server.complete_checkout(visit.headers["location"])
    assert thanks == f"{made.url}/thanks"
    assert "Thanks" in httpx.get(thanks).text
    (session,) = shop.v1.checkout.sessions.list({"expand": ["data.payment_link"]}).data
    assert (session.client_reference_id, session.payment_link.id, session.amount_total) == ("user_7", made.id, 1000)
    assert (session.metadata["grant_value"], session.customer_details.email) == ("1000", "a@b.c")
    assert shop.v1.invoices.retrieve(session.invoice).status == "paid"


def test_each_visit_opens_a_session_of_its_own(shop: Shop) -> None:
    """A link can be followed many times; it leads where its after_completion says."""
    after = {"type": "redirect", "redirect": {"url": "https://example.com/done"}}
    made = link(shop, after_completion=after)
    for _ in range(2):
        location = httpx.get(made.url).headers["location"]
        assert shop.server.complete_checkout(location, email="a@b.c") == "https://example.com/done"
    assert len(shop.v1.checkout.sessions.list().data) == 2


def test_link_may_sell_a_subscription(shop: Shop) -> None:
    """A licensed recurring price makes the link open a subscription."""
    made = link(shop, shop.fee(500))
    assert made.invoice_creation is None
    shop.server.complete_checkout(httpx.get(made.url).headers["location"], email="a@b.c")
    assert shop.v1.subscriptions.list().data[0]["items"].data[0].quantity == 2


def test_link_refuses_metered_prices_and_missing_quantities(shop: Shop) -> None:
    """Payment links aren't supported for usage-based billing; quantity is mandatory (docs.stripe.com)."""
    with pytest.raises(stripe.InvalidRequestError, match="usage-based"):
        link(shop, shop.price)
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.payment_links.create({"line_items": [{"price": pack(shop)}]})
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.payment_links.create({"line_items": []})


def test_inactive_link_opens_nothing(shop: Shop) -> None:
    """`active=false` closes a link (API reference: payment links)."""
    made = link(shop)
    assert not shop.v1.payment_links.update(made.id, {"active": False, "metadata": {"a": "b"}}).active
    assert httpx.get(made.url).status_code == 404
    assert httpx.get(f"{shop.server.url}/b/plink_none").status_code == 404
    assert shop.v1.payment_links.list({"active": True}).data == []
    found = shop.v1.payment_links.retrieve(made.id, {"expand": ["line_items"]})
    assert (found.metadata["a"], found.line_items.data[0].quantity) == ("b", 2)
    assert shop.v1.payment_links.line_items.list(made.id).data[0].amount_total == 1000


def test_link_to_an_archived_price_shows_why(shop: Shop) -> None:
    """A price that was archived since cannot be sold."""
    price = pack(shop)
    made = link(shop, price)
    shop.v1.prices.update(price, {"active": False})
    answer = httpx.get(made.url)
    assert (answer.status_code, "inactive" in answer.text) == (404, True)
