"""Products, prices and meters."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import stripe

if TYPE_CHECKING:
    from tests.emulator.conftest import Shop

MONTHLY = {"interval": "month"}
TIERS = [{"up_to": 10, "unit_amount": 0}, {"up_to": "inf", "unit_amount_decimal": Decimal("0.5"), "flat_amount": 3}]


def refused(call: Any, *arguments: Any) -> str | None:
    """The code of the 400 that a call answers."""
    with pytest.raises(stripe.InvalidRequestError) as caught:
        call(*arguments)
    assert caught.value.http_status == 400
    code: str | None = caught.value.code
    return code


def test_product_id_can_be_chosen_once(v1: Any) -> None:
    """A second product of one id is `resource_already_exists`: creation is safe to race (docs/verified.md)."""
    v1.products.create({"id": "calls", "name": "Calls"})
    assert refused(v1.products.create, {"id": "calls", "name": "Calls"}) == "resource_already_exists"


def test_product_can_be_changed_listed_and_archived(v1: Any) -> None:
    """Products are updated in place (docs.stripe.com/api/products/update)."""
    made = v1.products.create({"name": "A"})
    v1.products.create({"name": "B", "active": False})
    price = v1.prices.create({"currency": "usd", "unit_amount": 1, "product": made.id}).id
    v1.products.update(made.id, {"name": "C", "default_price": price, "description": ""})
    v1.products.update(made.id, {"name": "C"})
    assert v1.products.retrieve(made.id, {"expand": ["default_price"]}).default_price.unit_amount == 1
    assert [row.name for row in v1.products.list({"active": True}).data] == ["C"]
    assert [row.id for row in v1.products.list({"ids": [made.id]}).data] == [made.id]


def test_product_with_prices_cannot_be_deleted(v1: Any) -> None:
    """Only products without prices can be deleted (docs.stripe.com/api/products/delete)."""
    made = v1.products.create({"name": "A"})
    v1.prices.create({"currency": "usd", "unit_amount": 1, "product": made.id})
    refused(v1.products.delete, made.id)
    assert v1.products.delete(v1.products.create({"name": "B"}).id).deleted


def test_price_keeps_twelve_decimals_exactly(v1: Any) -> None:
    """`unit_amount_decimal` takes 12 decimals of a minor unit, not 13 (docs.stripe.com/api/prices/create)."""
    base = {"currency": "usd", "product_data": {"name": "A"}}
    price = v1.prices.create({**base, "unit_amount_decimal": Decimal("0.123456789012")})
    assert (price.unit_amount_decimal, price.unit_amount) == (Decimal("0.123456789012"), None)
    refused(v1.prices.create, {**base, "unit_amount_decimal": Decimal("0.1234567890123")})


@pytest.mark.parametrize(
    "wrong",
    [
        {"unit_amount": 1, "unit_amount_decimal": Decimal(1)},
        {},
        {"unit_amount": -1},
        {"unit_amount": 1, "currency": "dollars"},
        {"unit_amount": 1, "product_data": {"name": "x"}},
        {"unit_amount": 1, "product": "prod_none"},
        {"unit_amount": 1, "tiers": TIERS},
        {"unit_amount": 1, "tiers_mode": "volume"},
        {"billing_scheme": "tiered", "tiers": TIERS},
        {"billing_scheme": "tiered", "tiers_mode": "volume"},
        {"billing_scheme": "tiered", "tiers_mode": "volume", "tiers": TIERS[:1]},
        {"billing_scheme": "tiered", "tiers_mode": "volume", "tiers": [TIERS[0], TIERS[0], TIERS[1]]},
        {"billing_scheme": "tiered", "tiers_mode": "volume", "tiers": [{"up_to": "inf"}]},
        {
            "billing_scheme": "tiered",
            "tiers_mode": "volume",
            "tiers": TIERS,
            "transform_quantity": {"divide_by": 2, "round": "up"},
        },
        {"unit_amount": 1, "recurring": {"interval": "month", "usage_type": "metered"}},
        {"unit_amount": 1, "lookup_key": "k" * 201},
    ],
)
def test_price_that_makes_no_sense_is_refused(shop: Shop, wrong: dict[str, Any]) -> None:
    """Rules of docs.stripe.com/api/prices/create: one amount, ordered tiers ending in inf, a meter for metered."""
    refused(shop.v1.prices.create, {"currency": "usd", "product": shop.product, **wrong})


def test_licensed_price_cannot_name_a_meter(shop: Shop) -> None:
    """A meter belongs to metered prices (docs.stripe.com/api/prices/create)."""
    recurring = {"interval": "month", "meter": shop.meter}
    refused(
        shop.v1.prices.create,
        {"currency": "usd", "product": shop.product, "unit_amount": 1, "recurring": recurring},
    )


def test_price_cannot_use_an_inactive_meter(shop: Shop) -> None:
    """A deactivated meter takes no new prices (docs.stripe.com/billing/subscriptions/usage-based/meters/configure)."""
    shop.v1.billing.meters.deactivate(shop.meter)
    with pytest.raises(stripe.InvalidRequestError, match="not active"):
        shop.metered(unit_amount=1)


def test_lookup_key_is_unique_and_can_be_transferred(shop: Shop) -> None:
    """One price per lookup key; `transfer_lookup_key` moves it (docs.stripe.com/api/prices/create)."""
    terms = {"currency": "usd", "product": shop.product, "unit_amount": 9, "lookup_key": "calls"}
    assert refused(shop.v1.prices.create, terms) == "resource_already_exists"
    new = shop.v1.prices.create({**terms, "transfer_lookup_key": True})
    found = shop.v1.prices.list({"lookup_keys": ["calls"], "expand": ["data.tiers"]}).data
    assert [row.id for row in found] == [new.id]
    assert shop.v1.prices.retrieve(shop.price).lookup_key is None


def test_prices_are_listed_by_their_terms(shop: Shop) -> None:
    """Lists filter by product, activity, type and recurrence (docs.stripe.com/api/prices/list)."""
    fee = shop.fee(100)
    shop.v1.prices.create({"currency": "usd", "product": shop.product, "unit_amount": 1})
    shop.v1.prices.update(shop.price, {"active": False})

    def found(**params: Any) -> list[str]:
        return [row.id for row in shop.v1.prices.list(params).data]

    assert found(active=False) == [shop.price]
    assert found(recurring={"usage_type": "licensed"}) == [fee]
    assert len(found(product=shop.product, type="recurring")) == 2
    assert found(product="prod_other") == []


def test_only_soft_terms_of_a_price_can_change(shop: Shop) -> None:
    """Money terms are immutable; nickname, key, options may change (docs.stripe.com/api/prices/update)."""
    options = {"eur": {"unit_amount": 4, "tax_behavior": "exclusive"}}
    shop.v1.prices.update(
        shop.price, {"nickname": "n", "lookup_key": "new", "currency_options": options, "metadata": {"a": "b"}}
    )
    shop.v1.prices.update(shop.price, {"nickname": "n"})
    found = shop.v1.prices.retrieve(shop.price, {"expand": ["currency_options"]})
    assert (found.nickname, found.lookup_key) == ("n", "new")
    assert found.currency_options["eur"].unit_amount == 4
    assert refused(shop.v1.prices.update, shop.price, {"unit_amount": 4}) == "parameter_unknown"


def test_tax_behavior_is_set_once(shop: Shop) -> None:
    """`tax_behavior` cannot be changed once it is set (docs/verified.md)."""
    shop.v1.prices.update(shop.price, {"tax_behavior": "exclusive"})
    refused(shop.v1.prices.update, shop.price, {"tax_behavior": "inclusive"})


def test_event_name_belongs_to_one_active_meter(shop: Shop) -> None:
    """A second active meter of one event name is a 400; after deactivation the name is free (docs/verified.md)."""
    meters = shop.v1.billing.meters
    terms = {"display_name": "Other", "event_name": "calls", "default_aggregation": {"formula": "count"}}
    refused(meters.create, terms)
    meters.deactivate(shop.meter)
    refused(meters.deactivate, shop.meter)
    other = meters.create(terms)
    refused(meters.reactivate, shop.meter)
    meters.deactivate(other.id)
    assert meters.reactivate(shop.meter).status == "active"
    refused(meters.reactivate, shop.meter)
    assert [row.id for row in meters.list({"status": "inactive"}).data] == [other.id]


def test_only_the_display_name_of_a_meter_changes(shop: Shop) -> None:
    """Meters are immutable but for their display name (docs.stripe.com/api/billing/meter/update)."""
    meters = shop.v1.billing.meters
    assert meters.update(shop.meter, {"display_name": "New"}).display_name == "New"
    meters.update(shop.meter, {})
    refused(meters.update, shop.meter, {"event_name": "x"})
    refused(meters.update, shop.meter, {"display_name": "x" * 251})
    assert meters.retrieve(shop.meter).display_name == "New"


@pytest.mark.parametrize("wrong", [{"event_name": "x" * 101}, {"display_name": "x" * 251}])
def test_meter_names_have_limits(v1: Any, wrong: dict[str, str]) -> None:
    """100 characters for the event name, 250 for the display name (docs.stripe.com/api/billing/meter/create)."""
    base = {"display_name": "d", "event_name": "e", "default_aggregation": {"formula": "sum"}}
    refused(v1.billing.meters.create, {**base, **wrong})


def test_unknown_currency_is_refused(v1: Any) -> None:
    """Stripe names its currencies, and takes no other (docs.stripe.com/currencies)."""
    with pytest.raises(stripe.InvalidRequestError) as caught:
        v1.prices.create({"currency": "xxx", "unit_amount": 5, "product_data": {"name": "Nothing"}})
    assert caught.value.param == "currency"


def test_price_that_is_refused_takes_no_lookup_key_and_makes_no_product(shop: Shop) -> None:
    """A failed request changes nothing: the old price keeps the key that the new one wanted."""
    base = {"currency": "usd", "unit_amount": 7, "lookup_key": "calls"}
    refused(shop.v1.prices.create, {**base, "transfer_lookup_key": True, "product": "prod_none"})
    assert shop.v1.prices.retrieve(shop.price).lookup_key == "calls"
    refused(shop.v1.prices.create, {**base, "product_data": {"name": "Never"}})
    assert [row.name for row in shop.v1.products.list().data] == ["Calls"]
    moved = shop.v1.prices.create({**base, "transfer_lookup_key": True, "product": shop.product})
    assert (moved.lookup_key, shop.v1.prices.retrieve(shop.price).lookup_key) == ("calls", None)


@pytest.mark.parametrize(
    ("interval", "count"), [("day", 0), ("month", -1), ("day", 1096), ("week", 157), ("month", 37), ("year", 4)]
)
def test_billing_interval_is_positive_and_at_most_three_years(shop: Shop, interval: str, count: int) -> None:
    """An interval of nothing would bill for ever at the same moment (API reference: prices)."""
    with pytest.raises(stripe.InvalidRequestError) as error:
        shop.fee(100, recurring={"interval": interval, "interval_count": count})
    assert error.value.param == "recurring[interval_count]"


def test_billing_interval_of_three_years_is_taken(shop: Shop) -> None:
    """The longest intervals that Stripe sells must be sold here too (API reference: prices)."""
    for interval, count in (("day", 1095), ("week", 156), ("month", 36), ("year", 3)):
        price = shop.fee(100, recurring={"interval": interval, "interval_count": count})
        assert shop.v1.prices.retrieve(price).recurring.interval_count == count


def test_at_most_ten_lookup_keys_are_looked_up(v1: Any) -> None:
    """Code that looks up more prices at once would fail on Stripe (API reference: list prices)."""
    keys = [f"key{number}" for number in range(11)]
    assert v1.prices.list({"lookup_keys": keys[:10]}).data == []
    with pytest.raises(stripe.InvalidRequestError) as error:
        v1.prices.list({"lookup_keys": keys})
    assert error.value.param == "lookup_keys"


def test_event_time_window_is_not_emulated(v1: Any) -> None:
    """Such a meter keeps the last event of a window only; summing all of them would bill another amount."""
    terms = {"display_name": "Calls", "event_name": "calls", "default_aggregation": {"formula": "sum"}}
    with pytest.raises(stripe.InvalidRequestError) as error:
        v1.billing.meters.create({**terms, "event_time_window": "hour"})
    assert (error.value.code, error.value.param) == ("not_emulated", "event_time_window")
