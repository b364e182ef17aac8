"""Subscriptions in life: trials, anchors, plan changes, cancellation, thresholds, schedules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
import stripe

if TYPE_CHECKING:
    from tests.emulator.conftest import Shop

HOUR = 3_600
DAY = 86_400
INCLUDED = [{"up_to": 100, "unit_amount": 0}, {"up_to": "inf", "unit_amount": 25}]


@pytest.fixture(autouse=True)
def _true_to_stripe(shop: Shop) -> Iterator[None]:
    """Nothing that happens in these tests, in the background included, breaks the SDK's types."""
    yield
    assert shop.server.emulator.violations == []


def item_of(shop: Shop, subscription: str, number: int = 0) -> Any:
    """One item of a subscription as it is now."""
    return shop.v1.subscriptions.retrieve(subscription)["items"].data[number]


def to_end(shop: Shop, subscription: str, extra: int = 0) -> None:
    """Move the clock to the end of the first item's period."""
    shop.server.advance(item_of(shop, subscription).current_period_end - shop.server.emulator.clock.now() + extra)


def plan(shop: Shop, cents: int, included: int, interval: str = "month") -> list[str]:
    """A plan of its own product: a fee, and a metered price whose first tier is free."""
    product = shop.v1.products.create({"name": f"Plan {cents}"}).id
    tiers = [{"up_to": included, "unit_amount": 0}, {"up_to": "inf", "unit_amount": 25}]
    metered = {"interval": interval, "usage_type": "metered", "meter": shop.meter}
    fee = shop.fee(cents, product=product, recurring={"interval": interval})
    usage = shop.v1.prices.create(
        {
            "currency": "usd",
            "product": product,
            "recurring": metered,
            "billing_scheme": "tiered",
            "tiers_mode": "graduated",
            "tiers": tiers,
        }
    )
    return [fee, str(usage.id)]


def types_of(shop: Shop, *types: str) -> list[str]:
    """The newest events of these types, oldest first."""
    return [row.type for row in reversed(shop.v1.events.list({"types": list(types), "limit": 100}).data)]


def fail_the_card(shop: Shop) -> str:
    """Make the customer's default a card that is declined when charged; returns the good one."""
    good = shop.v1.customers.retrieve(shop.customer).invoice_settings.default_payment_method
    card = shop.v1.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": shop.customer})
    shop.v1.customers.update(shop.customer, {"invoice_settings": {"default_payment_method": card.id}})
    return str(good)


# Included calls and overage


def test_included_calls_are_the_free_first_tier(shop: Shop) -> None:
    """A flat fee and a graduated price whose first tier is free: overage in arrears (stripe.md 6.2)."""
    made = shop.subscribe(*plan(shop, 4999, 100))
    assert shop.newest_invoice().amount_paid == 4999
    shop.use("104")
    to_end(shop, made.id, HOUR)
    invoice = shop.newest_invoice()
    assert sorted((line.quantity, line.amount) for line in invoice.lines.data) == [(1, 4999), (4, 100), (100, 0)]
    assert invoice.total == 5099


# Trials


def test_trial_starts_with_an_invoice_of_zero_and_status_trialing(shop: Shop) -> None:
    """`trial_period_days`: nothing is due until the trial ends (API reference: subscriptions)."""
    made = shop.subscribe(*plan(shop, 4999, 100), trial_period_days=14)
    assert (made.status, made.trial_end - made.trial_start) == ("trialing", 14 * DAY)
    assert item_of(shop, made.id).current_period_end == made.trial_end
    first = shop.newest_invoice()
    assert (first.total, first.status, first.billing_reason) == (0, "paid", "subscription_create")
    assert "Trial period" in first.lines.data[0].description


def test_usage_in_a_trial_is_never_invoiced(shop: Shop) -> None:
    """Metered usage in a trial is free (stripe.md 4, trials); the fee begins with the first paid period."""
    made = shop.subscribe(*plan(shop, 4999, 100), trial_period_days=14)
    shop.use("500")
    to_end(shop, made.id, HOUR)
    assert shop.v1.subscriptions.retrieve(made.id).status == "active"
    assert (shop.newest_invoice().total, shop.newest_invoice().status) == (4999, "paid")
    shop.use("101")
    to_end(shop, made.id, HOUR)
    assert shop.newest_invoice().total == 4999 + 25


