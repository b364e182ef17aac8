"""Subscriptions and invoices: periods, grace, prices, balance, payment."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import stripe

if TYPE_CHECKING:
    from stripe_meter.emulator import Emulator
    from tests.emulator.conftest import Shop

HOUR = 3_600
DAY = 86_400


def to_period_end(shop: Shop, subscription: Any, extra: int = 0) -> None:
    """Move the clock to the end of the subscription's first item's period."""
    item = shop.v1.subscriptions.retrieve(subscription.id)["items"].data[0]
    shop.server.advance(item.current_period_end - shop.server.emulator.clock.now() + extra)


def bill(shop: Shop, *prices: str, uses: str | None = None) -> Any:
    """Subscribe, use, let the period and the grace pass; the invoice."""
    subscription = shop.subscribe(*prices)
    if uses is not None:
        shop.use(uses)
    to_period_end(shop, subscription, HOUR)
    return shop.newest_invoice()


def fail_the_card(shop: Shop) -> None:
    """Make the customer's default a card that is declined when charged."""
    card = shop.v1.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": shop.customer})
    shop.v1.customers.update(shop.customer, {"invoice_settings": {"default_payment_method": card.id}})


def test_metered_subscription_is_active_with_periods_on_its_items(shop: Shop) -> None:
    """Flexible mode makes no first invoice for metered items; periods are on items (docs/verified.md)."""
    made = shop.subscribe()
    item = made["items"].data[0]
    assert (made.status, made.latest_invoice, made.billing_mode.type) == ("active", None, "flexible")
    assert item.current_period_start == shop.now
    assert 28 * DAY <= item.current_period_end - shop.now <= 31 * DAY
    assert "current_period_end" not in made
    assert "quantity" not in item
    assert shop.v1.customers.retrieve(shop.customer).currency == "usd"


def test_classic_mode_starts_with_an_invoice_of_zero(shop: Shop) -> None:
    """In classic mode the first invoice of metered items is zero and paid."""
    made = shop.subscribe(billing_mode={"type": "classic"}, description="d", metadata={"a": "b"})
    assert shop.newest_invoice().amount_due == 0
    assert (made.description, made.metadata["a"]) == ("d", "b")


def test_draft_waits_an_hour_and_takes_late_usage(shop: Shop) -> None:
    """Cycle invoices stay draft for an hour; usage stamped inside the period still counts (docs/verified.md, grace)."""
    subscription = shop.subscribe()
    shop.use("100")
    to_period_end(shop, subscription)
    draft = shop.newest_invoice()
    assert (draft.status, draft.total, draft.number) == ("draft", 500, None)
    shop.use("20", timestamp=shop.now - 5)
    shop.use("1000")
    assert shop.newest_invoice().total == 600
    shop.server.advance(HOUR)
    final = shop.newest_invoice()
    assert (final.status, final.total, final.amount_paid) == ("paid", 600, 600)
    assert final.parent.subscription_details.subscription == subscription.id
    assert final.lines.data[0].period.end - draft.created == 0


def test_usage_reported_after_the_grace_is_never_billed(shop: Shop) -> None:
    """Later than period end plus grace is too late (docs/verified.md)."""
    subscription = shop.subscribe()
    to_period_end(shop, subscription, HOUR)
    shop.use("100", timestamp=shop.now - HOUR - 5)
    to_period_end(shop, subscription, HOUR)
    assert [row.total for row in shop.v1.invoices.list().data] == [0, 0]


def test_each_line_is_rounded_half_up(shop: Shop) -> None:
    """A line is quantity times unit amount, rounded half up to a whole minor unit (docs/verified.md)."""
    invoice = bill(shop, shop.metered(unit_amount_decimal=Decimal("0.5")), uses="101")
    line = invoice.lines.data[0]
    assert (line.amount, line.quantity, line.pricing.unit_amount_decimal) == (51, 101, Decimal("0.5"))


def test_fractional_quantity_is_shown_exactly(shop: Shop) -> None:
    """`quantity` is truncated, `quantity_decimal` has 12 places (docs/verified.md)."""
    line = bill(shop, uses="20.75").lines.data[0]
    assert (line.quantity, line.quantity_decimal, line.amount) == (20, Decimal("20.75"), 104)


