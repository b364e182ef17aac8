"""The field sets of invoice and invoice line objects.

Owns: every field of the two objects at API version 2026-10-28.endive. Does not own: amounts and life cycle
(`invoicing`). Fields of features that are not emulated hold what Stripe sends when they are unused.
"""

from decimal import ROUND_DOWN, Decimal
from typing import Any, Final

from stripe_meter.emulator import taxes
from stripe_meter.emulator.account import Account
from stripe_meter.emulator.billing import Priced, plain, shown_money
from stripe_meter.emulator.errors import JSON

TWELVE: Final = Decimal("0.000000000001")


def invoice_form(account: Account, subscription: JSON | None, customer: JSON, id: str, reason: str) -> JSON:
    """An empty draft invoice for a customer, of a subscription or of a one-time payment."""
    now = account.now()
    taxed = bool(subscription and subscription["automatic_tax"]["enabled"])
    parent: JSON | None = None
    if subscription is not None:
        details = {"metadata": dict(subscription["metadata"]), "subscription": subscription["id"]}
        parent = {"quote_details": None, "subscription_details": details, "type": "subscription_details"}
    return {
        "id": id,
        "object": "invoice",
        **_unused(),
        "account_country": "US",
        "account_name": account.merchant,
        "automatic_tax": taxes.state(taxed, None),
        "automatically_finalizes_at": None,
        "billing_reason": reason,
        "created": now,
        "currency": subscription["currency"] if subscription else customer["currency"],
        "customer": customer["id"],
        "customer_address": customer["address"],
        "customer_email": customer["email"],
        "customer_name": customer["name"],
        "customer_phone": customer["phone"],
        "default_payment_method": subscription["default_payment_method"] if subscription else None,
        "lines": {"object": "list", "data": [], "has_more": False, "url": f"/v1/invoices/{id}/lines"},
        "parent": parent,
        "period_end": now,
        "period_start": now,
        "starting_balance": customer["balance"],
        "test_clock": customer["test_clock"],
        "status": "draft",
    }


def _unused() -> JSON:
    """Fields that start empty or belong to features without emulation."""
    zero = (
        "amount_due amount_overpaid amount_paid amount_paid_off_stripe amount_remaining amount_shipping attempt_count "
        "post_payment_credit_notes_amount pre_payment_credit_notes_amount subtotal subtotal_excluding_tax total "
        "total_excluding_tax"
    )
    none = (
        "account_tax_ids application custom_fields customer_account customer_shipping default_source description "
        "due_date effective_at ending_balance footer from_invoice hosted_invoice_url invoice_pdf "
        "last_finalization_error latest_revision next_payment_attempt number on_behalf_of receipt_number rendering "
        "shipping_cost shipping_details statement_descriptor test_clock webhooks_delivered_at"
    )
    empty = (
        "customer_tax_ids default_tax_rates discounts total_discount_amounts total_pretax_credit_amounts total_taxes"
    )
    fields: JSON = {**dict.fromkeys(zero.split(), 0), **dict.fromkeys(none.split())}
    fields.update({name: [] for name in empty.split()})
    fields.update(
        attempted=False,
        auto_advance=True,
        collection_method="charge_automatically",
        customer_tax_exempt="none",
        issuer={"type": "self"},
        livemode=False,
        metadata={},
        payment_settings={"default_mandate": None, "payment_method_options": None, "payment_method_types": None},
        status_transitions=dict.fromkeys(("finalized_at", "marked_uncollectible_at", "paid_at", "voided_at")),
    )
    return fields


def line_form(account: Account, invoice: JSON, spec: JSON, price: JSON | None, part: Priced, id: str) -> JSON:
    """One invoice line for a priced part of an item."""
    unit = None if part.unit is None else plain(part.unit)
    item, pricing, description = spec["item"], None, spec.get("description", "")
    if price is not None:
        product = account.store.get("product", price["product"])
        details = {"price": price["id"], "product": product["id"]}
        pricing = {"price_details": details, "type": "price_details", "unit_amount_decimal": unit}
        description = _description(product, part, invoice["currency"], spec)
    return {
        "id": id,
        "object": "line_item",
        "amount": part.amount,
        "currency": invoice["currency"],
        "description": description,
        "discount_amounts": [],
        "discountable": not spec["proration"],
        "discounts": [],
        "invoice": invoice["id"],
        "livemode": False,
        "metadata": dict(item["metadata"]),
        "parent": _line_parent(item, spec["proration"]),
        "period": {"start": spec["start"], "end": spec["end"]},
        "pretax_credit_amounts": [],
        "pricing": pricing,
        "quantity": int(part.quantity.to_integral_value(rounding=ROUND_DOWN)),
        "quantity_decimal": plain(part.quantity.quantize(TWELVE, rounding=ROUND_DOWN)),
        "subscription": _subscription(item),
        "subtotal": part.amount,
        "taxes": [],
    }


def _subscription(item: JSON) -> str | None:
    if item.get("object") == "invoiceitem":
        item = (item["parent"] or {}).get("subscription_details") or {}
    found: str | None = item.get("subscription")
    return found


def _line_parent(item: JSON, proration: bool) -> JSON | None:
    if item.get("object") == "invoiceitem":
        about = (item["parent"] or {}).get("subscription_details") or {}
        single: JSON = {"invoice_item": item["id"], "proration": False, "proration_details": None}
        single["subscription"] = about.get("subscription")
        return {"invoice_item_details": single, "subscription_item_details": None, "type": "invoice_item_details"}
    if "subscription" not in item:
        return None
    details: JSON = {
        "invoice_item": None,
        "proration": proration,
        "proration_details": {"credited_items": None} if proration else None,
        "subscription": item["subscription"],
        "subscription_item": item["id"],
    }
    return {"invoice_item_details": None, "subscription_item_details": details, "type": "subscription_item_details"}


def _description(product: JSON, part: Priced, currency: str, spec: JSON) -> str:
    if "amount" in spec:
        return str(spec["description"])
    label = f" ({part.label})" if part.label else ""
    if part.unit is None:
        return f"{product['name']}{label}"
    unit: Any = product["unit_label"] or "unit"
    return f"{plain(part.quantity)} \u00d7 {product['name']}{label} at {shown_money(part.unit, currency)} per {unit}"
