"""Taking money: a payment intent, its charges, and the invoice it pays.

Owns: what one attempt to charge does to intent, charge and invoice payment, and the events of it. Does not own: cards
(`cards`), the endpoints (`resources.intents`) or what is owed. A refusal is recorded first and then raised as the 402.
"""

from typing import Final

from stripe_meter.emulator import disputes
from stripe_meter.emulator.account import Account
from stripe_meter.emulator.cards import card_behind, charge
from stripe_meter.emulator.charge_form import charge_form, invoice_payment_form
from stripe_meter.emulator.checkout_form import payment_intent_form
from stripe_meter.emulator.errors import JSON, ApiError
from stripe_meter.emulator.events import emit

# How long a bank debit takes here; Stripe's take days, its test accounts less.
BANK_SECONDS: Final = 30


def new_intent(
    account: Account, amount: int, currency: str, customer: str | None, method: str | None, data: JSON
) -> JSON:
    """A stored payment intent that waits for a card or for confirmation."""
    intent = payment_intent_form(account, amount, currency, customer, method, data)
    intent.update(amount_received=0, status="requires_confirmation" if method else "requires_payment_method")
    account.store.add(intent)
    emit(account, "payment_intent.created", intent)
    return intent


def attempt(account: Account, intent: JSON, method: str | None, *, off_session: bool) -> None:
    """Charge a card for an intent; raises the 402 with the intent in it when the card refuses."""
    try:
        charge(account, method, off_session=off_session)
    except ApiError as error:
        if method is None:
            raise
        raise _refused(account, intent, method, error) from None
    intent["payment_method"] = method
    succeed(account, intent, account.store.get("payment_method", str(method)))


def _refused(account: Account, intent: JSON, method: str, error: ApiError) -> ApiError:
    shown = error.body()["error"]
    row = account.store.get("payment_method", method)
    failed = account.store.add(charge_form(account, intent, row, shown))
    intent.update(status="requires_payment_method", payment_method=None, latest_charge=failed["id"])
    intent["last_payment_error"] = {**shown, "charge": failed["id"], "payment_method": row}
    emit(account, "charge.failed", failed)
    emit(account, "payment_intent.payment_failed", intent)
    decline = {"decline_code": shown["decline_code"]} if "decline_code" in shown else {}
    more = {**decline, "charge": failed["id"], "payment_intent": dict(intent)}
    return ApiError(402, str(error), type="card_error", code=shown.get("code"), more=more)


def succeed(account: Account, intent: JSON, method: JSON) -> None:
    """The money was taken with a card."""
    row = account.store.add(charge_form(account, intent, method, None))
    intent.update(status="succeeded", amount_received=intent["amount"], latest_charge=row["id"])
    intent.update(last_payment_error=None, next_action=None, payment_method=method["id"])
    emit(account, "charge.succeeded", row)
    emit(account, "payment_intent.succeeded", intent)
    reason = card_behind(account, method["id"]).dispute
    if reason is not None:
        account.clock.schedule(account.clock.now(), lambda: disputes.open_dispute(account, row, reason))


def debit_bank(account: Account, intent: JSON, method: JSON) -> JSON:
    """Start a bank debit, which is settled later; returns its pending charge."""
    row = account.store.add(charge_form(account, intent, method, None))
    intent.update(status="processing", latest_charge=row["id"], payment_method=method["id"])
    emit(account, "charge.pending", row)
    emit(account, "payment_intent.processing", intent)
    return row


def settle_bank(account: Account, intent: JSON, failure: JSON | None) -> None:
    """The bank has answered: paid, or not."""
    row = account.store.get("charge", intent["latest_charge"])
    if failure is None:
        row["status"] = "succeeded"
        intent.update(status="succeeded", amount_received=intent["amount"])
    else:
        row.update(status="failed", paid=False, failure_code=failure["code"], failure_message=failure["message"])
        method = account.store.get("payment_method", row["payment_method"])
        intent.update(status="requires_payment_method", payment_method=None)
        intent["last_payment_error"] = {**failure, "type": "invalid_request_error", "payment_method": method}
    emit(account, "charge.failed" if failure else "charge.succeeded", row)
    emit(account, "payment_intent.payment_failed" if failure else "payment_intent.succeeded", intent)


def request_for(account: Account, invoice: JSON) -> JSON:
    """The payment intent of an invoice with something due, made when the invoice becomes final."""
    data = {"description": f"Payment for invoice {invoice['number']}"}
    intent = new_intent(account, invoice["amount_due"], invoice["currency"], invoice["customer"], None, data)
    link(account, invoice, intent)
    return intent


def link(account: Account, invoice: JSON, intent: JSON) -> JSON:
    """Say that an intent pays an invoice."""
    return account.store.add(invoice_payment_form(account, invoice, intent))


def payments_of(account: Account, invoice: JSON) -> list[JSON]:
    """The payments of an invoice, oldest first."""
    return [row for row in account.store.all("invoice_payment") if row["invoice"] == invoice["id"]]


def intent_of(account: Account, invoice: JSON) -> JSON | None:
    """The payment intent of an invoice, if anything was ever due."""
    for row in payments_of(account, invoice):
        return account.store.get("payment_intent", row["payment"]["payment_intent"])
    return None


def close(account: Account, invoice: JSON, status: str) -> None:
    """The invoice is paid or needs no payment any more (`canceled`)."""
    for row in payments_of(account, invoice):
        if row["status"] == "open":
            row["status"] = status
            row["status_transitions"][f"{status}_at"] = account.now()
            intent = account.store.get("payment_intent", row["payment"]["payment_intent"])
            if status == "paid":
                row["amount_paid"] = row["amount_requested"]
                emit(account, "invoice_payment.paid", row)
            elif intent["status"] != "succeeded":
                intent.update(status="canceled", canceled_at=account.now(), cancellation_reason="void_invoice")
                emit(account, "payment_intent.canceled", intent)