def test_graduated_tiers_bill_each_part_at_its_own_rate(shop: Shop) -> None:
    """Graduated pricing is marginal; each tier and flat fee is a line (docs.stripe.com, pricing models)."""
    tiers = [{"up_to": 100, "unit_amount": 2}, {"up_to": "inf", "unit_amount": 1, "flat_amount": 50}]
    price = shop.metered(billing_scheme="tiered", tiers_mode="graduated", tiers=tiers)
    invoice = bill(shop, price, uses="150")
    assert [(line.quantity, line.amount) for line in invoice.lines.data] == [(100, 200), (50, 50), (1, 50)]


def test_volume_tiers_bill_everything_at_one_rate(shop: Shop) -> None:
    """Volume pricing takes the tier of the total for all units (docs.stripe.com, pricing models)."""
    tiers = [{"up_to": 100, "unit_amount": 2}, {"up_to": "inf", "unit_amount": 1}]
    price = shop.metered(billing_scheme="tiered", tiers_mode="volume", tiers=tiers)
    assert bill(shop, price, uses="150").total == 150


def test_packages_are_rounded_before_pricing(shop: Shop) -> None:
    """`transform_quantity` divides and rounds the quantity (docs.stripe.com/api/prices/object)."""
    price = shop.metered(unit_amount=100, transform_quantity={"divide_by": 10, "round": "up"})
    assert bill(shop, price, uses="11").total == 200


def test_currency_option_prices_the_subscription(shop: Shop) -> None:
    """One price serves several currencies by its options (docs/verified.md)."""
    price = shop.metered(unit_amount=5, currency_options={"eur": {"unit_amount": 4}})
    subscription = shop.subscribe(price, currency="eur")
    shop.use("100")
    to_period_end(shop, subscription, HOUR)
    assert (shop.newest_invoice().currency, shop.newest_invoice().total) == ("eur", 400)
    with pytest.raises(stripe.InvalidRequestError, match="combine currencies"):
        shop.subscribe(currency="usd")


def test_price_without_the_currency_is_refused(shop: Shop) -> None:
    """A price not offered in the subscription's currency cannot be subscribed to (docs/verified.md)."""
    with pytest.raises(stripe.InvalidRequestError, match="not available in eur"):
        shop.subscribe(currency="eur")


def test_negative_total_bills_as_zero(shop: Shop) -> None:
    """A period total below zero bills as zero (docs/verified.md)."""
    assert bill(shop, uses="-5").total == 0


def test_amount_below_the_minimum_becomes_debt_on_the_balance(shop: Shop) -> None:
    """Under 0.50 the invoice is paid and the debt moves to the balance (docs/verified.md, minimum charge)."""
    invoice = bill(shop, uses="9")
    assert (invoice.status, invoice.total, invoice.amount_due) == ("paid", 45, 0)
    row = shop.v1.customers.balance_transactions.list(shop.customer).data[0]
    assert (row.type, row.amount, row.ending_balance, row.invoice) == ("invoice_too_small", 45, 45, invoice.id)
    subscription = shop.v1.subscriptions.list().data[0]
    shop.use("10")
    to_period_end(shop, subscription, HOUR)
    assert shop.newest_invoice().amount_paid == 95
    assert shop.v1.customers.retrieve(shop.customer).balance == 0


def test_credit_on_the_balance_pays_the_next_invoice(shop: Shop) -> None:
    """Credit is applied automatically on finalisation (docs.stripe.com/billing/customer/balance)."""
    shop.v1.customers.balance_transactions.create(shop.customer, {"amount": -300, "currency": "usd"})
    invoice = bill(shop, uses="100")
    assert (invoice.total, invoice.amount_due, invoice.starting_balance, invoice.ending_balance) == (500, 200, -300, 0)
    row = shop.v1.customers.balance_transactions.list(shop.customer).data[0]
    assert (row.type, row.amount) == ("applied_to_invoice", 300)