@pytest.mark.parametrize(("days", "wait"), [(14, 11 * DAY), (2, 0)])
def test_trial_end_is_announced_three_days_before(shop: Shop, days: int, wait: int) -> None:
    """`customer.subscription.trial_will_end`: three days before, or at once (API reference: event types)."""
    shop.subscribe(shop.fee(2000), trial_period_days=days)
    if wait:
        shop.server.advance(wait - 1)
        assert types_of(shop, "customer.subscription.trial_will_end") == []
        shop.server.advance(1)
    assert types_of(shop, "customer.subscription.trial_will_end") == ["customer.subscription.trial_will_end"]


@pytest.mark.parametrize(
    ("behavior", "status"), [("pause", "paused"), ("cancel", "canceled"), ("create_invoice", "past_due")]
)
def test_trial_without_a_card_ends_as_its_settings_say(shop: Shop, behavior: str, status: str) -> None:
    """`trial_settings[end_behavior][missing_payment_method]` (API reference: subscriptions)."""
    shop.customer = shop.v1.customers.create({}).id
    settings = {"end_behavior": {"missing_payment_method": behavior}}
    made = shop.subscribe(shop.fee(2000), trial_period_days=1, trial_settings=settings)
    assert made.status == "trialing"
    shop.server.advance(DAY + HOUR)
    assert shop.v1.subscriptions.retrieve(made.id).status == status


def test_paused_subscription_is_resumed_in_a_new_period(shop: Shop) -> None:
    """`resume` bills a period that begins now (API reference: resume a subscription)."""
    shop.customer = shop.v1.customers.create({}).id
    settings = {"end_behavior": {"missing_payment_method": "pause"}}
    made = shop.subscribe(shop.fee(2000), trial_period_days=1, trial_settings=settings)
    shop.server.advance(3 * DAY)
    assert types_of(shop, "customer.subscription.paused") == ["customer.subscription.paused"]
    card = shop.v1.payment_methods.attach("pm_card_visa", {"customer": shop.customer})
    shop.v1.customers.update(shop.customer, {"invoice_settings": {"default_payment_method": card.id}})
    assert shop.v1.subscriptions.resume(made.id).status == "active"
    assert item_of(shop, made.id).current_period_start == shop.now
    assert shop.newest_invoice().amount_paid == 2000
    assert types_of(shop, "customer.subscription.resumed") == ["customer.subscription.resumed"]
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.subscriptions.resume(made.id)


def test_trial_can_be_ended_now_or_moved(shop: Shop) -> None:
    """`trial_end=now` bills at once; another time extends the trial (API reference: update a subscription)."""
    made = shop.subscribe(shop.fee(2000), trial_period_days=5)
    later = shop.now + 20 * DAY
    assert shop.v1.subscriptions.update(made.id, {"trial_end": later}).trial_end == later
    shop.server.advance(6 * DAY)
    assert shop.v1.subscriptions.retrieve(made.id).status == "trialing"
    assert shop.v1.subscriptions.update(made.id, {"trial_end": "now"}).status == "active"
    assert (shop.newest_invoice().amount_paid, item_of(shop, made.id).current_period_start) == (2000, shop.now)


def test_trial_that_is_canceled_ends_unbilled(shop: Shop) -> None:
    """`cancel_at_period_end` in a trial ends it at the trial's end (API reference: subscriptions)."""
    made = shop.subscribe(shop.fee(2000), trial_period_days=5)
    assert shop.v1.subscriptions.update(made.id, {"cancel_at_period_end": True}).cancel_at == made.trial_end
    shop.server.advance(6 * DAY)
    assert shop.v1.subscriptions.retrieve(made.id).status == "canceled"
    assert [row.total for row in shop.v1.invoices.list().data] == [0]


# Anchors


def test_anchor_on_a_day_of_the_month_makes_a_short_first_period(shop: Shop) -> None:
    """`billing_cycle_anchor_config`: UTC, and day 31 is the last day of a shorter month (stripe.md 6.4)."""
    made = shop.subscribe(shop.fee(3100), billing_cycle_anchor_config={"day_of_month": 31, "hour": 0, "minute": 0})
    item = item_of(shop, made.id)
    assert (item.current_period_start, item.current_period_end) == (shop.now, made.billing_cycle_anchor)
    assert 0 < shop.newest_invoice().total <= 3100
    to_end(shop, made.id, HOUR)
    assert shop.newest_invoice().total == 3100


