"""Payment intents and setup intents made by the API.

Owns: /v1/payment_intents and /v1/setup_intents. Does not own: intents of Checkout (`completion`) or cards. A card that
refuses is a 402 with the intent inside the error, and the intent waits for another card; an off-session payment with a
card that asks for 3-D Secure every time is a 402 `authentication_required`.
"""

from typing import Final

from stripe_meter.emulator import payments
from stripe_meter.emulator.account import Account
from stripe_meter.emulator.billing import minimum_charge
from stripe_meter.emulator.cards import TOKENS, card_behind, charge, new_payment_method
from stripe_meter.emulator.checkout_form import setup_intent_form
from stripe_meter.emulator.currencies import currency_code
from stripe_meter.emulator.errors import JSON, card_error, invalid, missing
from stripe_meter.emulator.events import emit
from stripe_meter.emulator.listing import matching, page
from stripe_meter.emulator.metadata import merged
from stripe_meter.emulator.resources.customers import existing
from stripe_meter.emulator.routing import PAGING, Operation

OPEN: Final = frozenset({"requires_payment_method", "requires_confirmation", "requires_action"})


def _pay_create(account: Account, params: JSON) -> JSON:
    if params.get("off_session") and not params.get("confirm"):
        raise invalid("`off_session` can only be used when `confirm=true`.", "off_session")
    currency = currency_code(params["currency"])
    if params["amount"] < minimum_charge(currency):
        message = f"Amount must be no less than {minimum_charge(currency)} of the smallest unit of {currency}."
        raise invalid(message, "amount", "amount_too_small")
    customer = existing(account, params["customer"])["id"] if "customer" in params else None
    method = _method(account, params.get("payment_method"), customer)
    data = {**params, "metadata": merged({}, params.get("metadata"))}
    intent = payments.new_intent(account, params["amount"], currency, customer, method, data)
    intent["automatic_payment_methods"] = _automatic(params)
    intent["receipt_email"] = params.get("receipt_email")
    if params.get("confirm"):
        _pay(account, intent, params)
    return intent


def _automatic(params: JSON) -> JSON:
    wanted = params.get("automatic_payment_methods") or {"enabled": True}
    return {"allow_redirects": "always", **wanted}


def _method(account: Account, id: str | None, customer: str | None) -> str | None:
    """The payment method to use; a test token makes a new one."""
    if id is None:
        return None
    if id in TOKENS:
        return str(new_payment_method(account, TOKENS[id], customer)["id"])
    row = account.store.find("payment_method", id)
    if row is None or row["customer"] not in (None, customer):
        raise missing("PaymentMethod", id, "payment_method", status=400)
    return id


def _pay(account: Account, intent: JSON, params: JSON) -> None:
    method, off_session = intent["payment_method"], bool(params.get("off_session"))
    if method is None:
        raise invalid("You cannot confirm this PaymentIntent because it is missing a payment method.", "payment_method")
    if card_behind(account, method).authenticate and not off_session:
        charge(account, method)
        _ask(account, intent, params)
        return
    payments.attempt(account, intent, method, off_session=off_session)


def _ask(account: Account, intent: JSON, params: JSON) -> None:
    """3-D Secure: a page to go to when there is a way back, else a step for Stripe's scripts."""
    if params.get("error_on_requires_action"):
        message = "This payment required an authentication action to complete, but `error_on_requires_action` was set."
        raise card_error(message, "authentication_required")
    action: JSON = {"type": "use_stripe_sdk", "use_stripe_sdk": {}}
    if params.get("return_url"):
        url = f"{account.base_url}/a/{intent['id']}"
        action = {"type": "redirect_to_url", "redirect_to_url": {"return_url": params["return_url"], "url": url}}
    intent.update(status="requires_action", next_action=action)
    emit(account, "payment_intent.requires_action", intent)


def _confirm(account: Account, params: JSON, id: str) -> JSON:
    intent = _open_intent(account, "payment_intent", id)
    if "payment_method" in params:
        intent["payment_method"] = _method(account, params["payment_method"], intent["customer"])
    _pay(account, intent, params)
    return intent


def _open_intent(account: Account, kind: str, id: str) -> JSON:
    intent = account.store.get(kind, id)
    if intent["status"] not in OPEN:
        message = f"This {kind} could not be changed because it has a status of {intent['status']}."
        raise invalid(message, code=f"{kind}_unexpected_state")
    return intent


def _cancel(account: Account, params: JSON, id: str) -> JSON:
    intent = _open_intent(account, "payment_intent", id)
    reason = params.get("cancellation_reason")
    intent.update(status="canceled", canceled_at=account.now(), cancellation_reason=reason, next_action=None)
    emit(account, "payment_intent.canceled", intent)
    return intent


