"""Billing alerts on usage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import stripe

if TYPE_CHECKING:
    from tests.emulator.conftest import Shop


def alert(shop: Shop, gte: int = 10, customer: str | None = None, **more: Any) -> Any:
    """An alert on the shop's meter."""
    threshold: dict[str, Any] = {"gte": gte, "meter": shop.meter, "recurrence": "one_time"}
    if customer:
        threshold["filters"] = [{"type": "customer", "customer": customer}]
    base = {"alert_type": "usage_threshold", "title": "Much", "usage_threshold": threshold}
    return shop.v1.billing.alerts.create({**base, **more})


def fired(shop: Shop) -> list[tuple[str, int]]:
    """Customer and value of every alert that went off, oldest first."""
    rows = shop.v1.events.list({"types": ["billing.alert.triggered"]}).data
    return [(row.data.object.customer, int(row.data.object.value)) for row in reversed(rows)]


def test_alert_goes_off_once_per_customer(shop: Shop) -> None:
    """recurrence one_time: once per customer (docs.stripe.com: usage alerts)."""
    alert(shop)
    shop.use("9")
    assert fired(shop) == []
    shop.use("3")
    shop.use("50")
    assert fired(shop) == [(shop.customer, 12)]
    shop.customer = shop.v1.customers.create({}).id
    shop.use("10")
    assert len(fired(shop)) == 2


def test_alert_counts_usage_reported_after_its_creation(shop: Shop) -> None:
    """Alerts are evaluated on usage reported after creation (docs.stripe.com: usage alerts)."""
    shop.use("100")
    shop.server.advance(1)
    alert(shop)
    shop.use("1")
    assert fired(shop) == []


def test_alert_may_watch_one_customer(shop: Shop) -> None:
    """A filter names the customer (API reference: alerts)."""
    other = shop.v1.customers.create({}).id
    made = alert(shop, customer=other)
    shop.use("10")
    assert fired(shop) == []
    assert made.usage_threshold.filters[0].customer == other
    shop.customer = other
    shop.use("10")
    assert fired(shop) == [(other, 10)]


def test_inactive_alert_stays_silent_and_archived_for_good(shop: Shop) -> None:
    """deactivate, activate, archive (API reference: alerts)."""
    alerts = shop.v1.billing.alerts
    made = alert(shop)
    assert alerts.deactivate(made.id).status == "inactive"
    shop.use("10")
    assert fired(shop) == []
    alerts.activate(made.id)
    shop.use("1")
    assert fired(shop) == [(shop.customer, 11)]
    assert alerts.archive(made.id).status == "archived"
    with pytest.raises(stripe.InvalidRequestError):
        alerts.activate(made.id)
    assert alerts.retrieve(made.id, {"expand": ["usage_threshold.meter"]}).usage_threshold.meter.id == shop.meter
    assert len(alerts.list({"meter": shop.meter}).data) == 1
    assert alerts.list({"meter": "mtr_other"}).data == []


def test_meter_has_at_most_25_alerts(shop: Shop) -> None:
    """25 alerts per meter (docs.stripe.com: usage alerts)."""
    for _ in range(25):
        alert(shop)
    with pytest.raises(stripe.InvalidRequestError):
        alert(shop)


@pytest.mark.parametrize("wrong", [{"title": "t" * 257}, {"usage_threshold": None}, {"gte": 0}, {"customer": "cus_no"}])
def test_alert_that_makes_no_sense_is_refused(shop: Shop, wrong: dict[str, Any]) -> None:
    """Limits of the API reference."""
    if wrong.get("usage_threshold", "") is None:
        with pytest.raises(stripe.InvalidRequestError):
            shop.v1.billing.alerts.create({"alert_type": "usage_threshold", "title": "x"})
        return
    with pytest.raises(stripe.InvalidRequestError):
        alert(shop, **wrong)


def test_filter_for_a_customer_names_one(shop: Shop) -> None:
    """A filter without its customer is refused, not an error of the server (SDK documentation of `filters`)."""
    threshold = {"gte": 5, "meter": shop.meter, "recurrence": "one_time", "filters": [{"type": "customer"}]}
    params = {"alert_type": "usage_threshold", "title": "Many", "usage_threshold": threshold}
    with pytest.raises(stripe.InvalidRequestError) as caught:
        shop.v1.billing.alerts.create(params)
    assert caught.value.param == "usage_threshold[filters]"


def test_alert_does_not_watch_customers_on_test_clocks(shop: Shop) -> None:
    """Alerts do not run on test clocks, so a story that waits for one there must not succeed here."""
    clock = shop.v1.test_helpers.test_clocks.create({"frozen_time": shop.now})
    shop.customer = shop.v1.customers.create({"test_clock": clock.id}).id
    with pytest.raises(stripe.InvalidRequestError) as error:
        alert(shop, customer=shop.customer)
    assert error.value.param == "usage_threshold[filters]"
    alert(shop)
    shop.use("50")
    assert (shop.total(), fired(shop)) == (50.0, [])


def test_alert_does_not_count_what_came_before_it_in_the_same_second(shop: Shop) -> None:
    """On a frozen clock usage and alert share their second, and yet only usage after the alert counts."""
    shop.use("9")
    alert(shop)
    shop.use("1")
    assert fired(shop) == []
    shop.use("9")
    assert fired(shop) == [(shop.customer, 10)]
