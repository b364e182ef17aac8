"""The customer portal: configurations, sessions, and its hosted page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
import stripe

if TYPE_CHECKING:
    from tests.emulator.conftest import Shop


def portal(shop: Shop, **more: Any) -> str:
    """The address of a portal session of the shop's customer."""
    params = {"customer": shop.customer, "return_url": "https://example.com/back", **more}
    return str(shop.v1.billing_portal.sessions.create(params).url)


def test_page_cancels_at_the_end_of_the_period_and_takes_it_back(shop: Shop) -> None:
    """The default portal cancels at period end (docs.stripe.com/customer-management)."""
    made = shop.subscribe()
    url = portal(shop)
    assert "Cancel at the end of the period" in httpx.get(url).text
    answer = httpx.post(url, data={"action": "cancel", "subscription": made.id})
    assert (answer.status_code, answer.headers["location"]) == (303, httpx.URL(url).path)
    found = shop.v1.subscriptions.retrieve(made.id)
    assert found.cancel_at == found["items"].data[0].current_period_end
    assert "Keep subscription" in httpx.get(url).text
    httpx.post(url, data={"action": "keep", "subscription": made.id})
    assert shop.v1.subscriptions.retrieve(made.id).cancel_at is None


def test_page_changes_the_card_of_customer_and_subscription(shop: Shop) -> None:
    """A new card becomes the default; a refused one shows why (docs.stripe.com/testing)."""
    card = shop.v1.customers.retrieve(shop.customer).invoice_settings.default_payment_method
    made = shop.subscribe(default_payment_method=card)
    url = portal(shop)
    refused = httpx.post(url, data={"action": "card", "card": "4000 0000 0000 0002"})
    assert (refused.status_code, "declined" in refused.text) == (402, True)
    assert httpx.post(url, data={"action": "card", "card": "5555 5555 5555 4444"}).status_code == 303
    new = shop.v1.customers.retrieve(shop.customer).invoice_settings.default_payment_method
    assert new != card
    assert shop.v1.subscriptions.retrieve(made.id).default_payment_method == new
    assert "4444" in httpx.get(url).text


def test_page_lists_invoices_and_leads_back(shop: Shop) -> None:
    """Invoice history and the way back to the seller."""
    shop.subscribe(shop.fee(2000))
    text = httpx.get(portal(shop)).text
    assert "EMULATED-0001" in text
    assert "https://example.com/back" in text


def test_configuration_decides_what_the_page_allows(shop: Shop) -> None:
    """Features are on only if the configuration says so (API reference: portal configurations)."""
    features = {"subscription_cancel": {"enabled": False}, "payment_method_update": {"enabled": False}}
    configurations = shop.v1.billing_portal.configurations
    own = configurations.create({"features": features, "business_profile": {"headline": "Hello"}, "name": "Own"})
    assert (own.is_default, own.business_profile.headline, own.features.subscription_cancel.mode) == (
        False,
        "Hello",
        "at_period_end",
    )
    made = shop.subscribe()
    url = portal(shop, configuration=own.id)
    text = httpx.get(url).text
    assert "Cancel" not in text
    assert "card" not in text.split("<main>")[-1].replace('class="card"', "")
    assert httpx.post(url, data={"action": "cancel", "subscription": made.id}).status_code == 402
    assert shop.v1.subscriptions.retrieve(made.id).cancel_at is None


def test_configuration_may_cancel_at_once_and_bills_the_usage(shop: Shop) -> None:
    """mode=immediately ends the subscription; the emulator bills its usage (docs/verified.md)."""
    features = {"subscription_cancel": {"enabled": True, "mode": "immediately"}}
    own = shop.v1.billing_portal.configurations.create({"features": features})
    made = shop.subscribe()
    shop.use("100")
    shop.server.advance(60)
    httpx.post(portal(shop, configuration=own.id), data={"action": "cancel", "subscription": made.id})
    assert shop.v1.subscriptions.retrieve(made.id).status == "canceled"
    assert shop.newest_invoice().total == 500


def test_configurations_change_and_the_default_stays(shop: Shop) -> None:
    """One default, which cannot be deactivated (API reference: portal configurations)."""
    configurations = shop.v1.billing_portal.configurations
    default = configurations.list({"is_default": True}).data[0]
    assert default.features.subscription_cancel.mode == "at_period_end"
    with pytest.raises(stripe.InvalidRequestError):
        configurations.update(default.id, {"active": False})
    own = configurations.create({"features": {"invoice_history": {"enabled": True}}})
    changed = configurations.update(
        own.id,
        {
            "active": False,
            "default_return_url": "https://example.com",
            "features": {"subscription_cancel": {"enabled": True}},
            "metadata": {"a": "b"},
        },
    )
    assert (changed.active, changed.features.invoice_history.enabled) == (False, True)
    assert configurations.retrieve(own.id).features.subscription_cancel.enabled
    assert [row.id for row in configurations.list({"active": False}).data] == [own.id]
    with pytest.raises(stripe.InvalidRequestError):
        portal(shop, configuration=own.id)