def _update(account: Account, params: JSON, id: str) -> JSON:
    return _changed(account.store.get("payment_intent", id), params)


def _changed(intent: JSON, params: JSON) -> JSON:
    if "description" in params:
        intent["description"] = params["description"]
    intent["metadata"] = merged(intent["metadata"], params.get("metadata"))
    return intent


def _retrieve(account: Account, params: JSON, id: str) -> JSON:
    return account.store.get("payment_intent", id)


def _list(account: Account, params: JSON) -> JSON:
    return page(_of(account, "payment_intent", params), params, PAY)


def _of(account: Account, kind: str, params: JSON) -> list[JSON]:
    return matching(account.store.newest(kind), params, "customer", "payment_method")


def _setup_create(account: Account, params: JSON) -> JSON:
    customer = existing(account, params["customer"])["id"] if "customer" in params else None
    method = _method(account, params.get("payment_method"), customer)
    data = {**params, "metadata": merged({}, params.get("metadata"))}
    intent = setup_intent_form(account, customer, method, data)
    intent.update(status="requires_confirmation" if method else "requires_payment_method")
    intent.update(usage=params.get("usage", "off_session"), automatic_payment_methods=_automatic(params))
    account.store.add(intent)
    emit(account, "setup_intent.created", intent)
    return _setup(account, intent) if params.get("confirm") else intent


def _setup(account: Account, intent: JSON) -> JSON:
    if intent["payment_method"] is None:
        raise invalid("You cannot confirm this SetupIntent because it is missing a payment method.", "payment_method")
    method = account.store.get("payment_method", intent["payment_method"])
    method["customer"] = intent["customer"]
    intent["status"] = "succeeded"
    emit(account, "setup_intent.succeeded", intent)
    return intent


def _setup_confirm(account: Account, params: JSON, id: str) -> JSON:
    intent = _open_intent(account, "setup_intent", id)
    if "payment_method" in params:
        intent["payment_method"] = _method(account, params["payment_method"], intent["customer"])
    return _setup(account, intent)


def _setup_cancel(account: Account, params: JSON, id: str) -> JSON:
    intent = _open_intent(account, "setup_intent", id)
    intent.update(status="canceled", cancellation_reason=params.get("cancellation_reason"))
    emit(account, "setup_intent.canceled", intent)
    return intent


def _setup_update(account: Account, params: JSON, id: str) -> JSON:
    return _changed(account.store.get("setup_intent", id), params)


def _setup_retrieve(account: Account, params: JSON, id: str) -> JSON:
    return account.store.get("setup_intent", id)


def _setup_list(account: Account, params: JSON) -> JSON:
    return page(_of(account, "setup_intent", params), params, SET)


PAY: Final = "/v1/payment_intents"
SET: Final = "/v1/setup_intents"
COMMON: Final = "automatic_payment_methods confirm customer description metadata payment_method"
CREATE: Final = (
    f"amount currency error_on_requires_action off_session receipt_email return_url setup_future_usage {COMMON}"
)
CONFIRM: Final = "error_on_requires_action off_session payment_method return_url"
OPERATIONS: Final = (
    Operation("POST", PAY, "PaymentIntentCreateParams", _pay_create, "payment_intent", CREATE),
    Operation("GET", PAY, "PaymentIntentListParams", _list, "payment_intent", f"customer {PAGING}"),
    Operation("GET", PAY + "/{id}", "PaymentIntentRetrieveParams", _retrieve, "payment_intent"),
    Operation("POST", PAY + "/{id}", "PaymentIntentUpdateParams", _update, "payment_intent", "description metadata"),
    Operation(
        "POST",
        PAY + "/{id}/confirm",
        "PaymentIntentConfirmParams",
        _confirm,
        "payment_intent",
        CONFIRM,
    ),
    Operation(
        "POST", PAY + "/{id}/cancel", "PaymentIntentCancelParams", _cancel, "payment_intent", "cancellation_reason"
    ),
    Operation("POST", SET, "SetupIntentCreateParams", _setup_create, "setup_intent", f"usage {COMMON}"),
    Operation("GET", SET, "SetupIntentListParams", _setup_list, "setup_intent", f"customer payment_method {PAGING}"),
    Operation("GET", SET + "/{id}", "SetupIntentRetrieveParams", _setup_retrieve, "setup_intent"),
    Operation("POST", SET + "/{id}", "SetupIntentUpdateParams", _setup_update, "setup_intent", "description metadata"),
    Operation(
        "POST", SET + "/{id}/confirm", "SetupIntentConfirmParams", _setup_confirm, "setup_intent", "payment_method"
    ),
    Operation(
        "POST", SET + "/{id}/cancel", "SetupIntentCancelParams", _setup_cancel, "setup_intent", "cancellation_reason"
    ),
)
