"""Payment intents and setup intents made by the API: auto top-ups and saved cards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import stripe

if TYPE_CHECKING:
    from tests.emulator.conftest import Shop


def pay(shop: Shop, method: str | None = "pm_card_visa", **more: Any) -> Any:
    """A payment of 10 dollars."""
    base = {"amount": 1000, "currency": "usd", "customer": shop.customer}
    return shop.v1.payment_intents.create({**base, **({"payment_method": method} if method else {}), **more})


def test_off_session_payment_with_a_saved_card_succeeds(shop: Shop) -> None:
    """Auto top-up: confirm=true and off_session=true (API reference: payment intents)."""
    saved = shop.v1.customers.retrieve(shop.customer).invoice_settings.default_payment_method
    made = pay(shop, saved, confirm=True, off_session=True, metadata={"topup": "1"})
    assert (made.status, made.amount_received, made.metadata["topup"]) == ("succeeded", 1000, "1")
    types = [row.type for row in shop.v1.events.list({"limit": 3}).data]
    assert types == ["payment_intent.succeeded", "charge.succeeded", "payment_intent.created"]
    assert shop.v1.refunds.create({"payment_intent": made.id}).amount == 1000


@pytest.mark.parametrize(
    ("method", "code", "decline"),
    [
        ("pm_card_chargeCustomerFail", "card_declined", "generic_decline"),
        ("pm_card_authenticationRequired", "authentication_required", "authentication_required"),
    ],
)
def test_refused_payment_is_a_402_with_the_intent_in_it(shop: Shop, method: str, code: str, decline: str) -> None:
    """A refused card leaves an intent that waits for another one (docs.stripe.com/error-codes)."""
    with pytest.raises(stripe.CardError) as caught:
        pay(shop, method, confirm=True, off_session=True)
    error: Any = caught.value.json_body
    assert (caught.value.code, error["error"]["decline_code"]) == (code, decline)
    intent = shop.v1.payment_intents.retrieve(error["error"]["payment_intent"]["id"])
    assert (intent.status, intent.last_payment_error.code) == ("requires_payment_method", code)
    again = shop.v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"})
    assert (again.status, again.last_payment_error) == ("succeeded", None)


def test_on_session_payment_may_ask_for_authentication(shop: Shop) -> None:
    """3-D Secure: requires_action with a next_action; it can be canceled (API reference: payment intents)."""
    made = pay(shop, "pm_card_authenticationRequiredOnSetup", confirm=True)
    assert (made.status, made.next_action.type) == ("requires_action", "use_stripe_sdk")
    done = shop.v1.payment_intents.cancel(made.id, {"cancellation_reason": "abandoned"})
    assert (done.status, done.cancellation_reason) == ("canceled", "abandoned")
    with pytest.raises(stripe.InvalidRequestError) as caught:
        shop.v1.payment_intents.cancel(made.id)
    assert caught.value.code == "payment_intent_unexpected_state"


def test_intent_waits_for_card_and_confirmation(shop: Shop) -> None:
    """Status follows what is still missing (API reference: payment intents)."""
    made = pay(shop, None)
    assert (made.status, made.amount_received) == ("requires_payment_method", 0)
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.payment_intents.confirm(made.id)
    assert pay(shop).status == "requires_confirmation"
    changed = shop.v1.payment_intents.update(made.id, {"description": "x", "metadata": {"a": "b"}})
    assert (changed.description, changed.metadata["a"]) == ("x", "b")
    assert len(shop.v1.payment_intents.list({"customer": shop.customer}).data) == 2


@pytest.mark.parametrize(
    "wrong", [{"amount": 49}, {"off_session": True}, {"payment_method": "pm_none"}, {"payment_method_types": ["card"]}]
)
def test_payment_that_makes_no_sense_is_refused(shop: Shop, wrong: dict[str, Any]) -> None:
    """Minimum amount, off_session without confirm, unknown card; `payment_method_types` left the API with endive."""
    with pytest.raises(stripe.InvalidRequestError):
        pay(shop, **wrong)


def test_setup_intent_saves_a_card(shop: Shop) -> None:
    """A succeeded setup intent attaches its card (API reference: setup intents)."""
    create = shop.v1.setup_intents.create
    made = create({"customer": shop.customer, "payment_method": "pm_card_mastercard", "confirm": True})
    assert (made.status, made.usage) == ("succeeded", "off_session")
    methods = [row.id for row in shop.v1.customers.payment_methods.list(shop.customer).data]
    assert made.payment_method in methods
    assert shop.v1.events.list({"types": ["setup_intent.succeeded"]}).data[0].data.object.id == made.id


def test_setup_intent_waits_and_can_be_canceled(shop: Shop) -> None:
    """Status follows what is still missing (API reference: setup intents)."""
    intents = shop.v1.setup_intents
    made = intents.create({"customer": shop.customer, "usage": "on_session"})
    assert (made.status, made.usage) == ("requires_payment_method", "on_session")
    with pytest.raises(stripe.InvalidRequestError):
        intents.confirm(made.id)
    assert intents.update(made.id, {"description": "x"}).description == "x"
    assert intents.cancel(made.id, {"cancellation_reason": "abandoned"}).status == "canceled"
    other = intents.create({"customer": shop.customer})
    assert intents.confirm(other.id, {"payment_method": "pm_card_visa"}).status == "succeeded"
    assert len(intents.list({"customer": shop.customer}).data) == 2
    assert intents.retrieve(other.id).status == "succeeded"
