"""Buying on the hosted pages: trials, packs, bank debits, payment links with data, portal switches, tax."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import stripe

if TYPE_CHECKING:
    from tests.emulator.conftest import Shop

DAY = 86_400
GOOD = {"success_url": "https://example.com/ok?s={CHECKOUT_SESSION_ID}"}
BANK_SECONDS = 30


@pytest.fixture(autouse=True)
def _true_to_stripe(shop: Shop) -> Iterator[None]:
    """Nothing that happens in these tests, in the background included, breaks the SDK's types."""
    yield
    assert shop.server.emulator.violations == []


def open_session(shop: Shop, **params: Any) -> Any:
    """A session for the shop's customer; a subscription to the metered price unless said otherwise."""
    base = {"mode": "subscription", "line_items": [{"price": shop.price}], "customer": shop.customer, **GOOD}
    wanted = {**base, **params}
    return shop.v1.checkout.sessions.create({name: value for name, value in wanted.items() if value is not None})


def one_time(shop: Shop, cents: int = 999, **more: Any) -> str:
    """A price that is paid once."""
    base = {"currency": "usd", "unit_amount": cents, "product_data": {"name": "Pack"}}
    return str(shop.v1.prices.create({**base, **more}).id)


def pack(shop: Shop, **params: Any) -> Any:
    """A session that sells one pack."""
    return open_session(shop, mode="payment", line_items=[{"price": one_time(shop), "quantity": 1}], **params)


def types_of(shop: Shop, *types: str) -> list[str]:
    """The newest events of these types, oldest first."""
    return [row.type for row in reversed(shop.v1.events.list({"types": list(types), "limit": 100}).data)]


# Plans


def test_trial_begins_in_checkout_and_nothing_is_due(shop: Shop) -> None:
    """`subscription_data[trial_period_days]`: the card is saved, no payment (docs: Checkout, free trials)."""
    data = {"trial_period_days": 7, "metadata": {"plan": "pro"}}
    session = open_session(shop, line_items=[{"price": shop.fee(4999), "quantity": 1}], subscription_data=data)
    assert session.amount_total == 0
    shop.server.complete_checkout(session.url)
    done = shop.v1.checkout.sessions.retrieve(session.id, {"expand": ["subscription"]})
    assert (done.payment_status, done.subscription.status) == ("no_payment_required", "trialing")
    assert (done.subscription.metadata["plan"], done.subscription.trial_end) == ("pro", shop.now + 7 * DAY)
    assert done.subscription.default_payment_method.startswith("pm_")


def test_trial_without_a_card_is_possible(shop: Shop) -> None:
    """`payment_method_collection=if_required`: no card when nothing is due (API reference: Checkout sessions)."""
    settings = {"end_behavior": {"missing_payment_method": "cancel"}}
    session = open_session(
        shop,
        customer=shop.v1.customers.create({}).id,
        line_items=[{"price": shop.fee(4999), "quantity": 1}],
        payment_method_collection="if_required",
        subscription_data={"trial_period_days": 7, "trial_settings": settings},
    )
    page = httpx.get(session.url).text
    assert ("No card is needed" in page, 'name="card"' in page) == (True, False)
    shop.server.complete_checkout(session.url)
    found = shop.v1.checkout.sessions.retrieve(session.id, {"expand": ["subscription"]}).subscription
    assert (found.status, found.default_payment_method) == ("trialing", None)
    shop.server.advance(8 * DAY)
    assert shop.v1.subscriptions.retrieve(found.id).status == "canceled"


def test_card_is_asked_for_when_something_is_due(shop: Shop) -> None:
    """`if_required` still collects a card for a fee (API reference: Checkout sessions)."""
    session = open_session(
        shop, line_items=[{"price": shop.fee(100), "quantity": 1}], payment_method_collection="if_required"
    )
    assert 'name="card"' in httpx.get(session.url).text


