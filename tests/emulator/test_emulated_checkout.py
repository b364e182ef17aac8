"""Checkout sessions and their hosted pages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import stripe

if TYPE_CHECKING:
    from stripe_meter.emulator import EmulatorServer
    from tests.emulator.conftest import Shop

GOOD = {"success_url": "https://example.com/ok?s={CHECKOUT_SESSION_ID}", "cancel_url": "https://example.com/no"}
DAY = 86_400


def open_session(shop: Shop, **params: Any) -> Any:
    """A session for the metered price and no customer, unless said otherwise."""
    base = {"mode": "subscription", "line_items": [{"price": shop.price}], **GOOD}
    return shop.v1.checkout.sessions.create({**base, **params})


def pack(shop: Shop) -> dict[str, Any]:
    """Parameters of a one-time purchase."""
    price = shop.v1.prices.create({"currency": "usd", "unit_amount": 500, "product_data": {"name": "Pack"}})
    return {"mode": "payment", "line_items": [{"price": price.id, "quantity": 2}]}


def test_subscribing_creates_customer_card_and_subscription(shop: Shop) -> None:
    """Completion makes the customer and the subscription (docs.stripe.com/payments/checkout/how-checkout-works)."""
    data = {"metadata": {"plan": "payg"}, "billing_mode": {"type": "flexible"}}
    session = open_session(shop, subscription_data=data, client_reference_id="u1", metadata={"a": "b"})
    assert (session.status, session.payment_status, session.amount_total) == ("open", "unpaid", 0)
    target = shop.server.complete_checkout(session.url, email="new@example.com")
    assert target == f"https://example.com/ok?s={session.id}"
    done = shop.v1.checkout.sessions.retrieve(session.id, {"expand": ["customer", "subscription", "line_items"]})
    assert (done.status, done.url, done.customer.email) == ("complete", None, "new@example.com")
    assert done.customer_details.email == "new@example.com"
    assert (done.subscription.status, done.subscription.metadata["plan"]) == ("active", "payg")
    assert done.subscription.default_payment_method.startswith("pm_")
    assert done.line_items.data[0].price.id == shop.price
    events = [event.type for event in shop.v1.events.list().data]
    assert events[0] == "checkout.session.completed"
    assert "customer.subscription.created" in events


def test_subscribing_with_a_fee_pays_it_at_once(shop: Shop) -> None:
    """A licensed line is paid on completion and its invoice is on the session."""
    lines = [{"price": shop.fee(2000), "quantity": 1}, {"price": shop.price}]
    session = open_session(shop, line_items=lines, customer=shop.customer)
    shop.server.complete_checkout(session.url)
    done = shop.v1.checkout.sessions.retrieve(session.id, {"expand": ["invoice"]})
    assert (done.payment_status, done.invoice.amount_paid, done.customer) == ("paid", 2000, shop.customer)


def test_payment_for_a_guest_makes_no_customer(shop: Shop) -> None:
    """In payment mode the default is a guest (docs/verified.md)."""
    session = open_session(shop, **pack(shop))
    shop.server.complete_checkout(session.url, email="guest@example.com")
    done = shop.v1.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent"]})
    assert (done.payment_status, done.customer, done.invoice) == ("paid", None, None)
    assert (done.payment_intent.amount, done.payment_intent.status) == (1000, "succeeded")


def test_payment_can_make_a_customer_and_a_paid_invoice(shop: Shop) -> None:
    """`customer_creation` and `invoice_creation` (docs.stripe.com/api/checkout/sessions/create)."""
    invoice = {"enabled": True, "invoice_data": {"metadata": {"pack": "1"}}}
    intent = {"metadata": {"a": "b"}, "setup_future_usage": "off_session"}
    more = {"invoice_creation": invoice, "customer_creation": "always", "payment_intent_data": intent}
    session = open_session(shop, **pack(shop), **more)
    shop.server.complete_checkout(session.url, email="b@example.com")
    done = shop.v1.checkout.sessions.retrieve(session.id, {"expand": ["invoice", "payment_intent"]})
    assert (done.invoice.status, done.invoice.total, done.invoice.metadata["pack"]) == ("paid", 1000, "1")
    assert done.invoice.lines.data[0].quantity == 2
    assert shop.v1.customers.payment_methods.list(done.customer).data[0].card.last4 == "4242"


def test_balance_does_not_pay_a_checkout_payment(shop: Shop) -> None:
    """The customer balance is not applied to invoices of `invoice_creation` (docs/verified.md)."""
    shop.v1.customers.balance_transactions.create(shop.customer, {"amount": -800, "currency": "usd"})
    session = open_session(shop, **pack(shop), customer=shop.customer, invoice_creation={"enabled": True})
    shop.server.complete_checkout(session.url)
    assert shop.newest_invoice().amount_paid == 1000
    assert shop.v1.customers.retrieve(shop.customer).balance == -800


def test_setup_saves_a_card_without_a_charge(shop: Shop) -> None:
    """Setup mode ends in a setup intent (docs.stripe.com/payments/save-and-reuse)."""
    session = open_session(shop, mode="setup", currency="usd", customer=shop.customer, line_items=[])
    page = httpx.get(session.url).text
    assert "Save card" in page
    assert "Nothing is charged" in page
    shop.server.complete_checkout(session.url)
    done = shop.v1.checkout.sessions.retrieve(session.id, {"expand": ["setup_intent.payment_method"]})
    assert done.setup_intent.payment_method.customer == shop.customer
    assert done.payment_status == "no_payment_required"


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": None},
        {"success_url": None},
        {"success_url": "example.com"},
        {"line_items": None},
        {"line_items": [{}]},
        {"line_items": [{"price": "METERED", "quantity": 1}]},
        {"line_items": [{"price": "FEE"}]},
        {"line_items": [{"price": "FEE", "quantity": 1, "tax_rates": ["x"]}]},
        {"line_items": [{"price": "ARCHIVED", "quantity": 1}]},
        {"line_items": [{"price": "ONE_TIME", "quantity": 1}]},
        {"customer_update": {"address": "auto"}},
        {"mode": "payment", "payment_method_collection": "if_required"},
        {"allow_promotion_codes": True},
        {"line_items": [{"price": "METERED"}] * 21},
        {"mode": "payment"},
        {"mode": "setup", "currency": "usd"},
        {"mode": "setup", "line_items": None},
        {"currency": "eur"},
        {"customer": "cus_none"},
        {"customer": "OWN", "customer_email": "a@b.c"},
        {"customer_creation": "always"},
        {"payment_intent_data": {"description": "x"}},
        {"subscription_data": {"trial_period_days": 0}},
        {"invoice_creation": {"enabled": True}},
        {"ui_mode": "embedded_page"},
        {"expires_at": 60},
        {"payment_method_types": ["card"]},
    ],
)
def test_session_that_stripe_would_refuse_is_refused(shop: Shop, wrong: dict[str, Any]) -> None:
    """Rules of docs.stripe.com/api/checkout/sessions/create; what is not emulated is refused as loudly."""
    one_time = shop.v1.prices.create({"currency": "usd", "unit_amount": 1, "product": shop.product}).id
    names = {"METERED": shop.price, "FEE": shop.fee(1), "ARCHIVED": shop.fee(1, active=False), "ONE_TIME": one_time}
    base = {"mode": "subscription", "line_items": [{"price": shop.price}], **GOOD, **wrong}
    if base.get("customer") == "OWN":
        base["customer"] = shop.customer
    for line in base.get("line_items") or []:
        line.update({"price": names.get(line["price"], line["price"])} if "price" in line else {})
    with pytest.raises(stripe.InvalidRequestError) as caught:
        shop.v1.checkout.sessions.create({key: value for key, value in base.items() if value is not None})
    assert caught.value.http_status == 400


def test_session_expires_after_a_day_by_itself(shop: Shop) -> None:
    """Sessions expire 24 hours after creation (docs.stripe.com/api/checkout/sessions/create)."""
    session, paid = open_session(shop), open_session(shop)
    shop.server.complete_checkout(paid.url, email="a@example.com")
    shop.server.advance(DAY)
    assert shop.v1.checkout.sessions.retrieve(session.id).status == "expired"
    assert shop.v1.checkout.sessions.retrieve(paid.id).status == "complete"
    assert httpx.get(session.url).status_code == 410
    assert "already complete" in httpx.get(paid.url).text


def test_session_can_be_expired_once(shop: Shop) -> None:
    """Only an open session can be expired (docs.stripe.com/api/checkout/sessions/expire)."""
    session = open_session(shop)
    assert shop.v1.checkout.sessions.expire(session.id).status == "expired"
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.checkout.sessions.expire(session.id)
    assert shop.v1.events.list({"limit": 1}).data[0].type == "checkout.session.expired"


def test_sessions_are_listed_and_their_metadata_changes(shop: Shop) -> None:
    """Filters of docs.stripe.com/api/checkout/sessions/list."""
    mine = open_session(shop, customer=shop.customer)
    open_session(shop)
    sessions = shop.v1.checkout.sessions
    assert [row.id for row in sessions.list({"customer": shop.customer, "status": "open"}).data] == [mine.id]
    assert sessions.update(mine.id, {"metadata": {"a": "b"}}).metadata["a"] == "b"
    assert sessions.line_items.list(mine.id).data[0].quantity is None


def test_page_works_without_scripts_or_foreign_assets(shop: Shop) -> None:
    """Plain HTML: seller, goods, unit price, mode; no script, no external address (emulator design)."""
    shop.server.emulator.account.merchant = "<Tools & Co>"
    answer = httpx.get(open_session(shop).url)
    for text in ("TEST MODE \u2013 stand-in for Stripe", "&lt;Tools &amp; Co&gt;", "0.05 USD per call", "4242 4242"):
        assert text in answer.text
    assert "<script" not in answer.text
    assert re.findall(r'(?:src|href)="(?!https://example.com/no)[^"]*"', answer.text) == []
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert 'for="email"' in answer.text


def test_page_shows_tiers_packages_and_quantities(shop: Shop) -> None:
    """The unit price of every line is named in words."""
    tiers = [{"up_to": 1000, "unit_amount": 0}, {"up_to": "inf", "unit_amount": 1, "flat_amount": 250}]
    tiered = shop.metered(billing_scheme="tiered", tiers_mode="graduated", tiers=tiers)
    package = shop.metered(unit_amount=100, transform_quantity={"divide_by": 10, "round": "up"})
    fee = shop.fee(2000, recurring={"interval": "month", "interval_count": 3})
    lines = [{"price": tiered}, {"price": package}, {"price": fee, "quantity": 3}]
    page = httpx.get(open_session(shop, line_items=lines, customer=shop.customer).url).text
    for text in ("up to 1,000: 0.00 USD per call", "then: 0.01 USD per call + 2.50 USD", "1.00 USD per 10 calls"):
        assert text in page
    assert "every 3 months" in page
    assert "ann@example.com" in page
    assert 'name="email"' not in page


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ("4000000000000002", "declined"),
        ("4000000000009995", "insufficient funds"),
        ("4111 1111 1111 1111", "test card numbers"),
    ],
)
def test_refused_card_is_said_on_the_page_and_leaves_nothing(shop: Shop, card: str, message: str) -> None:
    """Stripe's test cards decline as documented (docs.stripe.com/testing#declined-payments); the session stays open."""
    session = open_session(shop)
    with pytest.raises(ValueError, match=message):
        shop.server.complete_checkout(session.url, card=card, email="a@example.com")
    assert shop.v1.checkout.sessions.retrieve(session.id).status == "open"
    assert len(shop.v1.customers.list().data) == 1
    answer = httpx.post(session.url, data={"card": card, "email": "a@example.com"})
    assert answer.status_code == 402
    assert 'role="alert"' in answer.text
    assert 'aria-invalid="true"' in answer.text


