"""Customers, search, balance, payment methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import stripe

if TYPE_CHECKING:
    from stripe_meter.emulator import Emulator
    from tests.emulator.conftest import Shop


def test_metadata_is_merged_and_unset_by_empty_values(v1: Any) -> None:
    """Metadata merges; "" drops a key, "" for the whole drops all (docs.stripe.com/api/metadata)."""
    made = v1.customers.create({"metadata": {"a": "1", "b": "2"}})
    merged = v1.customers.update(made.id, {"metadata": {"a": "", "c": "3"}})
    assert merged.metadata.to_dict() == {"b": "2", "c": "3"}
    assert v1.customers.update(made.id, {"metadata": ""}).metadata.to_dict() == {}


@pytest.mark.parametrize("metadata", [{"k" * 41: "v"}, {"k": "v" * 501}, {f"k{number}": "v" for number in range(51)}])
def test_metadata_over_its_limits_is_refused(v1: Any, metadata: dict[str, str]) -> None:
    """50 keys, 40 characters a key, 500 a value (docs.stripe.com/api/metadata)."""
    with pytest.raises(stripe.InvalidRequestError):
        v1.customers.create({"metadata": metadata})


def test_deleted_customer_is_still_retrievable(shop: Shop) -> None:
    """A deleted customer answers 200 with `deleted` (docs/verified.md), and its subscriptions end."""
    subscription = shop.subscribe()
    assert shop.v1.customers.delete(shop.customer).deleted
    found = shop.v1.customers.retrieve(shop.customer)
    assert found.to_dict() == {"id": shop.customer, "object": "customer", "deleted": True}
    assert shop.v1.customers.list().data == []
    assert shop.v1.subscriptions.retrieve(subscription.id).status == "canceled"
    with pytest.raises(stripe.InvalidRequestError, match="No such customer"):
        shop.v1.customers.update(shop.customer, {"name": "x"})
    with pytest.raises(stripe.InvalidRequestError, match="No such customer"):
        shop.v1.subscriptions.create({"customer": shop.customer, "items": [{"price": shop.price}]})


def test_list_by_email_is_exact_and_case_sensitive(v1: Any) -> None:
    """The e-mail filter is case-sensitive (docs.stripe.com/api/customers/list)."""
    made = v1.customers.create({"email": "Ann@example.com"})
    assert [row.id for row in v1.customers.list({"email": "Ann@example.com"}).data] == [made.id]
    assert v1.customers.list({"email": "ann@example.com"}).data == []


def test_search_finds_metadata_and_email_joined_by_and(v1: Any) -> None:
    """Search queries join clauses with AND and escape quotes (docs.stripe.com/search)."""
    made = v1.customers.create({"email": "ann@example.com", "metadata": {"user": "it's me", "t": "1"}})
    v1.customers.create({"email": "bob@example.com", "metadata": {"t": "1"}})
    query = "metadata['user']:'it\\'s me' AND email:'ann@example.com'"
    assert [row.id for row in v1.customers.search({"query": query}).data] == [made.id]
    assert v1.customers.search({"query": "metadata['t']:\"2\""}).data == []
    assert len(v1.customers.search({"query": "metadata['t']:'1'"}).data) == 2


def test_search_pages(v1: Any) -> None:
    """Search results page with next_page (docs.stripe.com/api/pagination/search)."""
    for _ in range(12):
        v1.customers.create({"metadata": {"t": "1"}})
    found = v1.customers.search({"query": "metadata['t']:'1'"})
    assert (len(found.data), found.has_more) == (10, True)
    assert len(list(found.auto_paging_iter())) == 12


def test_search_lags_behind_when_asked_to(v1: Any, emulator: Emulator) -> None:
    """Search is not for read-after-write (docs.stripe.com/search#data-freshness)."""
    emulator.switches.search_lag = 60
    made = v1.customers.create({"metadata": {"t": "1"}})
    gone = v1.customers.create({"metadata": {"t": "1"}})
    v1.customers.delete(gone.id)
    query = {"query": "metadata['t']:'1'"}
    assert v1.customers.search(query).data == []
    emulator.clock.advance(60)
    assert [row.id for row in v1.customers.search(query).data] == [made.id]


@pytest.mark.parametrize("query", ["nonsense", "email:'a' OR email:'b'", "email:'a' AND", "color:'red'"])
def test_unreadable_search_query_is_a_400(v1: Any, query: str) -> None:
    """A query the emulator cannot read is refused, never half understood (emulator design)."""
    with pytest.raises(stripe.InvalidRequestError, match="unable to parse"):
        v1.customers.search({"query": query})


def test_balance_transaction_answers_the_ending_balance(v1: Any) -> None:
    """Each write answers the new balance; negative is credit (docs.stripe.com/billing/customer/balance)."""
    id = v1.customers.create({}).id
    below = v1.customers.balance_transactions
    below.create(id, {"amount": -500, "currency": "usd", "metadata": {"a": "b"}})
    last = below.create(id, {"amount": 120, "currency": "usd", "description": "use"})
    assert (last.ending_balance, last.type) == (-380, "adjustment")
    assert v1.customers.retrieve(id).balance == -380
    assert [row.amount for row in below.list(id).data] == [120, -500]
    assert below.retrieve(id, last.id).description == "use"


def test_balance_keeps_to_one_currency(v1: Any) -> None:
    """The first balance transaction fixes the customer's currency (docs/verified.md)."""
    id = v1.customers.create({}).id
    v1.customers.balance_transactions.create(id, {"amount": -5, "currency": "usd"})
    with pytest.raises(stripe.InvalidRequestError, match="currency"):
        v1.customers.balance_transactions.create(id, {"amount": -5, "currency": "eur"})


def test_balance_may_be_set_on_the_customer(v1: Any) -> None:
    """Updating `balance` writes an adjustment of the difference (docs.stripe.com/api/customers/update)."""
    id = v1.customers.create({"balance": 10}).id
    v1.customers.update(id, {"balance": -90})
    assert v1.customers.balance_transactions.list(id).data[0].amount == -100


def test_update_without_a_change_makes_no_event(v1: Any) -> None:
    """`customer.updated` means that something changed (docs.stripe.com/api/events/types)."""
    id = v1.customers.create({"name": "A"}).id
    v1.customers.update(id, {"name": "A"})
    v1.customers.update(id, {"name": "B"})
    events = v1.events.list({"types": ["customer.updated"]}).data
    assert [event.data.previous_attributes["name"] for event in events] == ["A"]


def test_attached_test_card_can_be_default_listed_and_detached(shop: Shop) -> None:
    """Test tokens become payment methods of the customer (docs.stripe.com/testing)."""
    below = shop.v1.customers.payment_methods
    card = below.list(shop.customer).data[0]
    assert (card.card.last4, card.customer) == ("4242", shop.customer)
    assert below.retrieve(shop.customer, card.id).id == card.id
    subscription = shop.subscribe(default_payment_method=card.id)
    shop.v1.payment_methods.detach(card.id)
    assert shop.v1.payment_methods.retrieve(card.id).customer is None
    assert shop.v1.customers.retrieve(shop.customer).invoice_settings.default_payment_method is None
    assert shop.v1.subscriptions.retrieve(subscription.id).default_payment_method is None
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.payment_methods.detach(card.id)
    with pytest.raises(stripe.InvalidRequestError):
        below.retrieve(shop.customer, card.id)
    assert shop.v1.payment_methods.attach(card.id, {"customer": shop.customer}).customer == shop.customer


def test_detaching_another_card_leaves_the_default_alone(shop: Shop) -> None:
    """Only the detached card stops being a default."""
    other = shop.v1.payment_methods.attach("pm_card_mastercard", {"customer": shop.customer})
    shop.subscribe()
    shop.v1.payment_methods.detach(other.id)
    assert shop.v1.customers.retrieve(shop.customer).invoice_settings.default_payment_method


def test_card_of_another_customer_cannot_be_used(shop: Shop) -> None:
    """A payment method belongs to one customer (docs.stripe.com/api/payment_methods/attach)."""
    other = shop.v1.customers.create({"payment_method": "pm_card_visa"})
    card = shop.v1.customers.payment_methods.list(other.id).data[0].id
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.payment_methods.attach(card, {"customer": shop.customer})
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.customers.update(shop.customer, {"invoice_settings": {"default_payment_method": card}})
    with pytest.raises(stripe.InvalidRequestError):
        shop.subscribe(default_payment_method=card)
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.payment_methods.attach("pm_card_visa", {})


def test_declined_card_cannot_be_attached(shop: Shop) -> None:
    """Attaching a card that declines is a 402 with its decline code (docs.stripe.com/declines/codes)."""
    with pytest.raises(stripe.CardError) as caught:
        shop.v1.payment_methods.attach("pm_card_visa_chargeDeclined", {"customer": shop.customer})
    assert caught.value.code == "card_declined"
    body: Any = caught.value.json_body
    assert body["error"]["decline_code"] == "generic_decline"


def test_customer_can_be_created_with_a_default_card(v1: Any) -> None:
    """`payment_method` attaches a card on creation (docs.stripe.com/api/customers/create)."""
    settings = {"default_payment_method": "pm_card_visa"}
    made = v1.customers.create({"payment_method": "pm_card_visa", "invoice_settings": settings})
    expanded = v1.customers.retrieve(made.id, {"expand": ["invoice_settings.default_payment_method"]})
    assert expanded.invoice_settings.default_payment_method.card.brand == "visa"


def test_addresses_have_all_their_lines(v1: Any) -> None:
    """What was not given is null, it is not left out (OpenAPI: every line of an address is required in answers)."""
    city = {"city": "Bonn"}
    made = v1.customers.create({"address": city, "shipping": {"name": "Ann", "address": city}})
    assert (made.address.city, made.address.line1, made.shipping.address.country) == ("Bonn", None, None)
    options = {"rendering_options": {"amount_tax_display": "exclude_tax"}}
    changed = v1.customers.update(made.id, {"address": {"country": "DE"}, "invoice_settings": options})
    assert (changed.address.country, changed.address.state) == ("DE", None)
    assert changed.invoice_settings.rendering_options.template is None


def test_unknown_page_of_a_search_is_a_400(v1: Any) -> None:
    """A cursor that the API did not hand out is the caller's fault, not the server's."""
    with pytest.raises(stripe.InvalidRequestError):
        v1.customers.search({"query": "email:'a@b.c'", "page": "second"})


def test_balance_given_at_creation_is_a_transaction_too(v1: Any) -> None:
    """Type `initial` (SDK: types of balance transactions): the sum of all transactions is the balance."""
    made = v1.customers.create({"balance": -500})
    rows = v1.customers.balance_transactions.list(made.id).data
    assert [(row.type, row.amount, row.ending_balance) for row in rows] == [("initial", -500, -500)]
    v1.customers.update(made.id, {"balance": -500})
    assert len(v1.customers.balance_transactions.list(made.id).data) == 1


def test_invoice_credit_balance_is_credit_by_currency_when_expanded(v1: Any) -> None:
    """Its sign is the other way round than that of `balance`; who mixes them up charges what he owes."""
    id = v1.customers.create({}).id
    wanted = {"expand": ["invoice_credit_balance"]}
    assert v1.customers.retrieve(id, wanted).invoice_credit_balance.to_dict() == {}
    v1.customers.balance_transactions.create(id, {"amount": -500, "currency": "usd"})
    shown = v1.customers.retrieve(id, wanted)
    assert (shown.balance, shown.invoice_credit_balance.to_dict()) == (-500, {"usd": 500})
    assert "invoice_credit_balance" not in v1.customers.retrieve(id)


@pytest.mark.parametrize(
    ("terms", "param"),
    [
        ({"payment_method": "pm_nope"}, "payment_method"),
        (
            {"invoice_settings": {"default_payment_method": "pm_nope"}},
            "invoice_settings[default_payment_method]",
        ),
        (
            {"payment_method": "pm_card_visa", "invoice_settings": {"default_payment_method": "pm_nope"}},
            "invoice_settings[default_payment_method]",
        ),
    ],
)
def test_unknown_payment_method_of_a_new_customer_is_refused(v1: Any, terms: dict[str, Any], param: str) -> None:
    """A customer without the card that was asked for would fail only when the first invoice is due."""
    with pytest.raises(stripe.InvalidRequestError) as error:
        v1.customers.create(terms)
    assert (error.value.code, error.value.param) == ("resource_missing", param)
    assert v1.customers.list().data == []


def test_balance_transaction_in_an_unknown_currency_is_refused(v1: Any) -> None:
    """A balance in no currency could never pay an invoice, and would pin the customer to it."""
    id = v1.customers.create({}).id
    with pytest.raises(stripe.InvalidRequestError) as error:
        v1.customers.balance_transactions.create(id, {"amount": -500, "currency": "zzz"})
    assert (error.value.param, v1.customers.retrieve(id).currency) == ("currency", None)