def test_one_time_price_is_paid_with_the_first_invoice(shop: Shop) -> None:
    """One-time prices beside recurring ones are on the first invoice only (API reference: line_items)."""
    lines = [{"price": shop.fee(2000), "quantity": 1}, {"price": one_time(shop, 500), "quantity": 2}]
    session = open_session(shop, line_items=lines)
    assert session.amount_total == 3000
    shop.server.complete_checkout(session.url)
    invoice = shop.newest_invoice()
    assert (invoice.amount_paid, [line.amount for line in invoice.lines.data]) == (3000, [2000, 1000])
    subscription = invoice.parent.subscription_details.subscription
    assert len(shop.v1.subscriptions.retrieve(subscription)["items"].data) == 1


def test_anchor_in_checkout_without_proration(shop: Shop) -> None:
    """`billing_cycle_anchor_config` with `proration_behavior=none` costs nothing until then (docs: Checkout)."""
    data = {"billing_cycle_anchor": shop.now + 5 * DAY, "proration_behavior": "none"}
    session = open_session(shop, line_items=[{"price": shop.fee(2000), "quantity": 1}], subscription_data=data)
    shop.server.complete_checkout(session.url)
    found = shop.v1.checkout.sessions.retrieve(session.id, {"expand": ["subscription"]})
    assert (found.amount_total, found.subscription.billing_cycle_anchor) == (0, shop.now + 5 * DAY)
    with pytest.raises(stripe.InvalidRequestError):
        open_session(shop, subscription_data={"billing_cycle_anchor": shop.now + 5 * DAY})
    config = {"day_of_month": 1}
    with pytest.raises(stripe.InvalidRequestError):
        open_session(shop, subscription_data={"billing_cycle_anchor_config": config, "trial_period_days": 3})


# Packs


def test_pack_hands_its_metadata_to_the_payment(shop: Shop) -> None:
    """`payment_intent_data[metadata]` and the saved card of a pack (stripe.md 5.2, money-rules 45)."""
    data = {"metadata": {"pack": "starter"}, "setup_future_usage": "off_session"}
    words = {"submit": {"message": "Your card is kept for <top-ups>."}}
    session = pack(shop, payment_intent_data=data, custom_text=words, metadata={"pack": "starter"})
    assert "kept for &lt;top-ups&gt;" in httpx.get(session.url).text
    shop.server.complete_checkout(session.url)
    done = shop.v1.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent.latest_charge"]})
    assert (done.metadata["pack"], done.payment_intent.metadata["pack"]) == ("starter", "starter")
    assert done.payment_intent.latest_charge.amount == 999
    saved = done.payment_intent.payment_method
    top_up = {"amount": 999, "currency": "usd", "customer": shop.customer, "payment_method": saved}
    assert shop.v1.payment_intents.create({**top_up, "confirm": True, "off_session": True}).status == "succeeded"


def test_disputed_card_in_checkout_is_paid_and_disputed(shop: Shop) -> None:
    """4000000000000259 on the page (docs.stripe.com/testing, disputes)."""
    session = pack(shop)
    shop.server.complete_checkout(session.url, card="4000000000000259")
    done = shop.v1.checkout.sessions.retrieve(session.id)
    assert done.payment_status == "paid"
    assert shop.v1.disputes.list({"payment_intent": done.payment_intent}).data[0].amount == 999


@pytest.mark.parametrize(
    ("number", "status", "event"),
    [
        ("000123456789", "paid", "checkout.session.async_payment_succeeded"),
        ("000222222227", "unpaid", "checkout.session.async_payment_failed"),
    ],
)
def test_bank_debit_completes_first_and_settles_later(shop: Shop, number: str, status: str, event: str) -> None:
    """A session can complete unpaid; the outcome comes as its own event (docs: fulfil orders, delayed methods)."""
    session = pack(shop, invoice_creation={"enabled": True})
    assert session.payment_method_types == ["card", "us_bank_account"]
    assert httpx.post(session.url, data={"bank": number}).headers["location"].endswith(session.id)
    done = shop.v1.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent"]})
    assert (done.status, done.payment_status, done.payment_intent.status) == ("complete", "unpaid", "processing")
    assert shop.v1.charges.retrieve(done.payment_intent.latest_charge).status == "pending"
    shop.server.advance(BANK_SECONDS)
    assert shop.v1.checkout.sessions.retrieve(session.id).payment_status == status
    assert types_of(shop, "checkout.session.completed", event) == ["checkout.session.completed", event]
    assert len(shop.v1.invoices.list().data) == (1 if status == "paid" else 0)