def test_anchor_without_proration_costs_nothing_until_then(shop: Shop) -> None:
    """`proration_behavior=none` makes the first part of a period free (API reference: subscriptions)."""
    anchor = shop.now + 10 * DAY
    made = shop.subscribe(shop.fee(3000), billing_cycle_anchor=anchor, proration_behavior="none")
    assert shop.v1.invoices.list().data == []
    assert item_of(shop, made.id).current_period_end == anchor


# Changing plans


def test_upgrade_now_charges_the_difference_at_once(shop: Shop) -> None:
    """`always_invoice`: unused time back, remaining time charged, in one invoice (docs: prorations)."""
    made = shop.subscribe(shop.fee(3000))
    length = item_of(shop, made.id).current_period_end - shop.now
    shop.server.advance(length / 2)
    item = {"id": item_of(shop, made.id).id, "price": shop.fee(9000)}
    params = {"items": [item], "proration_behavior": "always_invoice"}
    shown = shop.v1.invoices.create_preview({"subscription": made.id, "subscription_details": params})
    shop.v1.subscriptions.update(made.id, params)
    invoice = shop.newest_invoice()
    assert [line.amount for line in invoice.lines.data] == [-1500, 4500]
    assert (invoice.billing_reason, invoice.amount_paid, shown.total) == ("subscription_update", 3000, 3000)
    assert all(line.parent.subscription_item_details.proration for line in invoice.lines.data)


def test_preview_of_a_change_changes_nothing(shop: Shop) -> None:
    """`create_preview` with items (API reference: create a preview invoice)."""
    made = shop.subscribe(*plan(shop, 3000, 100))
    before = shop.v1.subscriptions.retrieve(made.id).to_dict()
    items = [{"id": item_of(shop, made.id).id, "price": shop.fee(9000)}]
    for behavior in ("none", "create_prorations", "always_invoice"):
        details = {"items": items, "proration_behavior": behavior}
        shop.v1.invoices.create_preview({"subscription": made.id, "subscription_details": details})
    shop.v1.invoices.create_preview({"subscription": made.id, "subscription_details": {"cancel_at_period_end": True}})
    assert shop.v1.subscriptions.retrieve(made.id).to_dict() == before
    assert len(shop.v1.invoices.list().data) == 1


def test_plan_change_with_usage_prices_each_part_as_it_happened(shop: Shop) -> None:
    """In flexible mode usage is priced as it was when it happened, each part with its own tiers (stripe.md 4)."""
    old, new = plan(shop, 1000, 100), plan(shop, 5000, 100)
    made = shop.subscribe(*old)
    items = [item_of(shop, made.id, number).id for number in (0, 1)]
    shop.use("104")
    shop.server.advance(60)
    change = [{"id": id, "price": price} for id, price in zip(items, new, strict=True)]
    shop.v1.subscriptions.update(made.id, {"items": change, "proration_behavior": "always_invoice"})
    assert 100 + 3990 <= shop.newest_invoice().total <= 100 + 4000
    shop.use("101")
    to_end(shop, made.id, HOUR)
    assert shop.newest_invoice().total == 5000 + 25


def test_other_interval_starts_a_new_period_and_bills_it_now(shop: Shop) -> None:
    """A price of another interval resets the anchor and is invoiced at once (docs: change price, prorations)."""
    made = shop.subscribe(shop.fee(1000))
    shop.server.advance(DAY)
    year = shop.fee(9000, recurring={"interval": "year"})
    changed = shop.v1.subscriptions.update(made.id, {"items": [{"id": item_of(shop, made.id).id, "price": year}]})
    item = changed["items"].data[0]
    assert (changed.billing_cycle_anchor, item.current_period_start) == (shop.now, shop.now)
    assert item.current_period_end - shop.now >= 365 * DAY
    assert 9000 - 1000 < shop.newest_invoice().amount_paid < 9000 - 900


def test_anchor_now_restarts_every_period(shop: Shop) -> None:
    """`billing_cycle_anchor=now` closes what was used and bills a whole new period (API reference: update)."""
    made = shop.subscribe(shop.fee(1000), shop.price)
    shop.use("100")
    shop.server.advance(DAY)
    update = {"billing_cycle_anchor": {"type": "now"}, "proration_behavior": "none"}
    shop.v1.subscriptions.update(made.id, update)
    assert shop.newest_invoice().total == 1000 + 500
    assert item_of(shop, made.id, 1).current_period_start == shop.now