def test_credit_beyond_the_invoice_stays(shop: Shop) -> None:
    """What is left of the credit remains on the balance (docs.stripe.com/billing/customer/balance)."""
    shop.v1.customers.balance_transactions.create(shop.customer, {"amount": -900, "currency": "usd"})
    invoice = bill(shop, uses="100")
    assert (invoice.status, invoice.amount_due, invoice.ending_balance) == ("paid", 0, -400)


def test_licensed_fee_is_billed_in_advance_and_again_with_usage(shop: Shop) -> None:
    """The fee is billed in advance, usage in arrears on the same later invoice (docs/verified.md.2)."""
    subscription = shop.subscribe(shop.fee(2000), shop.price)
    first = shop.newest_invoice()
    assert (first.billing_reason, first.status, first.amount_paid) == ("subscription_create", "paid", 2000)
    shop.use("100")
    preview = shop.v1.invoices.create_preview({"subscription": subscription.id})
    to_period_end(shop, subscription, HOUR)
    second = shop.newest_invoice()
    assert (second.billing_reason, second.total, preview.total) == ("subscription_cycle", 2500, 2500)


def test_first_invoice_without_a_card_makes_the_subscription_incomplete(shop: Shop) -> None:
    """`allow_incomplete` leaves it incomplete for 23 hours, then expired (docs.stripe.com, subscription lifecycle)."""
    shop.customer = shop.v1.customers.create({}).id
    made = shop.subscribe(shop.fee(2000))
    assert made.status == "incomplete"
    shop.server.advance(23 * HOUR)
    assert shop.v1.subscriptions.retrieve(made.id).status == "incomplete_expired"


def test_paying_the_first_invoice_activates_the_subscription(shop: Shop) -> None:
    """An incomplete subscription becomes active by payment and then stays so."""
    shop.customer = shop.v1.customers.create({}).id
    made = shop.subscribe(shop.fee(2000), payment_behavior="default_incomplete")
    card = shop.v1.payment_methods.attach("pm_card_visa", {"customer": shop.customer})
    assert shop.v1.invoices.pay(made.latest_invoice, {"payment_method": card.id}).status == "paid"
    shop.server.advance(24 * HOUR)
    assert shop.v1.subscriptions.retrieve(made.id).status == "active"


def test_error_if_incomplete_creates_nothing(shop: Shop) -> None:
    """`error_if_incomplete` answers the card's 402 (docs.stripe.com/api/subscriptions/create)."""
    fail_the_card(shop)
    fee = shop.fee(2000)
    with pytest.raises(stripe.CardError):
        shop.subscribe(fee, payment_behavior="error_if_incomplete")
    assert shop.v1.subscriptions.list({"status": "all"}).data == []
    assert shop.subscribe(payment_behavior="error_if_incomplete").status == "active"


def test_refused_card_leaves_the_invoice_open_and_is_retried(shop: Shop) -> None:
    """A refusal makes the subscription past due; payment is tried again after three days, four times in all."""
    subscription = shop.subscribe()
    fail_the_card(shop)
    shop.use("100")
    to_period_end(shop, subscription, HOUR)
    invoice = shop.newest_invoice()
    assert (invoice.status, invoice.attempt_count) == ("open", 1)
    assert shop.v1.subscriptions.retrieve(subscription.id).status == "past_due"
    shop.server.advance(9 * DAY)
    assert shop.newest_invoice().attempt_count == 4
    assert shop.newest_invoice().next_payment_attempt is None
    types = [event.type for event in shop.v1.events.list({"types": ["invoice.payment_failed"]}).data]
    assert len(types) == 4


def test_retry_succeeds_once_the_card_is_changed(shop: Shop) -> None:
    """The next attempt uses the new default card, and the subscription is active again."""
    subscription = shop.subscribe()
    fail_the_card(shop)
    shop.use("100")
    to_period_end(shop, subscription, HOUR)
    card = shop.v1.payment_methods.attach("pm_card_visa", {"customer": shop.customer})
    shop.v1.customers.update(shop.customer, {"invoice_settings": {"default_payment_method": card.id}})
    shop.server.advance(3 * DAY)
    assert shop.newest_invoice().status == "paid"
    assert shop.v1.subscriptions.retrieve(subscription.id).status == "active"