def test_bank_debit_is_only_where_it_is_allowed(shop: Shop) -> None:
    """`allowed_payment_method_types` replaces the list that endive removed (stripe.md 0.10)."""
    session = pack(shop, allowed_payment_method_types=["card"], customer=None)
    assert "bank debit" not in httpx.get(session.url).text
    refused = httpx.post(session.url, data={"bank": "000123456789", "email": "a@example.com"})
    assert (refused.status_code, "does not accept" in refused.text) == (402, True)
    assert "bank debit" not in httpx.get(open_session(shop).url).text
    wrong = httpx.post(pack(shop).url, data={"bank": "000999999999"})
    assert (wrong.status_code, "test account numbers" in wrong.text) == (402, True)


def test_setup_needs_no_currency_with_named_methods(shop: Shop) -> None:
    """`mode=setup`: a currency, or the payment methods by name (stripe.md 3)."""
    data = {"metadata": {"why": "top-up"}}
    session = open_session(
        shop, mode="setup", line_items=None, allowed_payment_method_types=["card"], setup_intent_data=data
    )
    shop.server.complete_checkout(session.url)
    done = shop.v1.checkout.sessions.retrieve(session.id, {"expand": ["setup_intent"]})
    assert (done.setup_intent.status, done.setup_intent.metadata["why"]) == ("succeeded", "top-up")
    assert types_of(shop, "setup_intent.succeeded") == ["setup_intent.succeeded"]


# Tax


def test_automatic_tax_asks_for_the_country(shop: Shop) -> None:
    """The page collects the location; `customer_update` lets it reach the customer (money-rules 30)."""
    line = [{"price": shop.fee(2000, tax_behavior="exclusive"), "quantity": 1}]
    tax = {"automatic_tax": {"enabled": True}, "line_items": line}
    with pytest.raises(stripe.InvalidRequestError, match="location"):
        open_session(shop, **tax)
    with pytest.raises(stripe.InvalidRequestError, match="tax_behavior"):
        open_session(shop, automatic_tax={"enabled": True}, customer_update={"address": "auto"})
    with pytest.raises(stripe.InvalidRequestError, match="Tax ID"):
        open_session(shop, **tax, customer_update={"address": "auto"}, tax_id_collection={"enabled": True})
    update = {"address": "auto", "name": "auto"}
    session = open_session(shop, **tax, customer_update=update, tax_id_collection={"enabled": True})
    assert "Country" in httpx.get(session.url).text
    assert httpx.post(session.url, data={"card": "4242424242424242", "country": "?"}).status_code == 402
    assert httpx.post(session.url, data={"card": "4242424242424242", "country": "de"}).status_code == 303
    assert shop.v1.customers.retrieve(shop.customer).address.country == "DE"
    done = shop.v1.checkout.sessions.retrieve(session.id, {"expand": ["subscription"]})
    assert (done.automatic_tax.status, done.subscription.automatic_tax.enabled) == ("complete", True)


# Payment links


def link_session(shop: Shop, **params: Any) -> tuple[Any, Any]:
    """A link for one pack, and the session of a visit to it."""
    made = shop.v1.payment_links.create({"line_items": [{"price": one_time(shop), "quantity": 1}], **params})
    location = httpx.get(f"{made.url}?client_reference_id=u1").headers["location"]
    return made, shop.v1.checkout.sessions.retrieve(location.rpartition("/")[2])


def test_link_hands_its_data_to_payment_and_session(shop: Shop) -> None:
    """Metadata of a link is on session and payment (API reference: payment links)."""
    data = {"metadata": {"pack": "starter"}, "setup_future_usage": "off_session"}
    made, session = link_session(
        shop, payment_intent_data=data, metadata={"pack": "starter"}, customer_creation="always", submit_type="pay"
    )
    assert (made.payment_intent_data.metadata["pack"], session.metadata["pack"]) == ("starter", "starter")
    assert session.client_reference_id == "u1"
    shop.server.complete_checkout(session.url, email="new@example.com")
    done = shop.v1.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent"]})
    assert done.payment_intent.metadata["pack"] == "starter"
    assert shop.v1.customers.payment_methods.list(done.customer).data != []


