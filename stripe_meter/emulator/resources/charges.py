"""Charges, their disputes, and the payments of invoices.

Owns: reading /v1/charges, /v1/disputes and /v1/invoice_payments, and answering a dispute. Does not own: how they come
about (`payments`, `disputes`). Evidence decides a test dispute by Stripe's test words (docs.stripe.com/testing).
"""

from typing import Final

from stripe_meter.emulator import disputes
from stripe_meter.emulator.account import Account
from stripe_meter.emulator.errors import JSON, invalid, only
from stripe_meter.emulator.events import emit
from stripe_meter.emulator.listing import matching, page
from stripe_meter.emulator.metadata import merged
from stripe_meter.emulator.routing import PAGING, Operation

VERDICTS: Final = {"winning_evidence": "won", "losing_evidence": "lost"}
OPEN: Final = frozenset({"needs_response", "under_review"})


def _charge(account: Account, params: JSON, id: str) -> JSON:
    return account.store.get("charge", id)


def _charges(account: Account, params: JSON) -> JSON:
    return page(matching(account.store.newest("charge"), params, "customer", "payment_intent"), params, "/v1/charges")


def _update_charge(account: Account, params: JSON, id: str) -> JSON:
    row = account.store.get("charge", id)
    row["metadata"] = merged(row["metadata"], params.get("metadata"))
    return row


def _dispute(account: Account, params: JSON, id: str) -> JSON:
    return account.store.get("dispute", id)


def _disputes(account: Account, params: JSON) -> JSON:
    return page(matching(account.store.newest("dispute"), params, "charge", "payment_intent"), params, "/v1/disputes")


def _open(account: Account, id: str) -> JSON:
    row = account.store.get("dispute", id)
    if row["status"] not in OPEN:
        raise invalid(f"This dispute is already closed: it is {row['status']}.")
    return row


def _answer_dispute(account: Account, params: JSON, id: str) -> JSON:
    """Take evidence; submitting Stripe's test words decides the dispute."""
    row = _open(account, id)
    row["metadata"] = merged(row["metadata"], params.get("metadata"))
    given = params.get("evidence") or {}
    only(given, ("uncategorized_text", "product_description", "customer_communication"), "evidence")
    row["evidence"].update(given)
    row["evidence_details"]["has_evidence"] = any(row["evidence"][name] for name in given)
    if given and params.get("submit", True):
        row["evidence_details"].update(submission_count=1, submission_method="manual")
        row["status"] = "under_review"
        verdict = VERDICTS.get(given.get("uncategorized_text", ""))
        if verdict is not None:
            disputes.close_dispute(account, row, verdict)
            return row
    emit(account, "charge.dispute.updated", row)
    return row


def _accept_dispute(account: Account, params: JSON, id: str) -> JSON:
    """Closing a dispute accepts it as lost."""
    row = _open(account, id)
    disputes.close_dispute(account, row, "lost")
    return row


def _payment(account: Account, params: JSON, id: str) -> JSON:
    return account.store.get("invoice_payment", id)


def _payments(account: Account, params: JSON) -> JSON:
    rows = matching(account.store.newest("invoice_payment"), params, "invoice", "status")
    wanted = params.get("payment")
    if wanted is not None:
        rows = [row for row in rows if row["payment"].get("payment_intent") == wanted.get("payment_intent")]
    return page(rows, params, "/v1/invoice_payments")


OF: Final = f"payment_intent {PAGING}"
EVIDENCE: Final = "evidence metadata submit"
PAYMENTS: Final = f"invoice payment status {PAGING}"
OPERATIONS: Final = (
    Operation("GET", "/v1/charges", "ChargeListParams", _charges, "charge", f"customer {OF}"),
    Operation("GET", "/v1/charges/{id}", "ChargeRetrieveParams", _charge, "charge"),
    Operation("POST", "/v1/charges/{id}", "ChargeUpdateParams", _update_charge, "charge", "metadata"),
    Operation("GET", "/v1/disputes", "DisputeListParams", _disputes, "dispute", f"charge {OF}"),
    Operation("GET", "/v1/disputes/{id}", "DisputeRetrieveParams", _dispute, "dispute"),
    Operation("POST", "/v1/disputes/{id}", "DisputeUpdateParams", _answer_dispute, "dispute", EVIDENCE),
    Operation("POST", "/v1/disputes/{id}/close", "DisputeCloseParams", _accept_dispute, "dispute"),
    Operation(
        "GET",
        "/v1/invoice_payments",
        "InvoicePaymentListParams",
        _payments,
        "invoice",
        f"invoice payment status {PAGING}",
    ),
    Operation("GET", "/v1/invoice_payments/{id}", "InvoicePaymentRetrieveParams", _payment, "invoice"),
)