def test_open_invoice_can_be_paid_or_voided_by_hand(shop: Shop) -> None:
    """`pay` charges, `void` ends the debt; both only once (docs.stripe.com/api/invoices/pay)."""
    subscription = shop.subscribe()
    fail_the_card(shop)
    shop.use("100")
    to_period_end(shop, subscription, HOUR)
    invoice = shop.newest_invoice()
    with pytest.raises(stripe.CardError):
        shop.v1.invoices.pay(invoice.id)
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.invoices.pay(invoice.id, {"payment_method": "pm_other"})
    assert shop.v1.invoices.void_invoice(invoice.id).status == "void"
    assert shop.v1.subscriptions.retrieve(subscription.id).status == "active"
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.invoices.void_invoice(invoice.id)
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.invoices.pay(invoice.id)
    shop.server.advance(10 * DAY)
    assert shop.newest_invoice().attempt_count == 2


def test_draft_can_be_finalised_early_and_only_once(shop: Shop) -> None:
    """Finalising ends the grace (docs.stripe.com/api/invoices/finalize)."""
    subscription = shop.subscribe()
    shop.use("100")
    to_period_end(shop, subscription)
    draft = shop.newest_invoice()
    final = shop.v1.invoices.finalize_invoice(draft.id)
    assert (final.status, final.hosted_invoice_url.endswith(f"/i/{draft.id}")) == ("open", True)
    with pytest.raises(stripe.InvalidRequestError, match="already finalized"):
        shop.v1.invoices.finalize_invoice(draft.id)
    shop.server.advance(HOUR)
    assert shop.v1.invoices.retrieve(draft.id).status == "paid"


def test_draft_can_be_paid_at_once(shop: Shop) -> None:
    """Paying a draft finalises it first (docs.stripe.com/api/invoices/pay)."""
    subscription = shop.subscribe()
    shop.use("100")
    to_period_end(shop, subscription)
    assert shop.v1.invoices.pay(shop.newest_invoice().id).status == "paid"
    with pytest.raises(stripe.InvalidRequestError, match="already paid"):
        shop.v1.invoices.pay(shop.newest_invoice().id)


def test_draft_with_nothing_due_is_paid_by_finalising(shop: Shop) -> None:
    """An invoice of zero needs no card."""
    shop.customer = shop.v1.customers.create({}).id
    subscription = shop.subscribe()
    to_period_end(shop, subscription)
    assert shop.v1.invoices.pay(shop.newest_invoice().id).status == "paid"


def test_invoices_are_listed_by_customer_status_and_subscription(shop: Shop) -> None:
    """Filters of docs.stripe.com/api/invoices/list."""
    invoice = bill(shop, uses="100")
    subscription = invoice.parent.subscription_details.subscription
    assert len(shop.v1.invoices.list({"status": "paid", "subscription": subscription}).data) == 1
    assert shop.v1.invoices.list({"status": "open"}).data == []
    assert shop.v1.invoices.list({"subscription": "sub_other"}).data == []
    assert shop.v1.invoices.line_items.list(invoice.id).data[0].amount == 500


def test_preview_shows_usage_so_far(shop: Shop) -> None:
    """`create_preview` prices the usage known by now, stores nothing (docs.stripe.com/api/invoices/create_preview)."""
    subscription = shop.subscribe(shop.price, shop.fee(1000))
    shop.use("10")
    preview = shop.v1.invoices.create_preview
    assert preview({"customer": shop.customer}).total == 1050
    assert preview({"subscription": subscription.id, "subscription_details": {"cancel_now": True}}).total == 50
    assert len(shop.v1.invoices.list().data) == 1
    for wrong in ({}, {"subscription": "sub_none"}, {"customer": shop.v1.customers.create({}).id}):
        with pytest.raises(stripe.InvalidRequestError):
            preview(wrong)
    with pytest.raises(stripe.InvalidRequestError, match="does not implement"):
        preview({"subscription": subscription.id, "subscription_details": {"start_date": 1}})
    shop.v1.subscriptions.cancel(subscription.id)
    with pytest.raises(stripe.InvalidRequestError):
        preview({"subscription": subscription.id})