def test_link_closes_after_its_last_sale(shop: Shop) -> None:
    """`restrictions[completed_sessions]` and `inactive_message` (API reference: payment links)."""
    made, session = link_session(
        shop, restrictions={"completed_sessions": {"limit": 1}}, inactive_message="Sold out, thank you."
    )
    shop.server.complete_checkout(session.url, email="a@example.com")
    found = shop.v1.payment_links.retrieve(made.id)
    assert (found.active, found.restrictions.completed_sessions.count) == (False, 1)
    assert "Sold out, thank you." in httpx.get(made.url).text


def test_link_to_a_plan_can_have_a_trial(shop: Shop) -> None:
    """`subscription_data` of a link (API reference: payment links)."""
    params = {
        "line_items": [{"price": shop.fee(2000), "quantity": 1}],
        "subscription_data": {"trial_period_days": 7, "metadata": {"plan": "pro"}},
        "payment_method_collection": "if_required",
    }
    made = shop.v1.payment_links.create(params)
    session = shop.v1.checkout.sessions.retrieve(httpx.get(made.url).headers["location"].rpartition("/")[2])
    shop.server.complete_checkout(session.url, email="a@example.com")
    done = shop.v1.checkout.sessions.retrieve(session.id, {"expand": ["subscription"]})
    assert (done.subscription.status, done.subscription.metadata["plan"]) == ("trialing", "pro")


# The portal


def switchable(shop: Shop) -> tuple[Any, str, str, Any]:
    """A subscription, two prices, and a portal configuration that lets one switch between them."""
    small = shop.fee(1000, product=shop.v1.products.create({"name": "Small"}).id)
    big = shop.fee(3000, product=shop.v1.products.create({"name": "Big"}).id)
    products = [{"product": shop.v1.prices.retrieve(price).product, "prices": [price]} for price in (small, big)]
    feature = {
        "enabled": True,
        "default_allowed_updates": ["price"],
        "products": products,
        "proration_behavior": "always_invoice",
    }
    configuration = shop.v1.billing_portal.configurations.create({"features": {"subscription_update": feature}})
    return shop.subscribe(small), small, big, configuration


def portal(shop: Shop, **more: Any) -> str:
    """The address of a portal session."""
    return str(shop.v1.billing_portal.sessions.create({"customer": shop.customer, **more}).url)


def test_portal_switches_to_another_plan(shop: Shop) -> None:
    """`subscription_update` shows what is due and switches (docs.stripe.com/customer-management)."""
    made, _small, big, configuration = switchable(shop)
    flow = {"type": "subscription_update", "subscription_update": {"subscription": made.id}}
    url = portal(shop, configuration=configuration.id, flow_data=flow)
    page = httpx.get(url).text
    assert ("Switch to Big" in page, "Switch to Small" in page, "Due today: 20.00 USD" in page) == (True, False, True)
    form = {"action": "update", "subscription": made.id, "price": big}
    assert httpx.post(url, data=form).status_code == 303
    assert shop.v1.subscriptions.retrieve(made.id)["items"].data[0].price.id == big
    assert shop.newest_invoice().amount_paid == 2000
    assert httpx.post(url, data={**form, "price": shop.price}).status_code == 402


def test_portal_confirms_one_switch_and_says_so(shop: Shop) -> None:
    """`subscription_update_confirm` with a confirmation of its own (docs: portal deep links)."""
    made, _small, big, configuration = switchable(shop)
    confirm = {"subscription": made.id, "items": [{"id": made["items"].data[0].id, "price": big, "quantity": 1}]}
    after = {"type": "hosted_confirmation", "hosted_confirmation": {"custom_message": "See you at <Big>"}}
    flow = {"type": "subscription_update_confirm", "subscription_update_confirm": confirm, "after_completion": after}
    url = portal(shop, configuration=configuration.id, flow_data=flow, return_url="https://example.com/back")
    answer = httpx.post(url, data={"action": "update", "subscription": made.id, "price": big})
    assert answer.headers["location"].endswith("/done")
    done = httpx.get(f"{url}/done").text
    assert ("See you at &lt;Big&gt;" in done, "https://example.com/back" in done) == (True, True)
    assert httpx.get(f"{shop.server.url}/p/session/bps_none/done").status_code == 404


