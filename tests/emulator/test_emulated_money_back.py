"""Charges, refunds, disputes, credit notes, invoice items, and the payments behind invoices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import stripe

if TYPE_CHECKING:
    from tests.emulator.conftest import Shop

HOUR = 3_600
DAY = 86_400


@pytest.fixture(autouse=True)
def _true_to_stripe(shop: Shop) -> Iterator[None]:
    """Nothing that happens in these tests, in the background included, breaks the SDK's types."""
    yield
    assert shop.server.emulator.violations == []


def pay(shop: Shop, method: str = "pm_card_visa", **more: Any) -> Any:
    """A payment of 10 dollars that was made."""
    base = {"amount": 1000, "currency": "usd", "customer": shop.customer, "confirm": True, "off_session": True}
    return shop.v1.payment_intents.create({**base, "payment_method": method, **more})


def types_of(shop: Shop, *types: str) -> list[str]:
    """The newest events of these types, oldest first."""
    return [row.type for row in reversed(shop.v1.events.list({"types": list(types), "limit": 100}).data)]


def paid_invoice(shop: Shop, cents: int = 2000) -> Any:
    """A paid invoice with one line."""
    shop.subscribe(shop.fee(cents))
    return shop.newest_invoice()


def open_invoice(shop: Shop, cents: int = 2000) -> Any:
    """An invoice that nobody has paid."""
    shop.customer = shop.v1.customers.create({}).id
    shop.subscribe(shop.fee(cents))
    return shop.newest_invoice()


# Charges and refunds


def test_payment_leaves_a_charge(shop: Shop) -> None:
    """`latest_charge` names it; it carries the metadata of the intent (API reference: charges)."""
    made = pay(shop, metadata={"pack": "1"})
    charge = shop.v1.charges.retrieve(made.latest_charge, {"expand": ["payment_intent"]})
    assert (charge.amount, charge.paid, charge.status, charge.metadata["pack"]) == (1000, True, "succeeded", "1")
    assert charge.payment_intent.id == made.id
    assert [row.id for row in shop.v1.charges.list({"payment_intent": made.id}).data] == [charge.id]


def test_refused_payment_leaves_a_failed_charge(shop: Shop) -> None:
    """A decline is a failed charge with its code (API reference: charges)."""
    with pytest.raises(stripe.CardError):
        pay(shop, "pm_card_chargeCustomerFail")
    charge = shop.v1.charges.list({"customer": shop.customer}).data[0]
    assert (charge.status, charge.paid, charge.failure_code) == ("failed", False, "card_declined")
    assert types_of(shop, "charge.failed") == ["charge.failed"]


def test_refund_marks_the_charge(shop: Shop) -> None:
    """Parts add up; the whole is `refunded`; each refund is a `charge.refunded` (API reference: refunds)."""
    made = pay(shop)
    part = shop.v1.refunds.create({"charge": made.latest_charge, "amount": 400})
    charge = shop.v1.charges.retrieve(made.latest_charge, {"expand": ["refunds"]})
    assert (part.charge, charge.amount_refunded, charge.refunded) == (charge.id, 400, False)
    assert [row.id for row in charge.refunds.data] == [part.id]
    shop.v1.refunds.create({"payment_intent": made.id})
    assert shop.v1.charges.retrieve(charge.id).refunded
    assert types_of(shop, "charge.refunded", "refund.created") == ["refund.created", "charge.refunded"] * 2
    with pytest.raises(stripe.InvalidRequestError) as caught:
        shop.v1.refunds.create({"payment_intent": made.id})
    assert caught.value.code == "charge_already_refunded"


def test_refund_may_fail_later(shop: Shop) -> None:
    """`pm_card_refundFail`: succeeds first, then `refund.failed` (docs.stripe.com/testing, refunds)."""
    made = shop.v1.refunds.create({"payment_intent": pay(shop, "pm_card_refundFail").id})
    found = shop.v1.refunds.retrieve(made.id)
    assert (made.status, found.status, found.failure_reason) == ("succeeded", "failed", "expired_or_canceled_card")
    assert shop.v1.charges.retrieve(made.charge).amount_refunded == 0
    assert types_of(shop, "refund.failed") == ["refund.failed"]