def test_immediate_cancel_gives_usage_away_unless_invoiced(shop: Shop) -> None:
    """Without `invoice_now` the period's usage is never billed (docs/verified.md)."""
    subscription = shop.subscribe()
    shop.use("100")
    gone = shop.v1.subscriptions.cancel(subscription.id)
    assert (gone.status, gone.ended_at) == ("canceled", shop.now)
    shop.server.advance(40 * DAY)
    assert shop.v1.invoices.list().data == []
    for method in (shop.v1.subscriptions.cancel, lambda id: shop.v1.subscriptions.update(id, {"metadata": {}})):
        with pytest.raises(stripe.InvalidRequestError):
            method(subscription.id)


def test_cancel_with_invoice_now_bills_at_once(shop: Shop) -> None:
    """`invoice_now` bills the usage so far without grace; `prorate` credits unused fees (docs/verified.md)."""
    subscription = shop.subscribe(shop.price, shop.fee(3000))
    item = subscription["items"].data[0]
    shop.server.advance((item.current_period_end - item.current_period_start) // 2)
    shop.use("100")
    shop.server.advance(5)
    shop.v1.subscriptions.cancel(subscription.id, {"invoice_now": True, "prorate": True})
    invoice = shop.newest_invoice()
    assert [line.amount for line in invoice.lines.data] == [500, -1500]
    assert (invoice.status, shop.v1.customers.retrieve(shop.customer).balance) == ("paid", -1000)


def test_cancel_with_nothing_to_bill_makes_no_invoice(shop: Shop) -> None:
    """A licensed fee already paid leaves nothing for `invoice_now`."""
    subscription = shop.subscribe(shop.fee(3000))
    shop.v1.subscriptions.cancel(subscription.id, {"invoice_now": True})
    assert len(shop.v1.invoices.list().data) == 1


def test_cancel_at_period_end_bills_the_last_usage(shop: Shop) -> None:
    """At the period end the subscription ends and its usage is billed after the grace (docs/verified.md)."""
    made = shop.subscribe(cancel_at_period_end=True)
    assert (made.cancel_at_period_end, made.cancel_at) == (True, made["items"].data[0].current_period_end)
    back = shop.v1.subscriptions.update(made.id, {"cancel_at_period_end": False})
    assert (back.cancel_at_period_end, back.cancel_at) == (False, None)
    shop.v1.subscriptions.update(made.id, {"cancel_at_period_end": True, "metadata": {"why": "x"}})
    shop.use("100")
    assert shop.v1.invoices.create_preview({"subscription": made.id}).total == 500
    to_period_end(shop, made, HOUR)
    assert shop.v1.subscriptions.retrieve(made.id).status == "canceled"
    assert shop.newest_invoice().amount_paid == 500


def test_subscriptions_are_listed_by_status_customer_and_price(shop: Shop) -> None:
    """Lists leave out ended subscriptions by default (docs.stripe.com/api/subscriptions/list)."""
    old, new = shop.subscribe(), shop.subscribe()
    shop.v1.subscriptions.cancel(old.id)

    def found(**params: Any) -> list[str]:
        return [row.id for row in shop.v1.subscriptions.list(params).data]

    assert found() == found(status="active") == found(price=shop.price, customer=shop.customer) == [new.id]
    assert found(status="ended") == [old.id]
    assert found(status="all") == [new.id, old.id]
    assert [
        row.id for row in shop.v1.customers.retrieve(shop.customer, {"expand": ["subscriptions"]}).subscriptions
    ] == [new.id]


@pytest.mark.parametrize(
    "items",
    [
        [],
        [{}],
        [{"price": "price_none"}],
        [{"price": "METERED", "quantity": 2}],
        [{"price": "METERED"}, {"price": "METERED"}],
        [{"price": "ONE_TIME"}],
        [{"price": "ARCHIVED"}],
        [{"price": "METERED"}] * 21,
    ],
)
def test_items_that_cannot_be_subscribed_to_are_refused(shop: Shop, items: list[dict[str, Any]]) -> None:
    """Metered items take no quantity, prices are recurring and active, at most twenty (docs/verified.md)."""
    one_time = shop.v1.prices.create({"currency": "usd", "unit_amount": 1, "product": shop.product}).id
    names = {"METERED": shop.price, "ONE_TIME": one_time, "ARCHIVED": shop.fee(1, active=False)}
    wanted = [{**item, "price": names.get(item["price"], item["price"])} if "price" in item else item for item in items]
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.subscriptions.create({"customer": shop.customer, "items": wanted})


def test_subscription_without_customer_is_refused(shop: Shop) -> None:
    """A subscription needs its customer."""
    with pytest.raises(stripe.InvalidRequestError, match="customer"):
        shop.v1.subscriptions.create({"items": [{"price": shop.price}]})


def test_item_added_later_bills_only_usage_from_then_on(shop: Shop) -> None:
    """An item added in mid-cycle shares the cycle's period and bills from its creation (docs/verified.md)."""
    fee = shop.fee(100)
    subscription = shop.subscribe(fee)
    shop.use("100")
    shop.server.advance(DAY)
    item = shop.v1.subscription_items.create({"subscription": subscription.id, "price": shop.price})
    first = shop.v1.subscriptions.retrieve(subscription.id)["items"].data[0]
    assert item.created == shop.now
    assert (item.current_period_start, item.current_period_end) == (
        first.current_period_start,
        first.current_period_end,
    )
    shop.use("20")
    to_period_end(shop, subscription, HOUR)
    assert [line.amount for line in shop.newest_invoice().lines.data] == [100, 100]


def test_licensed_item_added_later_is_prorated(shop: Shop) -> None:
    """`always_invoice` charges the rest of the period at once, by the second."""
    subscription = shop.subscribe()
    item = subscription["items"].data[0]
    shop.server.advance((item.current_period_end - item.current_period_start) // 2)
    params = {"subscription": subscription.id, "price": shop.fee(3000), "proration_behavior": "always_invoice"}
    shop.v1.subscription_items.create(params)
    assert (shop.newest_invoice().billing_reason, shop.newest_invoice().total) == ("subscription_update", 1500)


def test_removed_metered_item_bills_its_usage_unless_prorations_are_off(shop: Shop) -> None:
    """Removal with `proration_behavior=none` gives the usage away (docs/verified.md)."""
    other = shop.fee(100)
    subscription = shop.subscribe(shop.price, other)
    shop.use("100")
    shop.server.advance(DAY)
    item = next(row for row in subscription["items"].data if row.price.id == shop.price)
    assert shop.v1.subscription_items.delete(item.id).deleted
    item = shop.v1.subscription_items.create({"subscription": subscription.id, "price": shop.price})
    shop.use("50")
    shop.server.advance(DAY)
    shop.v1.subscription_items.delete(item.id, {"proration_behavior": "none"})
    to_period_end(shop, subscription, HOUR)
    assert sorted(line.amount for line in shop.newest_invoice().lines.data) == [100, 500]


def test_last_item_cannot_be_removed(shop: Shop) -> None:
    """A subscription keeps at least one item."""
    item = shop.subscribe()["items"].data[0]
    with pytest.raises(stripe.InvalidRequestError, match="at least one item"):
        shop.v1.subscription_items.delete(item.id)


def test_twenty_first_item_is_refused(shop: Shop) -> None:
    """A subscription has at most twenty items (docs/verified.md)."""
    prices = [shop.metered(unit_amount=amount) for amount in range(1, 21)]
    subscription = shop.subscribe(*prices)
    with pytest.raises(stripe.InvalidRequestError, match="at most 20"):
        shop.v1.subscription_items.create({"subscription": subscription.id, "price": shop.price})
    with pytest.raises(stripe.InvalidRequestError, match="at most 20"):
        shop.v1.subscriptions.update(subscription.id, {"items": [{"price": shop.price}]})


def test_item_changes_are_checked(shop: Shop) -> None:
    """No second item of one price, no price in another currency, no ended subscription."""
    subscription = shop.subscribe()
    items = shop.v1.subscription_items
    euro = shop.metered(unit_amount=1, currency="eur")
    for price in (shop.price, euro):
        with pytest.raises(stripe.InvalidRequestError):
            items.create({"subscription": subscription.id, "price": price})
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.subscriptions.update(subscription.id, {"items": [{"id": "si_none", "quantity": 1}]})
    shop.v1.subscriptions.cancel(subscription.id)
    with pytest.raises(stripe.InvalidRequestError):
        items.create({"subscription": subscription.id, "price": shop.metered(unit_amount=1)})


def test_price_change_bills_old_usage_at_the_old_price(shop: Shop) -> None:
    """Flexible mode prices usage at the price in force when it happened (docs/verified.md)."""
    subscription = shop.subscribe()
    item = subscription["items"].data[0]
    shop.use("100")
    shop.server.advance(DAY)
    shop.v1.subscription_items.update(item.id, {"price": shop.metered(unit_amount=10), "metadata": {"a": "b"}})
    shop.use("10")
    to_period_end(shop, subscription, HOUR)
    assert [line.amount for line in shop.newest_invoice().lines.data] == [500, 100]


def test_quantity_change_is_prorated_both_ways(shop: Shop) -> None:
    """The old quantity is credited, the new one charged, for the rest of the period."""
    subscription = shop.subscribe(shop.fee(1000))
    item = subscription["items"].data[0]
    shop.server.advance((item.current_period_end - item.current_period_start) // 2)
    changed = shop.v1.subscription_items.update(item.id, {"quantity": 3})
    assert changed.quantity == 3
    preview = shop.v1.invoices.create_preview({"subscription": subscription.id})
    assert [line.amount for line in preview.lines.data] == [-500, 1500, 3000]


def test_items_of_a_subscription_change_in_one_update(shop: Shop) -> None:
    """`items` of an update adds, changes and deletes (docs.stripe.com/api/subscriptions/update)."""
    fee = shop.fee(1000)
    subscription = shop.subscribe(shop.price, fee, metadata={"a": "1"})
    by_price = {row.price.id: row.id for row in subscription["items"].data}
    plus = shop.fee(2000)
    wanted = [
        {"id": by_price[shop.price], "deleted": True},
        {"id": by_price[fee], "metadata": {"k": "v"}},
        {"price": plus},
    ]
    changed = shop.v1.subscriptions.update(subscription.id, {"items": wanted, "proration_behavior": "none"})
    assert {row.price.id for row in changed["items"].data} == {fee, plus}
    upgraded = shop.v1.subscriptions.update(
        subscription.id, {"items": [{"id": by_price[fee], "price": shop.price}], "description": "", "metadata": {}}
    )
    assert {row.price.id for row in upgraded["items"].data} == {shop.price, plus}
    listed = shop.v1.subscription_items.list({"subscription": subscription.id}).data
    assert {row.id for row in listed} == {row.id for row in upgraded["items"].data}
    assert shop.v1.subscription_items.retrieve(by_price[fee]).metadata["k"] == "v"


def test_cycle_invoice_of_a_trivial_subscription_goes_on_for_ever(shop: Shop, emulator: Emulator) -> None:
    """Each period brings its invoice; several periods pass in one step of the clock, in order."""
    shop.subscribe()
    emulator.clock.advance(95 * DAY)
    reasons = [row.billing_reason for row in shop.v1.invoices.list().data]
    assert reasons == ["subscription_cycle"] * 3


def test_clear_usage_changes_nothing_on_a_meter(shop: Shop) -> None:
    """Usage on a meter outlives its item; `clear_usage` has no effect then (SDK: SubscriptionUpdateParamsItem)."""
    subscription = shop.subscribe(shop.price, shop.metered(unit_amount=1))
    shop.use("5")
    shop.v1.subscription_items.delete(subscription["items"].data[0].id, {"clear_usage": True})
    assert shop.total() == 5.0