def test_flow_leads_straight_to_one_task(shop: Shop) -> None:
    """flow_data picks a task and what comes after it (API reference: portal sessions)."""
    made = shop.subscribe()
    after = {"type": "redirect", "redirect": {"return_url": "https://example.com/done"}}
    flow = {"type": "subscription_cancel", "subscription_cancel": {"subscription": made.id}, "after_completion": after}
    url = portal(shop, flow_data=flow)
    assert "New card number" not in httpx.get(url).text
    answer = httpx.post(url, data={"action": "cancel", "subscription": made.id})
    assert answer.headers["location"] == "https://example.com/done"
    text = httpx.get(portal(shop, flow_data={"type": "payment_method_update"})).text
    assert ("New card number" in text, "Calls" in text) == (True, False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"flow_data": {"type": "subscription_cancel"}},
        {"flow_data": {"type": "subscription_cancel", "subscription_cancel": {"subscription": "sub_none"}}},
        {"flow_data": {"type": "subscription_update", "subscription_update": {"subscription": "sub_none"}}},
        {"configuration": "bpc_none"},
        {"customer": "cus_none"},
    ],
)
def test_session_that_makes_no_sense_is_refused(shop: Shop, wrong: dict[str, Any]) -> None:
    """What does not exist, and what the emulator does not do, is refused."""
    with pytest.raises(stripe.InvalidRequestError):
        portal(shop, **wrong)


def test_features_without_emulation_are_refused(shop: Shop) -> None:
    """A portal that would do nothing is not offered."""
    for name in ("subscription_update", "subscription_pause"):
        with pytest.raises(stripe.InvalidRequestError):
            shop.v1.billing_portal.configurations.create({"features": {name: {"enabled": True}}})


def test_page_of_an_unknown_session_is_a_404(shop: Shop) -> None:
    """Nothing is shown for an address nobody made; another customer's subscription cannot be canceled."""
    assert httpx.get(f"{shop.server.url}/p/session/bps_none").status_code == 404
    assert httpx.post(f"{shop.server.url}/p/session/bps_none").status_code == 404
    other = shop.v1.customers.create({}).id
    made = shop.subscribe()
    url = portal(shop, customer=other)
    assert httpx.post(url, data={"action": "cancel", "subscription": made.id}).status_code == 402
    assert httpx.post(url, data={"action": "cancel", "subscription": "sub_none"}).status_code == 402
    shop.v1.customers.delete(other)
    assert httpx.get(url).status_code == 404


def test_features_of_a_configuration_are_merged_part_by_part_and_unset_by_empty_strings(shop: Shop) -> None:
    """What is not named stays; an empty string empties a list (OpenAPI: `allowed_updates` is a list, never null)."""
    configurations = shop.v1.billing_portal.configurations
    updates = {"customer_update": {"enabled": True, "allowed_updates": ["email"]}}
    reason = {"cancellation_reason": {"enabled": True, "options": ["unused"]}}
    made = configurations.create({"features": {**updates, "subscription_cancel": {"enabled": True, **reason}}})
    assert made.features.customer_update.allowed_updates == ["email"]
    changed = configurations.update(
        made.id,
        {
            "features": {
                "customer_update": {"allowed_updates": ""},
                "subscription_cancel": {"enabled": True, "cancellation_reason": {"enabled": False}},
            }
        },
    ).features
    assert (changed.customer_update.enabled, changed.customer_update.allowed_updates) == (True, [])
    assert changed.subscription_cancel.cancellation_reason.options == ["unused"]


def test_parts_of_portal_features_get_their_defaults(shop: Shop) -> None:
    """One interval by default (SDK documentation); quantities are fixed unless a product says otherwise."""
    features: Any = {
        "subscription_pause": {
            "enabled": False, "duration": {"type": "interval_options", "interval_options": [{"interval": "week"}]},
        },
        "subscription_update": {"enabled": False, "products": [{"product": shop.product, "prices": [shop.price]}]},
    }  # fmt: skip
    made = shop.v1.billing_portal.configurations.create({"features": features}).features
    assert made.subscription_pause.duration.interval_options[0].interval_count == 1
    quantity = made.subscription_update.products[0].adjustable_quantity
    assert (quantity.enabled, quantity.maximum, quantity.minimum) == (False, None, 0)