@pytest.mark.parametrize("wrong", [{}, {"payment_intent": "PI", "charge": "ch_none"}, {"charge": "ch_none"}])
def test_refund_names_one_payment(shop: Shop, wrong: dict[str, str]) -> None:
    """Exactly one of payment intent and charge (API reference: create a refund)."""
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.refunds.create(wrong)


# Disputes


def test_disputed_card_pays_and_is_disputed(shop: Shop) -> None:
    """4000000000000259: the charge succeeds and is disputed as fraudulent (docs.stripe.com/testing, disputes)."""
    made = pay(shop, "pm_card_createDispute")
    dispute = shop.v1.disputes.list({"payment_intent": made.id}).data[0]
    assert (made.status, dispute.reason, dispute.status) == ("succeeded", "fraudulent", "needs_response")
    assert (dispute.amount, dispute.charge) == (1000, made.latest_charge)
    assert shop.v1.charges.retrieve(made.latest_charge).disputed
    assert types_of(shop, "charge.dispute.created") == ["charge.dispute.created"]
    with pytest.raises(stripe.InvalidRequestError, match="charged back"):
        shop.v1.refunds.create({"payment_intent": made.id})


@pytest.mark.parametrize(
    ("evidence", "status", "last"),
    [
        ("winning_evidence", "won", "charge.dispute.funds_reinstated"),
        ("losing_evidence", "lost", "charge.dispute.closed"),
    ],
)
def test_evidence_decides_a_test_dispute(shop: Shop, evidence: str, status: str, last: str) -> None:
    """`winning_evidence` and `losing_evidence` close it (docs.stripe.com/testing, disputes)."""
    dispute = shop.v1.disputes.list({"payment_intent": pay(shop, "pm_card_createDispute").id}).data[0]
    assert shop.v1.disputes.update(dispute.id, {"evidence": {"uncategorized_text": evidence}}).status == status
    assert shop.v1.events.list({"limit": 1}).data[0].type == last
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.disputes.close(dispute.id)


def test_dispute_can_be_accepted(shop: Shop) -> None:
    """Closing a dispute is losing it; evidence may be kept unsent (API reference: disputes)."""
    dispute = shop.v1.disputes.list({"payment_intent": pay(shop, "pm_card_createDispute").id}).data[0]
    kept = shop.v1.disputes.update(dispute.id, {"evidence": {"uncategorized_text": "x"}, "submit": False})
    assert (kept.status, kept.evidence_details.has_evidence) == ("needs_response", True)
    assert shop.v1.disputes.close(dispute.id).status == "lost"
    assert types_of(shop, "charge.dispute.closed") == ["charge.dispute.closed"]


# Payments of invoices


def test_invoice_names_its_payment(shop: Shop) -> None:
    """Since basil an invoice leads to its payment by `invoice_payments` (API reference: invoice payments)."""
    invoice = paid_invoice(shop)
    payment = shop.v1.invoice_payments.list({"invoice": invoice.id}).data[0]
    assert (payment.status, payment.amount_paid, payment.payment.type) == ("paid", 2000, "payment_intent")
    shown = shop.v1.invoices.retrieve(invoice.id, {"expand": ["payments.data.payment.payment_intent"]})
    assert shown.payments.data[0].payment.payment_intent.status == "succeeded"
    found = shop.v1.invoice_payments.list({"payment": {"type": "payment_intent", **_intent(payment)}}).data
    assert [row.id for row in found] == [payment.id]
    assert shop.v1.refunds.create(_intent(payment)).amount == 2000


def _intent(payment: Any) -> dict[str, str]:
    return {"payment_intent": payment.payment.payment_intent}


def test_voided_invoice_cancels_its_payment(shop: Shop) -> None:
    """Nothing is left to pay (API reference: void an invoice)."""
    invoice = open_invoice(shop)
    shop.v1.invoices.void_invoice(invoice.id)
    payment = shop.v1.invoice_payments.list({"invoice": invoice.id}).data[0]
    assert payment.status == "canceled"
    assert shop.v1.payment_intents.retrieve(payment.payment.payment_intent).status == "canceled"