def test_card_that_fails_later_fails_a_payment_due_today(shop: Shop) -> None:
    """4000000000000341 attaches and then declines (docs.stripe.com/testing)."""
    session = open_session(shop, line_items=[{"price": shop.fee(2000), "quantity": 1}])
    with pytest.raises(ValueError, match="declined"):
        shop.server.complete_checkout(session.url, card="4000000000000341", email="a@example.com")


def test_email_is_required_without_a_customer(shop: Shop) -> None:
    """Checkout collects an e-mail address (docs.stripe.com/payments/checkout/how-checkout-works)."""
    session = open_session(shop)
    with pytest.raises(ValueError, match="e-mail"):
        shop.server.complete_checkout(session.url)
    prefilled = open_session(shop, customer_email="pre@example.com")
    shop.server.complete_checkout(prefilled.url)
    assert shop.v1.customers.list({"email": "pre@example.com"}).data != []


def test_three_d_secure_asks_and_completes(shop: Shop) -> None:
    """4000002500003155 needs authentication (docs.stripe.com/testing#regulatory-cards)."""
    session = open_session(shop)
    form = {"card": "4000 0025 0000 3155", "email": "a@example.com"}
    step = httpx.post(session.url, data=form)
    assert step.headers["Location"].endswith("/authenticate")
    assert "Complete authentication" in httpx.get(f"{session.url}/authenticate").text
    refused = httpx.post(f"{session.url}/authenticate", data={"outcome": "fail"})
    assert "unable to authenticate" in refused.text
    assert httpx.post(f"{session.url}/authenticate", data={"outcome": "complete"}).status_code == 200
    target = shop.server.complete_checkout(session.url, **form)
    assert target.endswith(session.id)
    assert httpx.get(f"{session.url}/authenticate").status_code == 410