def test_pending_update_waits_for_its_payment(shop: Shop) -> None:
    """`pending_if_incomplete`: the change happens when its invoice is paid (docs: pending updates)."""
    made = shop.subscribe(shop.fee(1000))
    good = fail_the_card(shop)
    item, dearer = item_of(shop, made.id), shop.fee(9000)
    params = {
        "items": [{"id": item.id, "price": dearer}],
        "payment_behavior": "pending_if_incomplete",
        "proration_behavior": "always_invoice",
    }
    waiting = shop.v1.subscriptions.update(made.id, params)
    assert (waiting.status, waiting["items"].data[0].price.id) == ("active", item.price.id)
    assert waiting.pending_update.expires_at == shop.now + 23 * HOUR
    shop.v1.invoices.pay(waiting.latest_invoice, {"payment_method": good})
    assert item_of(shop, made.id).price.id == dearer
    assert shop.v1.subscriptions.retrieve(made.id).pending_update is None
    applied = "customer.subscription.pending_update_applied"
    assert types_of(shop, applied) == [applied]


def test_pending_update_expires_after_23_hours(shop: Shop) -> None:
    """An unpaid pending update is dropped and its invoice voided (docs: pending updates)."""
    made = shop.subscribe(shop.fee(1000))
    fail_the_card(shop)
    item = item_of(shop, made.id)
    params = {
        "items": [{"id": item.id, "price": shop.fee(9000)}],
        "payment_behavior": "pending_if_incomplete",
        "proration_behavior": "always_invoice",
    }
    shop.v1.subscriptions.update(made.id, params)
    shop.server.advance(23 * HOUR)
    found = shop.v1.subscriptions.retrieve(made.id)
    assert (found.status, found.pending_update, item_of(shop, made.id).price.id) == ("active", None, item.price.id)
    assert shop.newest_invoice().status == "void"


def test_error_if_incomplete_changes_nothing_when_the_card_refuses(shop: Shop) -> None:
    """`error_if_incomplete` on an update: the card's 402, and the old plan stays (API reference: update)."""
    made = shop.subscribe(shop.fee(1000))
    fail_the_card(shop)
    item = item_of(shop, made.id)
    params = {"items": [{"id": item.id, "price": shop.fee(9000)}], "payment_behavior": "error_if_incomplete"}
    with pytest.raises(stripe.CardError):
        shop.v1.subscriptions.update(made.id, {**params, "proration_behavior": "always_invoice"})
    assert item_of(shop, made.id).price.id == item.price.id


def test_one_time_price_joins_the_next_invoice(shop: Shop) -> None:
    """`add_invoice_items` at creation and on update (API reference: subscriptions)."""
    once = shop.v1.prices.create({"currency": "usd", "unit_amount": 700, "product": shop.product}).id
    made = shop.subscribe(shop.fee(1000), add_invoice_items=[{"price": once, "quantity": 2}])
    invoice = shop.newest_invoice()
    assert (invoice.total, invoice.lines.data[1].parent.type) == (2400, "invoice_item_details")
    shop.v1.subscriptions.update(made.id, {"add_invoice_items": [{"price": once}]})
    to_end(shop, made.id, HOUR)
    assert shop.newest_invoice().total == 1700


# Ending


def test_cancel_at_a_time_bills_usage_and_credits_the_rest(shop: Shop) -> None:
    """`cancel_at` in mid-period ends the subscription then (docs/verified.md, the emulator's own guesses)."""
    made = shop.subscribe(shop.fee(3000), shop.price)
    shop.use("100")
    at = shop.now + DAY
    assert shop.v1.subscriptions.update(made.id, {"cancel_at": at}).cancel_at == at
    shop.server.advance(DAY)
    assert shop.v1.subscriptions.retrieve(made.id).status == "canceled"
    assert -3000 < shop.newest_invoice().total - 500 < -2800