def test_renewal_with_a_card_that_always_asks_needs_the_payer(shop: Shop) -> None:
    """Off-session 3-D Secure: `invoice.payment_action_required`, then past due (docs.stripe.com/testing)."""
    card = shop.v1.payment_methods.attach("pm_card_authenticationRequired", {"customer": shop.customer})
    made = shop.subscribe(default_payment_method=card.id)
    shop.use("100")
    end = made["items"].data[0].current_period_end
    shop.server.advance(end - shop.now + HOUR)
    assert shop.v1.subscriptions.retrieve(made.id).status == "past_due"
    assert types_of(shop, "invoice.payment_action_required") == ["invoice.payment_action_required"]
    page = shop.newest_invoice().hosted_invoice_url
    assert httpx.post(page, data={"card": "4242424242424242"}).status_code == 303
    assert shop.v1.subscriptions.retrieve(made.id).status == "active"


def test_on_session_payment_leads_to_a_page_and_back(shop: Shop) -> None:
    """With a `return_url` 3-D Secure is a redirect, which says how it ended (API reference: next_action)."""
    params = {"off_session": False, "return_url": "https://example.com/back"}
    for outcome, status in (("complete", "succeeded"), ("fail", "requires_payment_method")):
        made = pay(shop, "pm_card_authenticationRequiredOnSetup", **params)
        url = made.next_action.redirect_to_url.url
        assert "10.00 USD" in httpx.get(url).text
        back = httpx.post(url, data={"outcome": outcome}).headers["location"]
        assert back.startswith(f"https://example.com/back?payment_intent={made.id}&redirect_status=")
        assert shop.v1.payment_intents.retrieve(made.id).status == status
        assert httpx.get(url).status_code == 404
        assert httpx.post(url, data={"outcome": outcome}).status_code == 404


def test_payment_that_must_not_ask_fails_instead(shop: Shop) -> None:
    """`error_on_requires_action` (API reference: create a payment intent)."""
    with pytest.raises(stripe.CardError) as caught:
        pay(shop, "pm_card_authenticationRequiredOnSetup", off_session=False, error_on_requires_action=True)
    assert caught.value.code == "authentication_required"


# Credit notes


def test_credit_note_on_a_line_refunds_a_paid_invoice(shop: Shop) -> None:
    """A part of a line goes back to the card (money-rules 46; API reference: credit notes)."""
    invoice = paid_invoice(shop)
    line = {"type": "invoice_line_item", "invoice_line_item": invoice.lines.data[0].id, "amount": 500}
    note = shop.v1.credit_notes.create({"invoice": invoice.id, "lines": [line], "refund_amount": 500})
    assert (note.total, note.type, note.status, note.number) == (500, "post_payment", "issued", "EMULATED-0001-CN-01")
    assert shop.v1.refunds.retrieve(note.refunds[0].refund).amount == 500
    found = shop.v1.invoices.retrieve(invoice.id)
    assert (found.status, found.amount_paid, found.post_payment_credit_notes_amount) == ("paid", 2000, 500)
    assert types_of(shop, "credit_note.created") == ["credit_note.created"]


def test_credit_note_can_go_to_the_balance(shop: Shop) -> None:
    """`credit_amount` is credit on the customer balance (docs.stripe.com/invoicing/credit-notes)."""
    invoice = paid_invoice(shop)
    note = shop.v1.credit_notes.create({"invoice": invoice.id, "amount": 700, "credit_amount": 700, "memo": "sorry"})
    row = shop.v1.customers.balance_transactions.retrieve(shop.customer, note.customer_balance_transaction)
    assert (row.type, row.amount, row.credit_note) == ("credit_note", -700, note.id)
    assert shop.v1.customers.retrieve(shop.customer).balance == -700


def test_credit_note_lowers_what_an_open_invoice_asks(shop: Shop) -> None:
    """Before payment it reduces what is due; voiding it takes that back (docs: credit notes)."""
    invoice = open_invoice(shop)
    note = shop.v1.credit_notes.create({"invoice": invoice.id, "amount": 500, "reason": "order_change"})
    assert (note.type, shop.newest_invoice().amount_remaining) == ("pre_payment", 1500)
    assert shop.v1.credit_notes.void_credit_note(note.id).status == "void"
    assert shop.newest_invoice().amount_remaining == 2000
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.credit_notes.void_credit_note(note.id)
    shop.v1.credit_notes.create({"invoice": invoice.id, "amount": 2000})
    assert (shop.newest_invoice().status, shop.newest_invoice().amount_due) == ("paid", 0)