def test_three_d_secure_card_that_turns_bad_meanwhile_is_said(shop: Shop) -> None:
    """A refusal after authentication shows the page again."""
    session = open_session(shop, customer=shop.customer)
    httpx.post(session.url, data={"card": "4000002500003155"})
    shop.v1.customers.balance_transactions.create(shop.customer, {"amount": -1, "currency": "usd"})
    shop.server.emulator.account.store.get("customer", shop.customer)["currency"] = "eur"
    answer = httpx.post(f"{session.url}/authenticate", data={"outcome": "complete"})
    assert "combine currencies" in answer.text


def test_page_of_an_unknown_session_is_a_404(server: EmulatorServer) -> None:
    """Nothing is invented for an unknown id, on any of the pages."""
    for path in ("/c/pay/cs_none", "/c/pay/cs_none/authenticate"):
        assert httpx.get(server.url + path).status_code == 404
        assert httpx.post(server.url + path, data={"card": "x"}).status_code == 404
    assert httpx.post(f"{server.url}/c/pay/cs_none", content="x" * 1_000_001).status_code == 404


def test_paying_by_forms_reports_what_it_does_not_understand(server: EmulatorServer, shop: Shop) -> None:
    """The helper never takes a strange page for success."""
    with pytest.raises(RuntimeError, match="404"):
        server.complete_checkout(f"{server.url}/c/pay/cs_none")
    circle = open_session(shop, success_url=f"{server.url}/c/pay/cs_x", customer=shop.customer)
    circle_url = circle.url
    shop.server.emulator.account.store.get("checkout.session", circle.id)["success_url"] = circle_url
    with pytest.raises((RuntimeError, ValueError)):
        server.complete_checkout(circle_url)
