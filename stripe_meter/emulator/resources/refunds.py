"""Refunds of card payments.

Owns: /v1/refunds. Does not own: what a refund does (`refunding`) or means for credits, which is the seller's business.
"""

from typing import Final

from stripe_meter.emulator.account import Account
from stripe_meter.emulator.errors import JSON, invalid
from stripe_meter.emulator.listing import matching, page
from stripe_meter.emulator.metadata import merged
from stripe_meter.emulator.refunding import refund
from stripe_meter.emulator.routing import PAGING, Operation


def _create(account: Account, params: JSON) -> JSON:
    if ("payment_intent" in params) == ("charge" in params):
        message = "One of the following params should be provided: payment_intent, charge."
        raise invalid(message, "payment_intent", "parameter_missing")
    id = params.get("payment_intent")
    if id is None:
        id = account.store.get("charge", params["charge"], "charge", 400)["payment_intent"]
    return refund(account, account.store.get("payment_intent", id, "payment_intent", 400), params)


def _retrieve(account: Account, params: JSON, id: str) -> JSON:
    return account.store.get("refund", id)


def _update(account: Account, params: JSON, id: str) -> JSON:
    row = account.store.get("refund", id)
    row["metadata"] = merged(row["metadata"], params.get("metadata"))
    return row


def _list(account: Account, params: JSON) -> JSON:
    return page(matching(account.store.newest("refund"), params, "charge", "payment_intent"), params, "/v1/refunds")


KEY: Final = "refund"
CREATE: Final = "amount charge metadata payment_intent reason"
OPERATIONS: Final = (
    Operation("POST", "/v1/refunds", "RefundCreateParams", _create, KEY, CREATE),
    Operation("GET", "/v1/refunds", "RefundListParams", _list, KEY, f"charge payment_intent {PAGING}"),
    Operation("GET", "/v1/refunds/{id}", "RefundRetrieveParams", _retrieve, KEY),
    Operation("POST", "/v1/refunds/{id}", "RefundUpdateParams", _update, KEY, "metadata"),
)