def test_credit_note_is_previewed_listed_and_changed(shop: Shop) -> None:
    """A preview stores nothing (API reference: credit notes)."""
    invoice = paid_invoice(shop)
    params = {"invoice": invoice.id, "amount": 500, "out_of_band_amount": 500}
    assert shop.v1.credit_notes.preview(params).total == 500
    assert shop.v1.credit_notes.list({"invoice": invoice.id}).data == []
    note = shop.v1.credit_notes.create(params)
    assert [row.id for row in shop.v1.credit_notes.list({"customer": shop.customer}).data] == [note.id]
    assert shop.v1.credit_notes.update(note.id, {"memo": "m", "metadata": {"a": "b"}}).memo == "m"
    assert shop.v1.credit_notes.retrieve(note.id).metadata["a"] == "b"
    assert shop.v1.credit_notes.line_items.list(note.id).data[0].amount == 500


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"amount": 2001, "refund_amount": 2001},
        {"amount": 500},
        {"amount": 500, "refund_amount": 400},
        {"amount": 5, "lines": [{"type": "custom_line_item", "amount": 5}]},
        {"lines": [{"type": "invoice_line_item", "invoice_line_item": "il_none"}]},
        {"lines": [{"type": "invoice_line_item", "invoice_line_item": "OWN", "amount": 2001}], "credit_amount": 2001},
        {"lines": [{"type": "custom_line_item", "amount": 5, "tax_rates": ["x"]}], "credit_amount": 5},
    ],
)
def test_credit_note_that_does_not_add_up_is_refused(shop: Shop, wrong: dict[str, Any]) -> None:
    """Never more than the invoice, and a paid one says where the money goes (API reference: credit notes)."""
    invoice = paid_invoice(shop)
    for line in wrong.get("lines", []):
        if line.get("invoice_line_item") == "OWN":
            line["invoice_line_item"] = invoice.lines.data[0].id
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.credit_notes.create({"invoice": invoice.id, **wrong})
    assert shop.v1.credit_notes.list({"invoice": invoice.id}).data == []


def test_draft_has_no_credit_note(shop: Shop) -> None:
    """Only final invoices are credited; an open one has nothing to refund (API reference: credit notes)."""
    draft = shop.v1.invoices.create({"customer": shop.customer})
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.credit_notes.create({"invoice": draft.id, "amount": 5})
    owed = open_invoice(shop)
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.credit_notes.create({"invoice": owed.id, "amount": 5, "credit_amount": 5})


def test_credit_note_of_an_invoice_nobody_paid_cannot_be_refunded(shop: Shop) -> None:
    """An invoice settled from the balance has no payment to refund (API reference: credit notes)."""
    shop.v1.customers.balance_transactions.create(shop.customer, {"amount": -2000, "currency": "usd"})
    invoice = paid_invoice(shop)
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.credit_notes.create({"invoice": invoice.id, "amount": 500, "refund_amount": 500})


# Invoices outside subscriptions


def test_invoice_of_items_takes_what_waits(shop: Shop) -> None:
    """Pending items are included only when asked for; the balance pays it (API reference: invoices)."""
    once = shop.v1.prices.create({"currency": "usd", "unit_amount": 700, "product": shop.product}).id
    items = shop.v1.invoice_items
    items.create({"customer": shop.customer, "pricing": {"price": once}, "quantity": 2})
    plain = items.create({"customer": shop.customer, "amount": 100, "currency": "usd", "description": "Extra"})
    assert shop.v1.invoices.create({"customer": shop.customer}).total == 0
    params = {"customer": shop.customer, "pending_invoice_items_behavior": "include", "description": "d"}
    draft = shop.v1.invoices.create(params)
    assert (draft.total, draft.status, draft.parent, draft.description) == (1500, "draft", None, "d")
    assert items.retrieve(plain.id).invoice == draft.id
    late = items.create({"customer": shop.customer, "amount": 50, "currency": "usd", "invoice": draft.id})
    assert shop.v1.invoices.retrieve(draft.id).total == 1550
    with pytest.raises(stripe.InvalidRequestError):
        items.delete(late.id)
    shop.v1.customers.balance_transactions.create(shop.customer, {"amount": -550, "currency": "usd"})
    assert shop.v1.invoices.pay(draft.id).amount_paid == 1000
    assert items.list({"customer": shop.customer, "pending": True}).data == []


