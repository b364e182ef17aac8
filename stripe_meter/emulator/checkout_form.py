"""The field set of Checkout sessions, their line items, and the intents they lead to.

Owns: every field of those objects at API version 2026-10-28.endive. Does not own: rules (`resources.checkout_sessions`)
or completion (`completion`). Fields of features that are not emulated hold what Stripe sends when they are unused.
"""

from decimal import Decimal
from typing import Any, Final

from stripe_meter.emulator import taxes
from stripe_meter.emulator.account import Account
from stripe_meter.emulator.billing import price_quantity
from stripe_meter.emulator.errors import JSON

NOTHING: Final = (
    "adaptive_pricing after_expiration allow_promotion_codes allowed_payment_method_types amount_subtotal amount_total "
    "billing_address_collection cancel_url client_reference_id client_secret collected_information consent "
    "consent_collection currency currency_conversion customer customer_account customer_creation customer_details "
    "customer_email discounts integration_identifier invoice invoice_creation locale managed_payments origin_context "
    "payment_intent payment_link payment_method_configuration_details payment_method_options permissions "
    "recovered_from saved_payment_method_options setup_intent shipping_address_collection shipping_cost submit_type "
    "subscription success_url total_details wallet_options"
)
INTENT_NOTHING: Final = (
    "allowed_payment_method_types application automatic_payment_methods cancellation_reason customer description "
    "excluded_payment_method_types managed_payments next_action on_behalf_of payment_method "
    "payment_method_configuration_details payment_method_options"
)
PAYMENT_NOTHING: Final = (
    "application_fee_amount canceled_at customer_account last_payment_error latest_charge payment_record processing "
    "receipt_email review setup_future_usage shipping source statement_descriptor statement_descriptor_suffix "
    "transfer_group"
)
COPIED: Final = (
    "allowed_payment_method_types billing_address_collection cancel_url client_reference_id customer customer_email "
    "locale submit_type success_url"
)
SETUP_NOTHING: Final = "last_setup_error latest_attempt mandate single_use_mandate"


def session_form(account: Account, params: JSON, lines: list[JSON], currency: str | None, expires: int) -> JSON:
    """An open session for checked parameters."""
    id = account.ids.new("cs")
    mode = params["mode"]
    total = None if mode == "setup" else sum(line["amount_total"] for line in lines)
    session: JSON = {
        "id": id,
        "object": "checkout.session",
        **dict.fromkeys(NOTHING.split()),
        "amount_subtotal": total,
        "amount_total": total,
        "automatic_tax": _automatic_tax(params),
        "created": account.now(),
        "currency": currency,
        "custom_fields": [],
        "custom_text": custom_text(params),
        "customer_creation": _customer_creation(params),
        "expires_at": expires,
        "line_items": lines,
        "livemode": False,
        "metadata": params.get("metadata") or {},
        "mode": mode,
        "payment_method_collection": params.get("payment_method_collection", "always"),
        "payment_method_types": _method_types(params, currency),
        "payment_status": "no_payment_required" if mode == "setup" else "unpaid",
        "shipping_options": [],
        "status": "open",
        "total_details": None if mode == "setup" else {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
        "ui_mode": "hosted_page",
        "url": f"{account.base_url}/c/pay/{id}",
    }
    if mode == "payment":
        session["payment_method_collection"] = "if_required"
        session["invoice_creation"] = _invoice_creation(params.get("invoice_creation"))
    if "tax_id_collection" in params:
        session["tax_id_collection"] = {"required": "never", **params["tax_id_collection"]}
    session.update({name: params[name] for name in COPIED.split() if name in params})
    return session


def custom_text(params: JSON) -> JSON:
    """The seller's own words on the page, of a session or a payment link."""
    blank = dict.fromkeys(("after_submit", "shipping_address", "submit", "terms_of_service_acceptance"))
    given = {name: value or None for name, value in (params.get("custom_text") or {}).items()}
    return {**blank, **given}


def _automatic_tax(params: JSON) -> JSON:
    if not taxes.on(params):
        return {"enabled": False, "liability": None, "provider": None, "status": None}
    state = taxes.state(True, "requires_location_inputs")
    return {name: state[name] for name in ("enabled", "liability", "provider", "status")}


def _method_types(params: JSON, currency: str | None) -> list[str]:
    """How one may pay: cards, and a bank debit for payments in US dollars, unless the seller allows less."""
    allowed = params.get("allowed_payment_method_types")
    known = ["card", "us_bank_account"] if params["mode"] == "payment" and currency == "usd" else ["card"]
    return [name for name in known if allowed is None or name in allowed]


def _customer_creation(params: JSON) -> str | None:
    if params["mode"] == "setup" or "customer" in params:
        return params.get("customer_creation")
    return str(params.get("customer_creation", "always" if params["mode"] == "subscription" else "if_required"))


def _invoice_creation(wanted: Any) -> JSON:
    data = dict.fromkeys(("account_tax_ids", "custom_fields", "description", "footer", "issuer", "rendering_options"))
    given = (wanted or {}).get("invoice_data") or {}
    enabled = bool((wanted or {}).get("enabled"))
    return {"enabled": enabled, "invoice_data": {**data, "metadata": {}, **given}}


def line_item_form(account: Account, price: JSON, quantity: int | None, currency: str) -> JSON:
    """A Checkout line item; a metered one has no quantity and costs nothing yet."""
    parts = [] if quantity is None else price_quantity(price, currency, Decimal(quantity))
    amount = sum(part.amount for part in parts)
    product = account.store.get("product", price["product"])
    return {
        "id": account.ids.new("li"),
        "object": "item",
        "adjustable_quantity": None,
        "amount_discount": 0,
        "amount_subtotal": amount,
        "amount_tax": 0,
        "amount_total": amount,
        "currency": currency,
        "description": product["name"],
        "metadata": {},
        "price": price["id"],
        "quantity": quantity,
    }


def payment_intent_form(
    account: Account, amount: int, currency: str, customer: str | None, method: str | None, data: JSON
) -> JSON:
    """A payment that succeeded."""
    id = account.ids.new("pi")
    return {
        "id": id,
        "object": "payment_intent",
        **dict.fromkeys(f"{INTENT_NOTHING} {PAYMENT_NOTHING}".split()),
        "amount": amount,
        "amount_capturable": 0,
        "amount_received": amount,
        "capture_method": "automatic_async",
        "client_secret": f"{id}_secret_emulated",
        "confirmation_method": "automatic",
        "created": account.now(),
        "currency": currency,
        "customer": customer,
        "description": data.get("description"),
        "livemode": False,
        "metadata": data.get("metadata") or {},
        "payment_method": method,
        "payment_method_types": ["card"],
        "setup_future_usage": data.get("setup_future_usage"),
        "status": "succeeded",
    }


def setup_intent_form(account: Account, customer: str | None, method: str | None, data: JSON) -> JSON:
    """A card that was set up for later payments."""
    id = account.ids.new("seti")
    return {
        "id": id,
        "object": "setup_intent",
        **dict.fromkeys(f"{INTENT_NOTHING} {SETUP_NOTHING}".split()),
        "client_secret": f"{id}_secret_emulated",
        "created": account.now(),
        "customer": customer,
        "description": data.get("description"),
        "livemode": False,
        "metadata": data.get("metadata") or {},
        "payment_method": method,
        "payment_method_types": ["card"],
        "status": "succeeded",
        "usage": "off_session",
    }