@pytest.mark.parametrize("name", ["min_period_end", "max_period_end"])
def test_cancel_at_a_named_period_end(shop: Shop, name: str) -> None:
    """`cancel_at` takes the end of the shortest or longest period by name (API reference: update)."""
    made = shop.subscribe()
    end = item_of(shop, made.id).current_period_end
    found = shop.v1.subscriptions.update(made.id, {"cancel_at": name})
    assert (found.cancel_at, found.cancel_at_period_end) == (end, False)
    assert shop.v1.subscriptions.update(made.id, {"cancel_at": ""}).cancel_at is None
    to_end(shop, made.id, 1)
    assert shop.v1.subscriptions.retrieve(made.id).status == "active"


def test_feedback_of_a_cancellation_is_kept(shop: Shop) -> None:
    """`cancellation_details` (API reference: cancel a subscription)."""
    made = shop.subscribe()
    gone = shop.v1.subscriptions.cancel(made.id, {"cancellation_details": {"feedback": "too_expensive"}})
    assert (gone.cancellation_details.feedback, gone.cancellation_details.reason) == (
        "too_expensive",
        "cancellation_requested",
    )


# Thresholds


def test_threshold_bills_usage_before_the_period_ends(shop: Shop) -> None:
    """`billing_thresholds[amount_gte]`: an invoice once usage reaches it, final at once (stripe.md 4, thresholds)."""
    made = shop.subscribe(shop.price)
    found = shop.v1.subscriptions.update(made.id, {"billing_thresholds": {"amount_gte": 500}})
    assert found.billing_thresholds.amount_gte == 500
    shop.use("99")
    assert shop.v1.invoices.list().data == []
    shop.use("11")
    invoice = shop.newest_invoice()
    assert (invoice.billing_reason, invoice.status, invoice.total) == ("subscription_threshold", "paid", 550)
    shop.use("20")
    to_end(shop, made.id, HOUR)
    assert shop.newest_invoice().total == 100


def test_tiers_go_on_after_a_threshold_invoice(shop: Shop) -> None:
    """Tiers continue where the threshold invoice stopped (stripe.md 6.2)."""
    tiers = [{"up_to": 100, "unit_amount": 10}, {"up_to": "inf", "unit_amount": 5}]
    price = shop.metered(billing_scheme="tiered", tiers_mode="graduated", tiers=tiers)
    made = shop.subscribe(price, billing_thresholds={"amount_gte": 600})
    shop.use("60")
    assert shop.newest_invoice().total == 600
    shop.use("60")
    to_end(shop, made.id, HOUR)
    assert shop.newest_invoice().total == 40 * 10 + 20 * 5


def test_threshold_may_start_a_new_cycle(shop: Shop) -> None:
    """`reset_billing_cycle_anchor` begins a new period with fresh tiers (API reference: subscriptions)."""
    made = shop.subscribe(
        plan(shop, 1, 100)[1], billing_thresholds={"amount_gte": 100, "reset_billing_cycle_anchor": True}
    )
    shop.server.advance(5 * DAY)
    shop.use("104")
    assert shop.newest_invoice().total == 100
    assert item_of(shop, made.id).current_period_start == shop.now
    shop.server.advance(60)
    shop.use("100")
    to_end(shop, made.id, HOUR)
    assert shop.newest_invoice().total == 0


def test_threshold_sleeps_in_a_trial_and_on_the_last_day(shop: Shop) -> None:
    """No threshold invoices in trials and in the last 24 hours of a period (stripe.md 4, thresholds)."""
    made = shop.subscribe(shop.price, trial_period_days=3, billing_thresholds={"amount_gte": 500})
    shop.use("1000")
    assert shop.v1.invoices.list().data == []
    to_end(shop, made.id)
    to_end(shop, made.id, -DAY + 60)
    shop.use("1000")
    assert shop.v1.invoices.list({"status": "paid"}).data == []


def test_threshold_makes_at_most_ten_invoices_a_minute(shop: Shop) -> None:
    """Ten invoices a minute for each subscription (money-rules 52)."""
    shop.subscribe(shop.price, billing_thresholds={"amount_gte": 50})
    for _ in range(12):
        shop.use("10")
    assert len(shop.v1.invoices.list({"limit": 100}).data) == 10


def test_threshold_below_the_minimum_charge_is_refused(shop: Shop) -> None:
    """Thresholds are at least 50 minor units (money-rules 52)."""
    with pytest.raises(stripe.InvalidRequestError):
        shop.subscribe(shop.price, billing_thresholds={"amount_gte": 49})


# Schedules


