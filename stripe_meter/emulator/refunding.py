"""Refunds: giving the money of a payment back.

Owns: making a refund and what it does to the charge. Does not own: the endpoints (`resources.refunds`) or credit notes.
More than what is left of a payment is a 400; a refund succeeds at once, except to the test card that refuses it later.
"""

from typing import Final

from stripe_meter.emulator.account import Account
from stripe_meter.emulator.cards import card_behind
from stripe_meter.emulator.errors import JSON, invalid
from stripe_meter.emulator.events import emit
from stripe_meter.emulator.metadata import merged

GIVEN_BACK: Final = frozenset({"succeeded", "pending"})


def refund(account: Account, intent: JSON, fields: JSON) -> JSON:
    """Give back `amount` of a payment, or all that is left of it."""
    charge = account.store.find("charge", intent["latest_charge"])
    if intent["status"] != "succeeded" or charge is None:
        raise invalid(f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund.")
    if charge["disputed"]:
        message = f"Charge {charge['id']} has been charged back; cannot issue a refund."
        raise invalid(message, code="charge_disputed")
    left = charge["amount"] - charge["amount_refunded"]
    amount = fields.get("amount", left)
    if left <= 0:
        raise invalid(f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded")
    if not 0 < amount <= left:
        raise invalid(f"Refund amount ({amount}) is greater than unrefunded amount on the payment ({left}).", "amount")
    row = account.store.add(_form(account, intent, charge, amount, fields))
    _move(account, charge, amount)
    emit(account, "refund.created", row)
    emit(account, "charge.refunded", charge)
    if card_behind(account, charge["payment_method"]).refund_fails:
        account.clock.schedule(account.clock.now(), lambda: _fail(account, row, charge))
    return row


def _form(account: Account, intent: JSON, charge: JSON, amount: int, fields: JSON) -> JSON:
    return {
        "id": account.ids.new("re"),
        "object": "refund",
        "amount": amount,
        "balance_transaction": None,
        "charge": charge["id"],
        "created": account.now(),
        "currency": intent["currency"],
        "customer": intent["customer"],
        "customer_account": None,
        "metadata": merged({}, fields.get("metadata")),
        "payment_intent": intent["id"],
        "payment_method": intent["payment_method"],
        "reason": fields.get("reason"),
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "succeeded",
        "transfer_reversal": None,
    }


def _move(account: Account, charge: JSON, amount: int) -> None:
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount"]


def _fail(account: Account, row: JSON, charge: JSON) -> None:
    """The bank sends the money back to the seller."""
    row.update(status="failed", failure_reason="expired_or_canceled_card")
    _move(account, charge, -row["amount"])
    emit(account, "refund.updated", row)
    emit(account, "refund.failed", row)
