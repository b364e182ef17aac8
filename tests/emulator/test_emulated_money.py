"""Packs bought once, refunds, and the customer balance as a ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import stripe

if TYPE_CHECKING:
    from tests.emulator.conftest import Shop


def buy_pack(shop: Shop, cents: int = 500, **more: Any) -> Any:
    """A completed Checkout session of a one-time price with a real invoice."""
    price = shop.v1.prices.create({"currency": "usd", "unit_amount": cents, "product_data": {"name": "Pack"}}).id
    session = shop.v1.checkout.sessions.create(
        {
            "mode": "payment",
            "customer": shop.customer,
            "line_items": [{"price": price, "quantity": 2}],
            "success_url": "https://example.com/ok",
            "invoice_creation": {"enabled": True, "invoice_data": {"metadata": {"for": "pack"}}},
            "metadata": {"grant_value": "1000"},
            **more,
        }
    )
    shop.server.complete_checkout(session.url)
    return shop.v1.checkout.sessions.retrieve(session.id)


def credit(shop: Shop, cents: int) -> Any:
    """One balance transaction; negative is credit."""
    return shop.v1.customers.balance_transactions.create(shop.customer, {"amount": cents, "currency": "usd"})


def test_pack_is_paid_and_has_a_real_invoice(shop: Shop) -> None:
    """Payment mode with invoice_creation leaves a paid invoice (API reference: Checkout sessions)."""
    session = buy_pack(shop)
    assert (session.status, session.payment_status, session.amount_total) == ("complete", "paid", 1000)
    invoice = shop.v1.invoices.retrieve(session.invoice)
    assert (invoice.status, invoice.total, invoice.metadata["for"], invoice.parent) == ("paid", 1000, "pack", None)
    assert invoice.lines.data[0].quantity == 2
    assert shop.v1.payment_intents.retrieve(session.payment_intent).amount_received == 1000


def test_balance_is_not_applied_to_the_invoice_of_a_pack(shop: Shop) -> None:
    """The customer balance does not pay invoices of invoice_creation (docs.stripe.com/billing/customer/balance)."""
    credit(shop, -300)
    session = buy_pack(shop)
    assert shop.v1.invoices.retrieve(session.invoice).amount_paid == 1000
    assert shop.v1.customers.retrieve(shop.customer).balance == -300


def test_payment_is_refunded_in_parts_up_to_its_amount(shop: Shop) -> None:
    """Refunds add up to the payment and no further (API reference: refunds)."""
    intent = buy_pack(shop).payment_intent
    create = shop.v1.refunds.create
    first = create({"payment_intent": intent, "amount": 300, "reason": "requested_by_customer"})
    assert (first.status, first.amount, first.currency, first.customer) == ("succeeded", 300, "usd", shop.customer)
    for wrong in (701, 0):
        with pytest.raises(stripe.InvalidRequestError):
            create({"payment_intent": intent, "amount": wrong})
    assert create({"payment_intent": intent, "metadata": {"a": "b"}}).amount == 700
    with pytest.raises(stripe.InvalidRequestError) as caught:
        create({"payment_intent": intent})
    assert caught.value.code == "charge_already_refunded"
    assert [row.amount for row in shop.v1.refunds.list({"payment_intent": intent}).data] == [700, 300]
    assert shop.v1.refunds.list({"payment_intent": "pi_other"}).data == []
    assert shop.v1.events.list({"types": ["refund.created"]}).data[0].data.object.amount == 700


def test_refund_keeps_metadata_and_needs_a_payment(shop: Shop) -> None:
    """Only metadata of a refund can change (API reference: refunds)."""
    refund = shop.v1.refunds.create({"payment_intent": buy_pack(shop).payment_intent})
    shop.v1.refunds.update(refund.id, {"metadata": {"pi": "x"}})
    assert shop.v1.refunds.retrieve(refund.id, {"expand": ["payment_intent"]}).payment_intent.amount == 1000
    assert shop.v1.refunds.retrieve(refund.id).metadata["pi"] == "x"
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.refunds.create({})


def test_each_transaction_tells_the_balance_after_it(shop: Shop) -> None:
    """`ending_balance` is in the answer to the write; newest first (API reference: customer balance transactions)."""
    assert [credit(shop, cents).ending_balance for cents in (-500, 120, -1)] == [-500, -380, -381]
    rows = shop.v1.customers.balance_transactions.list(shop.customer).data
    assert [(row.amount, row.ending_balance, row.type) for row in rows] == [
        (-1, -381, "adjustment"),
        (120, -380, "adjustment"),
        (-500, -500, "adjustment"),
    ]


def test_transactions_are_listed_by_time_and_invoice(shop: Shop) -> None:
    """`created` and `invoice` filter the list (API reference: customer balance transactions)."""
    first = credit(shop, -500)
    shop.server.advance(100)
    second = credit(shop, -100)
    found = shop.v1.customers.balance_transactions.list
    assert [row.id for row in found(shop.customer, {"created": {"gt": first.created}}).data] == [second.id]
    assert [row.id for row in found(shop.customer, {"created": {"lte": first.created}}).data] == [first.id]
    shop.subscribe(shop.fee(200))
    invoice = shop.newest_invoice()
    assert [row.type for row in found(shop.customer, {"invoice": invoice.id}).data] == ["applied_to_invoice"]


def test_only_words_of_a_transaction_change(shop: Shop) -> None:
    """An immutable ledger: description and metadata only (docs.stripe.com/billing/customer/balance)."""
    made = credit(shop, -500)
    update = shop.v1.customers.balance_transactions.update
    changed = update(shop.customer, made.id, {"description": "lease", "metadata": {"lease": "1"}})
    assert (changed.description, changed.metadata["lease"], changed.amount) == ("lease", "1", -500)
    with pytest.raises(stripe.InvalidRequestError):
        update(shop.customer, made.id, {"amount": 1})


def test_voided_invoice_gives_the_balance_back(shop: Shop) -> None:
    """`unapplied_from_invoice` reverses what a voided invoice took (API reference: transaction types)."""
    credit(shop, -50)
    bad = shop.v1.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": shop.customer})
    shop.subscribe(shop.fee(2000), default_payment_method=bad.id)
    invoice = shop.newest_invoice()
    assert (invoice.status, invoice.amount_due) == ("open", 1950)
    shop.v1.invoices.void_invoice(invoice.id)
    assert shop.v1.customers.retrieve(shop.customer).balance == -50
    newest = shop.v1.customers.balance_transactions.list(shop.customer).data[0]
    assert (newest.type, newest.amount) == ("unapplied_from_invoice", -50)
