"""Invoice page and overview."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from stripe_meter.emulator import EmulatorServer
    from tests.emulator.conftest import Shop

DAY = 86_400


def owing(shop: Shop) -> str:
    """An open invoice of 5.00 USD; its page."""
    card = shop.v1.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": shop.customer})
    shop.v1.customers.update(shop.customer, {"invoice_settings": {"default_payment_method": card.id}})
    shop.subscribe()
    shop.use("100")
    shop.server.advance(32 * DAY)
    return str(shop.v1.invoices.list({"status": "open"}).data[0].hosted_invoice_url)


def test_invoice_page_shows_quantity_price_total_and_status(shop: Shop) -> None:
    """The hosted page tells what the invoice object tells (docs.stripe.com/invoicing/hosted-invoice-page)."""
    page = httpx.get(owing(shop)).text
    for text in ("100 \u00d7 Calls at 0.05 USD per call", "5.00 USD", "open", "ann@example.com", "Pay 5.00 USD"):
        assert text in page


def test_open_invoice_can_be_paid_on_its_page(shop: Shop) -> None:
    """Paying on the page settles the invoice and changes the default card (docs/verified.md: the link for past due)."""
    url = owing(shop)
    refused = httpx.post(url, data={"card": "4000000000000002"})
    assert (refused.status_code, "declined" in refused.text) == (402, True)
    done = httpx.post(url, data={"card": "4242424242424242"}, follow_redirects=True)
    assert "paid" in done.text
    assert "Pay 5.00" not in done.text
    assert shop.v1.subscriptions.list().data[0].status == "active"
    assert httpx.post(url, data={"card": "4242424242424242"}).status_code == 200


def test_invoice_page_shows_the_balance_it_used(shop: Shop) -> None:
    """Credit applied is visible; a draft has no number yet."""
    shop.v1.customers.balance_transactions.create(shop.customer, {"amount": -100, "currency": "usd"})
    item = shop.subscribe()["items"].data[0]
    shop.use("100")
    shop.server.advance(item.current_period_end - shop.now)
    draft = shop.newest_invoice()
    assert "(draft)" in httpx.get(f"{shop.server.url}/i/{draft.id}").text
    shop.server.advance(3600)
    page = httpx.get(f"{shop.server.url}/i/{draft.id}").text
    assert "-1.00 USD" in page
    assert "4.00 USD" in page


def test_unknown_invoice_is_a_404(server: EmulatorServer) -> None:
    """Nothing is invented for an unknown id."""
    assert httpx.get(f"{server.url}/i/in_none").status_code == 404
    assert httpx.post(f"{server.url}/i/in_none", content="x" * 1_000_001).status_code == 404


def test_overview_shows_every_kind_of_object(shop: Shop) -> None:
    """Customers, meters with totals, invoices, sessions, events, deliveries, and what was not counted."""
    v1 = shop.v1
    v1.webhook_endpoints.create({"url": "http://127.0.0.1:9/", "enabled_events": ["*"]})
    good = {"mode": "subscription", "line_items": [{"price": shop.price}], "success_url": "http://x/"}
    v1.checkout.sessions.create(good)
    v1.checkout.sessions.expire(v1.checkout.sessions.create(good).id)
    v1.customers.delete(v1.customers.create({"email": "<b>"}).id)
    v1.customers.create({"email": "<i>@example.com", "balance": -5})
    shop.use("bad")
    shop.subscribe()
    shop.use("100")
    shop.server.settle()
    page = httpx.get(shop.server.url).text
    for text in ("ann@example.com", "deleted", "&lt;i&gt;@example.com", "-0.05 USD", "meter_event_invalid_value"):
        assert text in page
    for text in ("customer.created", "ConnectionRefusedError", "stands still", "/c/pay/cs_test_", "100"):
        assert text in page
    shop.server.emulator.clock.unfreeze()
    shop.server.advance(32 * DAY)
    assert "EMULATED-0001" in httpx.get(shop.server.url).text


def test_empty_overview_says_so(server: EmulatorServer) -> None:
    """A new emulator shows empty sections, not errors."""
    assert "None yet." in httpx.get(server.url).text


def test_small_invoice_says_where_its_amount_went(shop: Shop) -> None:
    """Less than the minimum charge goes to the customer balance; the page says so (docs/verified.md)."""
    shop.subscribe()
    shop.use("3")
    shop.server.advance(31 * 86_400 + 3700)
    text = httpx.get(shop.newest_invoice().hosted_invoice_url).text
    assert "Moved to the customer balance: less than the minimum charge of 0.50 USD" in text


def test_overview_and_invoice_show_credits(shop: Shop) -> None:
    """Grants with what is left, and what they paid."""
    amount = {"type": "monetary", "monetary": {"currency": "usd", "value": 1000}}
    scope = {"scope": {"price_type": "metered"}}
    shop.v1.billing.credit_grants.create(
        {
            "customer": shop.customer,
            "amount": amount,
            "applicability_config": scope,
            "expires_at": shop.now + 99 * 86_400,
        }
    )
    shop.subscribe()
    shop.use("30")
    shop.server.advance(31 * 86_400 + 3700)
    assert "Billing credits" in httpx.get(shop.newest_invoice().hosted_invoice_url).text
    assert "8.50 USD" in httpx.get(shop.server.url).text


def test_headings_of_all_sections_have_one_size(shop: Shop) -> None:
    """A section with rows and one without look alike."""
    assert "h2,caption{font-size:1.05rem" in httpx.get(shop.server.url).text