def downgrade(shop: Shop, subscription: str, prices: list[str]) -> Any:
    """Schedule other prices for the end of the current period."""
    schedules = shop.v1.subscription_schedules
    made = schedules.create({"from_subscription": subscription})
    current = made.phases[0]
    now = [
        {"price": item.price, **({"quantity": item.quantity} if "quantity" in item else {})}
        for item in current["items"]
    ]
    phases = [
        {"items": now, "start_date": current.start_date, "end_date": current.end_date},
        {"items": [{"price": price} for price in prices], "duration": {"interval": "month", "interval_count": 1}},
    ]
    return schedules.update(made.id, {"phases": phases, "end_behavior": "release"})


def test_schedule_changes_the_plan_at_the_end_of_the_period(shop: Shop) -> None:
    """A downgrade at period end: old usage at the old price, the next fee at the new one (money-rules 15, 24)."""
    made = shop.subscribe(*plan(shop, 5000, 100))
    small = plan(shop, 1000, 10)
    schedule = downgrade(shop, made.id, small)
    assert (schedule.status, shop.v1.subscriptions.retrieve(made.id).schedule) == ("active", schedule.id)
    shop.use("104")
    to_end(shop, made.id, HOUR)
    assert shop.newest_invoice().total == 100 + 1000
    found = shop.v1.subscriptions.retrieve(made.id)
    assert {item.price.id for item in found["items"].data} == set(small)
    shop.use("11")
    to_end(shop, made.id, HOUR)
    assert shop.newest_invoice().total == 25 + 1000
    over = shop.v1.subscription_schedules.retrieve(schedule.id)
    assert (over.status, over.released_subscription) == ("released", made.id)
    assert shop.v1.subscriptions.retrieve(made.id).schedule is None


def test_schedule_can_be_released_before_its_change(shop: Shop) -> None:
    """Releasing leaves the subscription as it is (API reference: release a schedule)."""
    made = shop.subscribe(*plan(shop, 5000, 100))
    schedule = downgrade(shop, made.id, plan(shop, 1000, 10))
    assert shop.v1.subscription_schedules.release(schedule.id).status == "released"
    to_end(shop, made.id, HOUR)
    assert shop.newest_invoice().total == 5000
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.subscription_schedules.release(schedule.id)


def test_schedule_to_another_interval_starts_the_new_one(shop: Shop) -> None:
    """A phase of another interval begins its period where the old one ended (docs: subscription schedules)."""
    made = shop.subscribe(shop.fee(1000))
    end = item_of(shop, made.id).current_period_end
    downgrade(shop, made.id, [shop.fee(9000, recurring={"interval": "year"})])
    to_end(shop, made.id, HOUR)
    item = item_of(shop, made.id)
    assert (item.current_period_start, shop.newest_invoice().total) == (end, 9000)
    assert item.current_period_end - end >= 365 * DAY


def test_phase_in_mid_period_is_prorated(shop: Shop) -> None:
    """A phase that begins inside a period changes items like an update (docs: subscription schedules)."""
    made = shop.subscribe(shop.fee(3000))
    schedule = shop.v1.subscription_schedules.create({"from_subscription": made.id})
    current = schedule.phases[0]
    middle = (current.start_date + current.end_date) // 2
    item = [{"price": current["items"][0].price, "quantity": 1}]
    phases = [
        {"items": item, "start_date": current.start_date, "end_date": middle},
        {"items": [{"price": shop.fee(9000)}], "proration_behavior": "always_invoice", "end_date": current.end_date},
    ]
    shop.v1.subscription_schedules.update(schedule.id, {"phases": phases, "metadata": {"why": "test"}})
    shop.server.advance(middle - shop.now)
    assert abs(shop.newest_invoice().total - 3000) <= 1


def test_schedule_owns_the_end_of_its_subscription(shop: Shop) -> None:
    """A scheduled subscription is not canceled past its schedule, which may end it itself (docs: schedules)."""
    made = shop.subscribe(shop.fee(1000))
    schedule = shop.v1.subscription_schedules.create({"from_subscription": made.id})
    with pytest.raises(stripe.InvalidRequestError, match="managed by"):
        shop.v1.subscriptions.update(made.id, {"cancel_at_period_end": True})
    shop.v1.subscription_schedules.update(schedule.id, {"end_behavior": "cancel"})
    to_end(shop, made.id, HOUR)
    assert shop.v1.subscriptions.retrieve(made.id).status == "canceled"
    assert shop.v1.subscription_schedules.retrieve(schedule.id).status == "completed"


