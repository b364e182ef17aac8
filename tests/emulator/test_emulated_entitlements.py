"""Features, product features and active entitlements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import stripe

if TYPE_CHECKING:
    from tests.emulator.conftest import Shop

DAY = 86_400


def feature(shop: Shop, key: str = "premium", product: str | None = None) -> Any:
    """A feature of the shop's product, or of another one."""
    made = shop.v1.entitlements.features.create({"lookup_key": key, "name": key})
    shop.v1.products.features.create(product or shop.product, {"entitlement_feature": made.id})
    return made


def entitled(shop: Shop) -> list[str]:
    """Lookup keys of the customer's active entitlements."""
    rows = shop.v1.entitlements.active_entitlements.list({"customer": shop.customer}).data
    return sorted(row.lookup_key for row in rows)


def test_active_subscription_entitles_to_the_features_of_its_products(shop: Shop) -> None:
    """Entitlements appear when a subscription becomes active and tell it (docs.stripe.com/billing/entitlements)."""
    made = feature(shop)
    assert entitled(shop) == []
    shop.subscribe()
    assert entitled(shop) == ["premium"]
    event = shop.v1.events.list({"types": ["entitlements.active_entitlement_summary.updated"]}).data[0]
    assert event.data.object.entitlements.data[0].lookup_key == "premium"
    row = shop.v1.entitlements.active_entitlements.list({"customer": shop.customer, "expand": ["data.feature"]}).data[0]
    assert row.feature.name == "premium"
    again = shop.v1.entitlements.active_entitlements.retrieve(row.id)
    assert (again.id, again.feature) == (row.id, made.id)


def test_new_feature_of_a_product_reaches_subscribers_next_period(shop: Shop) -> None:
    """A feature added to a product reaches existing subscribers at the next period (billing/entitlements)."""
    shop.subscribe()
    feature(shop)
    assert entitled(shop) == []
    shop.server.advance(31 * DAY)
    assert entitled(shop) == ["premium"]


def test_removed_feature_stays_until_the_next_period(shop: Shop) -> None:
    """Changes of a product's features take effect with the next period."""
    feature(shop)
    shop.subscribe()
    row = shop.v1.products.features.list(shop.product).data[0]
    assert shop.v1.products.features.retrieve(shop.product, row.id).entitlement_feature.lookup_key == "premium"
    assert shop.v1.products.features.delete(shop.product, row.id).deleted
    assert entitled(shop) == ["premium"]
    shop.server.advance(31 * DAY)
    assert entitled(shop) == []


def test_archiving_a_feature_revokes_nothing(shop: Shop) -> None:
    """Archived features keep entitling but cannot be added any more (billing/entitlements)."""
    made = feature(shop)
    shop.subscribe()
    features = shop.v1.entitlements.features
    assert not features.update(made.id, {"active": False, "name": "Old"}).active
    assert entitled(shop) == ["premium"]
    assert [row.id for row in features.list({"archived": True}).data] == [made.id]
    assert features.list({"archived": False}).data == []
    other = shop.v1.products.create({"name": "Other"}).id
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.products.features.create(other, {"entitlement_feature": made.id})


def test_past_due_keeps_and_canceled_loses_entitlements(shop: Shop) -> None:
    """`past_due` keeps access until the subscription is canceled (billing/entitlements)."""
    feature(shop)
    made = shop.subscribe(shop.fee(2000))
    bad = shop.v1.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": shop.customer})
    shop.v1.customers.update(shop.customer, {"invoice_settings": {"default_payment_method": bad.id}})
    shop.server.advance(31 * DAY + 3700)
    assert shop.v1.subscriptions.retrieve(made.id).status == "past_due"
    assert entitled(shop) == ["premium"]
    shop.v1.subscriptions.cancel(made.id)
    assert entitled(shop) == []


def test_incomplete_subscription_entitles_to_nothing(shop: Shop) -> None:
    """Only a subscription that became active entitles; paying its first invoice makes it so."""
    feature(shop)
    made = shop.subscribe(shop.fee(2000), payment_behavior="default_incomplete")
    assert entitled(shop) == []
    shop.v1.invoices.pay(made.latest_invoice)
    assert entitled(shop) == ["premium"]


def test_change_of_items_changes_entitlements(shop: Shop) -> None:
    """A new product's features come with its item and go with it."""
    made = shop.subscribe()
    product = shop.v1.products.create({"name": "Plus"}).id
    feature(shop, "plus", product)
    price = shop.v1.prices.create(
        {"currency": "usd", "unit_amount": 100, "product": product, "recurring": {"interval": "month"}}
    )
    item = shop.v1.subscription_items.create({"subscription": made.id, "price": price.id})
    assert entitled(shop) == ["plus"]
    shop.v1.subscription_items.delete(item.id)
    assert entitled(shop) == []


def test_summary_webhook_holds_ten_entitlements(shop: Shop) -> None:
    """The summary lists ten at most and then `has_more` (billing/entitlements)."""
    for number in range(12):
        feature(shop, f"f{number}")
    shop.subscribe()
    event = shop.v1.events.list({"types": ["entitlements.active_entitlement_summary.updated"]}).data[0]
    listed = event.data.object.entitlements
    assert (len(listed.data), listed.has_more) == (10, True)
    page = shop.v1.entitlements.active_entitlements.list({"customer": shop.customer})
    assert len(list(page.auto_paging_iter())) == 12


def test_lookup_key_of_a_feature_is_unique_short_and_fixed(shop: Shop) -> None:
    """`lookup_key` is unique and at most 80 characters (API reference: features)."""
    features = shop.v1.entitlements.features
    made = features.create({"lookup_key": "k" * 80, "name": "x", "metadata": {"a": "b"}})
    for key in ("k" * 80, "k" * 81):
        with pytest.raises(stripe.InvalidRequestError):
            features.create({"lookup_key": key, "name": "x"})
    with pytest.raises(stripe.InvalidRequestError):
        features.update(made.id, {"lookup_key": "other"})
    assert features.list({"lookup_key": "k" * 80}).data[0].id == features.retrieve(made.id).id


def test_feature_is_attached_once(shop: Shop) -> None:
    """The same feature twice on a product is a 400; a feature of another product is not found here."""
    made = feature(shop)
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.products.features.create(shop.product, {"entitlement_feature": made.id})
    row = shop.v1.products.features.list(shop.product).data[0]
    other = shop.v1.products.create({"name": "Other"}).id
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.products.features.retrieve(other, row.id)
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.entitlements.active_entitlements.retrieve("ent_none")