def test_portal_does_not_update_usage_based_plans(shop: Shop) -> None:
    """Usage-based subscriptions can be canceled but not updated in the portal (stripe.md 3)."""
    made, _small, big, configuration = switchable(shop)
    metered = shop.subscribe()
    for kind in ("subscription_update", "subscription_update_confirm"):
        about = {"subscription": metered.id}
        if kind == "subscription_update_confirm":
            about["items"] = [{"id": metered["items"].data[0].id, "price": big}]
        with pytest.raises(stripe.InvalidRequestError, match="usage-based"):
            portal(shop, configuration=configuration.id, flow_data={"type": kind, kind: about})
    url = portal(shop, configuration=configuration.id)
    assert httpx.get(url).text.count("Confirm the switch") == 1
    form = {"action": "update", "subscription": metered.id, "price": big}
    assert httpx.post(url, data=form).status_code == 402
    assert made.id != metered.id


@pytest.mark.parametrize(
    "wrong",
    [
        {"products": []},
        {"products": [{"product": "OTHER", "prices": ["BIG"]}]},
        {"products": [{"product": "PRODUCT", "prices": ["METERED"]}]},
        {"products": [{"product": "PRODUCT", "prices": ["BIG", "SAME"]}]},
        {"default_allowed_updates": ["quantity"]},
        {"schedule_at_period_end": {"conditions": [{"type": "shortening_interval"}]}},
    ],
)
def test_portal_offers_that_cannot_be_are_refused(shop: Shop, wrong: dict[str, Any]) -> None:
    """One licensed price of a product and interval (stripe.md 3); what is not emulated is refused as loudly."""
    names = {"BIG": shop.fee(3000), "SAME": shop.fee(4000), "METERED": shop.price}
    products = wrong.get("products", [{"product": "PRODUCT", "prices": ["BIG"]}])
    for product in products:
        product["product"] = (
            shop.product if product["product"] == "PRODUCT" else shop.v1.products.create({"name": "x"}).id
        )
        product["prices"] = [names.get(price, price) for price in product["prices"]]
    feature = {"enabled": True, "default_allowed_updates": ["price"], **wrong, "products": products or ""}
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.billing_portal.configurations.create({"features": {"subscription_update": feature}})


@pytest.mark.parametrize(
    "change",
    [
        {"items": []},
        {"items": [{"id": "si_none", "price": "BIG"}]},
        {"items": [{"id": "OWN", "price": "METERED"}]},
        {"subscription": "sub_none"},
    ],
)
def test_confirmation_that_cannot_be_is_refused(shop: Shop, change: dict[str, Any]) -> None:
    """A flow names the customer's own item and an offered price (API reference: portal sessions)."""
    made, _small, big, configuration = switchable(shop)
    own = made["items"].data[0].id
    names = {"BIG": big, "METERED": shop.price, "OWN": own}
    confirm: dict[str, Any] = {"subscription": made.id, "items": [{"id": own, "price": big}], **change}
    confirm["items"] = [{key: names.get(value, value) for key, value in row.items()} for row in confirm["items"]]
    flow = {"type": "subscription_update_confirm", "subscription_update_confirm": confirm}
    with pytest.raises(stripe.InvalidRequestError):
        portal(shop, configuration=configuration.id, flow_data=flow)
    with pytest.raises(stripe.InvalidRequestError):
        portal(shop, configuration=configuration.id, flow_data={"type": "payment_method_update"})
    after = {"type": "redirect"}
    with pytest.raises(stripe.InvalidRequestError):
        portal(shop, flow_data={"type": "payment_method_update", "after_completion": after})