def test_canceled_schedule_takes_its_subscription_along(shop: Shop) -> None:
    """Canceling a schedule cancels at once (API reference: cancel a schedule)."""
    made = shop.subscribe(shop.fee(1000))
    schedule = shop.v1.subscription_schedules.create({"from_subscription": made.id})
    assert shop.v1.subscription_schedules.cancel(schedule.id).status == "canceled"
    assert shop.v1.subscriptions.retrieve(made.id).status == "canceled"
    assert [row.id for row in shop.v1.subscription_schedules.list({"customer": shop.customer}).data] == [schedule.id]


# What Stripe refuses


@pytest.mark.parametrize(
    "wrong",
    [
        {"trial_period_days": 0},
        {"trial_period_days": 731},
        {"trial_period_days": 3, "trial_end": 2_000_000_000},
        {"trial_end": 1},
        {"trial_period_days": 3, "billing_cycle_anchor_config": {"day_of_month": 1}},
        {"billing_cycle_anchor_config": {"day_of_month": 32}},
        {"billing_cycle_anchor": 1},
        {"billing_cycle_anchor": 4_000_000_000},
        {"cancel_at": 1},
        {"payment_behavior": "pending_if_incomplete"},
        {"add_invoice_items": [{"price": "RECURRING"}]},
        {"add_invoice_items": [{"price": "price_none"}]},
        {"items": [{"price": "RECURRING", "discounts": [{"coupon": "x"}]}]},
        {"automatic_tax": {"enabled": True}},
        {"discounts": [{"coupon": "x"}]},
    ],
)
def test_subscription_that_cannot_be_is_refused(shop: Shop, wrong: dict[str, Any]) -> None:
    """Rules of the API reference; what is not emulated is refused as loudly, nested parameters included."""
    base = {"customer": shop.customer, "items": [{"price": shop.price}], **wrong}
    for row in [*base["items"], *base.get("add_invoice_items", [])]:
        row["price"] = shop.price if row["price"] == "RECURRING" else row["price"]
    with pytest.raises(stripe.InvalidRequestError) as caught:
        shop.v1.subscriptions.create(base)
    assert caught.value.http_status == 400
    assert shop.v1.subscriptions.list({"status": "all"}).data == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"cancel_at": 4_000_000_000, "cancel_at_period_end": True},
        {"proration_date": 1, "billing_cycle_anchor": {"type": "now"}},
        {"payment_behavior": "pending_if_incomplete", "description": "x"},
        {"cancel_at": "max_billed_until"},
        {"items": [{"id": "si_none"}]},
        {"items": [{"price": "OWN"}]},
    ],
)
def test_update_that_cannot_be_is_refused(shop: Shop, wrong: dict[str, Any]) -> None:
    """Rules of the API reference: nothing changes."""
    made = shop.subscribe()
    for row in wrong.get("items", []):
        row.update({"price": shop.price} if row.get("price") == "OWN" else {})
    with pytest.raises(stripe.InvalidRequestError) as caught:
        shop.v1.subscriptions.update(made.id, wrong)
    assert caught.value.http_status == 400
    assert shop.v1.subscriptions.retrieve(made.id).cancel_at is None


@pytest.mark.parametrize(
    "phases",
    [
        [],
        [{"items": [{"price": "price_none"}]}],
        [{"items": [{"price": "FEE"}], "start_date": 5}],
        [{"items": [{"price": "FEE"}], "end_date": 5}],
        [{"items": [{"price": "FEE"}], "end_date": 4_000_000_000, "duration": {"interval": "day"}}],
        [{"items": [{"price": "FEE"}], "trial": True}],
    ],
)
def test_phases_that_cannot_be_are_refused(shop: Shop, phases: list[dict[str, Any]]) -> None:
    """Phases follow each other and hold recurring prices (API reference: update a schedule)."""
    fee = shop.fee(1000)
    made = shop.subscribe(fee)
    schedule = shop.v1.subscription_schedules.create({"from_subscription": made.id})
    for phase in phases:
        for row in phase["items"]:
            row["price"] = fee if row["price"] == "FEE" else row["price"]
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.subscription_schedules.update(schedule.id, {"phases": phases or ""})
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.subscription_schedules.create({"from_subscription": made.id})
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.subscription_schedules.create({"customer": shop.customer})