def test_invoice_item_that_waits_can_be_taken_back(shop: Shop) -> None:
    """An item on no invoice is deleted (API reference: delete an invoice item)."""
    made = shop.v1.invoice_items.create({"customer": shop.customer, "amount": 100, "currency": "usd"})
    assert shop.v1.invoice_items.delete(made.id).deleted
    assert shop.v1.invoice_items.list({"customer": shop.customer}).data == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"amount": None},
        {"customer": None},
        {"currency": "eur"},
        {"amount": None, "pricing": {"price": "RECURRING"}},
        {"pricing": {"price": "RECURRING"}},
        {"invoice": "in_none"},
    ],
)
def test_invoice_item_that_cannot_be_is_refused(shop: Shop, wrong: dict[str, Any]) -> None:
    """An amount or a one-time price, in the customer's currency (API reference: invoice items)."""
    shop.subscribe()
    params = {"customer": shop.customer, "amount": 100, "currency": "usd", **wrong}
    if "pricing" in params:
        params["pricing"] = {"price": shop.price}
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.invoice_items.create({name: value for name, value in params.items() if value is not None})


def test_invoice_that_advances_by_itself_is_paid_after_an_hour(shop: Shop) -> None:
    """`auto_advance` finalises and pays a draft (API reference: create an invoice)."""
    shop.v1.invoice_items.create({"customer": shop.customer, "amount": 900, "currency": "usd"})
    params = {"customer": shop.customer, "auto_advance": True, "pending_invoice_items_behavior": "include"}
    made = shop.v1.invoices.create(params)
    shop.server.advance(HOUR)
    assert shop.v1.invoices.retrieve(made.id).amount_paid == 900


def test_invoice_shows_ten_lines_and_lists_them_all(shop: Shop) -> None:
    """Lines come inline up to ten, with `has_more` for the rest (money-rules 42)."""
    for _ in range(12):
        shop.v1.invoice_items.create({"customer": shop.customer, "amount": 100, "currency": "usd"})
    made = shop.v1.invoices.create({"customer": shop.customer, "pending_invoice_items_behavior": "include"})
    assert (made.total, len(made.lines.data), made.lines.has_more) == (1200, 10, True)
    assert len(shop.v1.invoices.line_items.list(made.id, {"limit": 100}).data) == 12


# Automatic tax


def test_automatic_tax_needs_to_know_where_the_customer_is(shop: Shop) -> None:
    """Without a location finalising fails and is told (money-rules 30)."""
    shop.v1.customers.update(shop.customer, {"address": {"country": "US"}})
    price = shop.fee(2000, tax_behavior="exclusive")
    made = shop.subscribe(price, automatic_tax={"enabled": True})
    assert (shop.newest_invoice().automatic_tax.status, made.automatic_tax.enabled) == ("complete", True)
    shop.v1.customers.update(shop.customer, {"address": ""})
    end = made["items"].data[0].current_period_end
    shop.server.advance(end - shop.now + HOUR)
    stuck = shop.newest_invoice()
    assert (stuck.status, stuck.automatic_tax.status) == ("draft", "requires_location_inputs")
    assert stuck.last_finalization_error.code == "customer_tax_location_invalid"
    assert types_of(shop, "invoice.finalization_failed") == ["invoice.finalization_failed"]
    for method in (shop.v1.invoices.finalize_invoice, shop.v1.invoices.pay):
        with pytest.raises(stripe.InvalidRequestError):
            method(stuck.id)
    shop.v1.customers.update(shop.customer, {"address": {"country": "DE"}})
    assert shop.v1.invoices.pay(stuck.id).status == "paid"


def test_automatic_tax_needs_a_tax_behavior(shop: Shop) -> None:
    """`unspecified` prices block automatic tax (money-rules 30)."""
    shop.v1.customers.update(shop.customer, {"address": {"country": "US"}})
    with pytest.raises(stripe.InvalidRequestError, match="tax_behavior"):
        shop.subscribe(automatic_tax={"enabled": True})


def test_account_says_whose_it_is(shop: Shop) -> None:
    """`GET /v1/account` names the account behind a key (API reference: accounts)."""
    found = shop.v1.accounts.retrieve_current()
    assert (found.id.startswith("acct_"), found.country, found.charges_enabled) == (True, "US", True)
