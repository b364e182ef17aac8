"""Test clocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import stripe

if TYPE_CHECKING:
    from tests.emulator.conftest import Shop

DAY = 86_400


def clocked(shop: Shop) -> Any:
    """A clock at the present, and the shop's customer replaced by one on it."""
    made = shop.v1.test_helpers.test_clocks.create({"frozen_time": shop.now, "name": "story"})
    terms = {"payment_method": "pm_card_visa", "invoice_settings": {"default_payment_method": "pm_card_visa"}}
    shop.customer = shop.v1.customers.create({"test_clock": made.id, **terms}).id
    return made


def advance(shop: Shop, id: str, seconds: int) -> Any:
    """Move a clock on."""
    clocks = shop.v1.test_helpers.test_clocks
    return clocks.advance(id, {"frozen_time": clocks.retrieve(id).frozen_time + seconds})


def test_advancing_a_clock_bills_its_subscriptions(shop: Shop) -> None:
    """Meters and finalised invoices work end to end on a clock (docs.stripe.com/billing/testing/test-clocks)."""
    clock = clocked(shop)
    assert shop.subscribe().test_clock == clock.id
    shop.use("100")
    moving = advance(shop, clock.id, 32 * DAY)
    assert (moving.status, moving.status_details.advancing.target_frozen_time) == ("advancing", shop.now)
    ready = shop.v1.test_helpers.test_clocks.retrieve(clock.id)
    assert (ready.status, ready.frozen_time) == ("ready", shop.now)
    invoice = shop.newest_invoice()
    assert (invoice.status, invoice.total, invoice.test_clock) == ("paid", 500, clock.id)
    types = [row.type for row in shop.v1.events.list({"limit": 100}).data if "test_clock" in row.type]
    assert types == ["test_helpers.test_clock.ready"]  # the others are older than the 30 days that events are kept


def test_objects_of_a_clock_are_hidden_from_lists(shop: Shop) -> None:
    """Lists leave out clocked customers unless the clock is named (API reference: customers)."""
    clock = clocked(shop)
    made = shop.subscribe()
    assert shop.customer not in [row.id for row in shop.v1.customers.list().data]
    assert [row.id for row in shop.v1.customers.list({"test_clock": clock.id}).data] == [shop.customer]
    assert shop.v1.subscriptions.list().data == []
    assert [row.id for row in shop.v1.subscriptions.list({"test_clock": clock.id}).data] == [made.id]
    assert [row.id for row in shop.v1.subscriptions.list({"customer": shop.customer}).data] == [made.id]


def test_clock_takes_three_customers(shop: Shop) -> None:
    """At most three customers per clock (docs.stripe.com/billing/testing/test-clocks)."""
    clock = clocked(shop)
    for _ in range(2):
        shop.v1.customers.create({"test_clock": clock.id})
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.customers.create({"test_clock": clock.id})


def test_clock_moves_two_intervals_at_most_and_never_back(shop: Shop) -> None:
    """Two intervals of the shortest subscription per advance (docs.stripe.com/billing/testing/test-clocks)."""
    clock = clocked(shop)
    shop.subscribe()
    for days in (63, 0, -1):
        with pytest.raises(stripe.InvalidRequestError):
            advance(shop, clock.id, days * DAY)
    advance(shop, clock.id, 59 * DAY)


def test_clock_may_start_in_the_future_but_not_in_the_past(shop: Shop) -> None:
    """The emulator's own clock only moves forward; a start in the past is refused loudly."""
    create = shop.v1.test_helpers.test_clocks.create
    assert create({"frozen_time": shop.now + 5 * DAY}).frozen_time == shop.now
    with pytest.raises(stripe.InvalidRequestError, match="does not implement"):
        create({"frozen_time": shop.now - DAY})


def test_deleting_a_clock_deletes_its_customers(shop: Shop) -> None:
    """Customers go and subscriptions end with their clock (API reference: test clocks)."""
    clock = clocked(shop)
    made = shop.subscribe()
    clocks = shop.v1.test_helpers.test_clocks
    assert clocks.delete(clock.id).deleted
    assert clocks.list().data == []
    assert shop.v1.customers.retrieve(shop.customer).deleted
    assert shop.v1.subscriptions.retrieve(made.id).status == "canceled"


def test_customer_on_a_clock_has_three_subscriptions_at_most(shop: Shop) -> None:
    """A story on a clock that needs a fourth cannot be told on Stripe (docs.stripe.com/billing/testing/test-clocks)."""
    clocked(shop)
    for _ in range(3):
        shop.subscribe()
    with pytest.raises(stripe.InvalidRequestError) as error:
        shop.subscribe()
    assert error.value.param == "customer"
