"""The field sets of charges, disputes and invoice payments.

Owns: every field of the three objects at API version 2026-10-28.endive. Does not own: when they are made (`payments`,
`disputes`). Fields of features that are not emulated hold what Stripe sends when they are unused.
"""

from typing import Final

from stripe_meter.emulator.account import Account
from stripe_meter.emulator.errors import JSON

DISPUTE_SECONDS: Final = 7 * 86400
CHARGE_NOTHING: Final = (
    "application application_fee application_fee_amount balance_transaction failure_balance_transaction failure_code "
    "failure_message on_behalf_of receipt_email receipt_number review shipping source source_transfer "
    "statement_descriptor statement_descriptor_suffix transfer_data transfer_group"
)
EVIDENCE: Final = (
    "access_activity_log appeal billing_address cancellation_policy cancellation_policy_disclosure "
    "cancellation_rebuttal customer_communication customer_email_address customer_name customer_purchase_ip "
    "customer_signature duplicate_charge_documentation duplicate_charge_explanation duplicate_charge_id "
    "product_description receipt refund_policy refund_policy_disclosure refund_refusal_explanation service_date "
    "service_documentation shipping_address shipping_carrier shipping_date shipping_documentation "
    "shipping_tracking_number uncategorized_file uncategorized_text"
)
NETWORK_REASONS: Final = {"fraudulent": "10.4", "product_not_received": "13.1"}


def charge_form(account: Account, intent: JSON, method: JSON, failure: JSON | None) -> JSON:
    """A charge of a payment intent, failed when `failure` holds the error's code and message."""
    id = account.ids.new("ch")
    waits = failure is None and method["type"] != "card"
    status = "failed" if failure else "pending" if waits else "succeeded"
    outcome = dict.fromkeys(("advice_code", "network_advice_code", "network_decline_code", "reason"))
    approved = {"network_status": "approved_by_network", "seller_message": "Payment complete.", "type": "authorized"}
    refused = {"network_status": "declined_by_network", "seller_message": "Declined.", "type": "issuer_declined"}
    return {
        "id": id,
        "object": "charge",
        **dict.fromkeys(CHARGE_NOTHING.split()),
        "amount": intent["amount"],
        "amount_captured": 0 if failure else intent["amount"],
        "amount_refunded": 0,
        "billing_details": {**method["billing_details"]},
        "calculated_statement_descriptor": account.merchant.upper()[:22],
        "captured": failure is None,
        "created": account.now(),
        "currency": intent["currency"],
        "customer": intent["customer"],
        "description": intent["description"],
        "disputed": False,
        "failure_code": failure["code"] if failure else None,
        "failure_message": failure["message"] if failure else None,
        "fraud_details": {},
        "livemode": False,
        "metadata": dict(intent["metadata"]),
        "outcome": {**outcome, **(refused if failure else approved)},
        "paid": failure is None,
        "payment_intent": intent["id"],
        "payment_method": method["id"],
        "payment_method_details": None,
        "receipt_url": None,
        "refunded": False,
        "status": status,
    }


def dispute_form(account: Account, charge: JSON, reason: str) -> JSON:
    """A fresh dispute of a charge."""
    code = NETWORK_REASONS[reason]
    return {
        "id": account.ids.new("du"),
        "object": "dispute",
        "amount": charge["amount"],
        "balance_transactions": [],
        "charge": charge["id"],
        "created": account.now(),
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": {**dict.fromkeys(EVIDENCE.split()), "enhanced_evidence": {}},
        "evidence_details": {
            "due_by": account.now() + DISPUTE_SECONDS,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
            "submission_method": "not_submitted",
        },
        "intended_submission_method": None,
        "is_charge_refundable": False,
        "livemode": False,
        "metadata": {},
        "network_reason_code": code,
        "payment_intent": charge["payment_intent"],
        "payment_method_details": {
            "card": {"brand": "visa", "case_type": "chargeback", "network": "visa", "network_reason_code": code},
            "type": "card",
        },
        "reason": reason,
        "status": "needs_response",
    }


def invoice_payment_form(account: Account, invoice: JSON, intent: JSON) -> JSON:
    """How an invoice is to be paid."""
    return {
        "id": account.ids.new("inpay"),
        "object": "invoice_payment",
        "amount_paid": None,
        "amount_requested": intent["amount"],
        "created": account.now(),
        "currency": intent["currency"],
        "invoice": invoice["id"],
        "is_default": True,
        "livemode": False,
        "payment": {"payment_intent": intent["id"], "type": "payment_intent"},
        "status": "open",
        "status_transitions": {"canceled_at": None, "paid_at": None},
    }
