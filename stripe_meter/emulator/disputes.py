"""Disputes: a card holder takes the money back.

Owns: opening and closing a dispute and what both do to the charge. Does not own: the endpoints
(`resources.disputes`) or which card disputes (`cards`). Money withdrawn and given back shows in events only.
"""

from stripe_meter.emulator.account import Account
from stripe_meter.emulator.charge_form import dispute_form
from stripe_meter.emulator.errors import JSON
from stripe_meter.emulator.events import emit


def open_dispute(account: Account, charge: JSON, reason: str) -> None:
    """The bank disputes a charge, once."""
    if charge["disputed"]:
        return
    charge["disputed"] = True
    dispute = account.store.add(dispute_form(account, charge, reason))
    emit(account, "charge.dispute.created", dispute)
    emit(account, "charge.dispute.funds_withdrawn", dispute)


def close_dispute(account: Account, dispute: JSON, status: str) -> None:
    """The bank has decided: `won` gives the money back, `lost` does not."""
    dispute["status"] = status
    emit(account, "charge.dispute.closed", dispute)
    if status == "won":
        emit(account, "charge.dispute.funds_reinstated", dispute)
