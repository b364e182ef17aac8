"""Refunds of card payments.

Owns: /v1/refunds. Does not own: payments or what a refund means for credits, which is the seller's business. More than
what is left of a payment is a 400; a refund of a test card succeeds at once.
"""

from typing import Final

from stripe_meter.emulator.account import Account
from stripe_meter.emulator.errors import JSON, invalid
from stripe_meter.emulator.events import emit
from stripe_meter.emulator.listing import page
from stripe_meter.emulator.metadata import merged
from stripe_meter.emulator.routing import PAGING, Operation


def _create(account: Account, params: JSON) -> JSON:
    if "payment_intent" not in params:
        raise invalid("One of the following params should be provided: payment_intent.", "payment_intent")
    intent = account.store.get("payment_intent", params["payment_intent"], "payment_intent", 400)
    if intent["status"] != "succeeded":
        raise invalid(f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund.")
    left = intent["amount_received"] - _refunded(account, intent["id"])
    amount = params.get("amount", left)
    if left <= 0:
        raise invalid("The payment has already been refunded.", code="charge_already_refunded")
    if not 0 < amount <= left:
        raise invalid(f"Refund amount ({amount}) is greater than unrefunded amount on the payment ({left}).", "amount")
    refund: JSON = {
        "id": account.ids.new("re"),
        "object": "refund",
        "amount": amount,
        "balance_transaction": None,
        "charge": intent["latest_charge"],
        "created": account.now(),
        "currency": intent["currency"],
        "customer": intent["customer"],
        "customer_account": None,
        "metadata": merged({}, params.get("metadata")),
        "payment_intent": intent["id"],
        "payment_method": intent["payment_method"],
        "reason": params.get("reason"),
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "succeeded",
        "transfer_reversal": None,
    }
    account.store.add(refund)
    emit(account, "refund.created", refund)
    return refund


def _refunded(account: Account, intent: str) -> int:
    return sum(row["amount"] for row in account.store.all("refund") if row["payment_intent"] == intent)


def _retrieve(account: Account, params: JSON, id: str) -> JSON:
    return account.store.get("refund", id)


def _update(account: Account, params: JSON, id: str) -> JSON:
    refund = account.store.get("refund", id)
    refund["metadata"] = merged(refund["metadata"], params.get("metadata"))
    return refund


def _list(account: Account, params: JSON) -> JSON:
    rows = list(account.store.newest("refund"))
    if "payment_intent" in params:
        rows = [row for row in rows if row["payment_intent"] == params["payment_intent"]]
    return page(rows, params, "/v1/refunds")


KEY: Final = "refund"
OPERATIONS: Final = (
    Operation("POST", "/v1/refunds", "RefundCreateParams", _create, KEY, "amount metadata payment_intent reason"),
    Operation("GET", "/v1/refunds", "RefundListParams", _list, KEY, f"payment_intent {PAGING}"),
    Operation("GET", "/v1/refunds/{id}", "RefundRetrieveParams", _retrieve, KEY),
    Operation("POST", "/v1/refunds/{id}", "RefundUpdateParams", _update, KEY, "metadata"),
)
