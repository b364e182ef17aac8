"""Completing a Checkout session: what happens in the account when somebody pays on the hosted page.

Owns: customer, card, subscription and payment that come out of a session. Does not own: the page, or the receipt of a
payment (`receipts`). Nothing is stored when the card refuses: the 402 reaches the page, the session stays open. A bank
debit completes the session unpaid and settles later.
"""

from dataclasses import dataclass
from typing import Any

from stripe_meter.emulator import payments, receipts
from stripe_meter.emulator.account import Account
from stripe_meter.emulator.cards import BANK_ACCOUNTS, CARDS, card_of, decline, new_bank_account, new_payment_method
from stripe_meter.emulator.checkout_form import setup_intent_form
from stripe_meter.emulator.errors import JSON, card_error, invalid
from stripe_meter.emulator.events import changed, emit
from stripe_meter.emulator.resources.customers import new_customer
from stripe_meter.emulator.resources.subscriptions import subscribe
from stripe_meter.emulator.subscription_form import check_items


@dataclass(frozen=True, slots=True)
class Payer:
    """What somebody typed on the page; no card where none is asked for."""

    card: str = ""
    email: str | None = None
    country: str | None = None
    bank: str | None = None


def needs_card(session: JSON) -> bool:
    """Whether the page asks for a card: always, unless nothing is due and the seller said `if_required`."""
    optional = session["mode"] == "subscription" and session["payment_method_collection"] == "if_required"
    return not (optional and session["amount_total"] == 0)


def complete(account: Account, session: JSON, payer: Payer) -> str:
    """Pay a session; returns the address to go to. Raises the card's 402 or a 400 when it is not open."""
    if session["status"] != "open":
        raise invalid("This Checkout Session is no longer open.")
    data: Any = account.checkout_data[session["id"]]
    known = account.store.find("customer", session["customer"])
    _check_payer(account, session, payer, known, data)
    email = payer.email or session["customer_email"] or (known or {}).get("email")
    customer = known if known is not None else _customer(account, session, email)
    method = _method(account, session, payer, customer, email)
    _locate(account, session, customer, payer, data)
    finish = {"subscription": _subscribe, "payment": _pay, "setup": _set_up}[session["mode"]]
    finish(account, session, customer, method, data)
    session.update(status="complete", url=None, customer=customer["id"] if customer else None)
    session["customer_details"] = _details(customer, email)
    account.checkout_data.pop(session["id"])
    _count_for_link(account, session)
    emit(account, "checkout.session.completed", session)
    return str(session["success_url"]).replace("{CHECKOUT_SESSION_ID}", session["id"])


def _count_for_link(account: Account, session: JSON) -> None:
    """A payment link with a limit of completed sessions closes itself."""
    link = account.store.find("payment_link", session["payment_link"])
    if link is not None and link["restrictions"] is not None:
        sessions = link["restrictions"]["completed_sessions"]
        sessions["count"] += 1
        link["active"] = link["active"] and sessions["count"] < sessions["limit"]


def _check_payer(account: Account, session: JSON, payer: Payer, known: JSON | None, data: JSON) -> None:
    """Everything that can fail, before anything is stored."""
    if payer.bank is not None:
        if "us_bank_account" not in session["payment_method_types"]:
            raise card_error("This session does not accept bank debits.", "payment_method_not_available")
        if payer.bank.replace(" ", "") not in BANK_ACCOUNTS:
            raise card_error("In test mode only test account numbers work.", "bank_account_unusable")
    elif needs_card(session):
        decline(card_of(payer.card).first_decline)
        if session["amount_total"]:
            decline(CARDS[payer.card.replace(" ", "").replace("-", "")].later_decline)
    if known is not None and session["mode"] == "subscription":
        check_items(account, data["items"], known, session["currency"])


def _method(account: Account, session: JSON, payer: Payer, customer: JSON | None, email: str | None) -> JSON | None:
    owner = customer["id"] if customer else None
    if payer.bank is not None:
        return new_bank_account(account, payer.bank, owner, email)
    return new_payment_method(account, payer.card, owner, email) if needs_card(session) else None


def _locate(account: Account, session: JSON, customer: JSON | None, payer: Payer, data: JSON) -> None:
    """Write the country down where automatic tax may: on a new customer, or on one the seller lets Checkout update."""
    if not session["automatic_tax"]["enabled"]:
        return
    session["automatic_tax"]["status"] = "complete"
    may = session["customer"] is None or data["customer_update"].get("address") == "auto"
    if customer is not None and payer.country and may:
        blank = dict.fromkeys(("city", "line1", "line2", "postal_code", "state"))
        new = {"address": {**blank, "country": payer.country.upper()}}
        previous = changed(customer, new)
        customer.update(new)
        emit(account, "customer.updated", customer, previous)


def _customer(account: Account, session: JSON, email: str | None) -> JSON | None:
    """A new customer, or None for the guest of a payment that asked for none."""
    if session["mode"] == "setup" or session["customer_creation"] == "if_required":
        return None
    return new_customer(account, {"email": email})


def _details(customer: JSON | None, email: str | None) -> JSON:
    name = customer["name"] if customer else None
    details: JSON = dict.fromkeys(("business_name", "individual_name", "phone"))
    address = customer["address"] if customer else None
    return {**details, "address": address, "email": email, "name": name, "tax_exempt": "none", "tax_ids": []}


def _subscribe(account: Account, session: JSON, customer: Any, method: JSON | None, data: JSON) -> None:
    fields = {
        **data["subscription_data"],
        "add_invoice_items": data["once"],
        "automatic_tax": {"enabled": session["automatic_tax"]["enabled"]},
        "currency": session["currency"],
        "default_payment_method": method["id"] if method else None,
    }
    subscription = subscribe(account, customer, data["items"], fields, present=True)
    session.update(subscription=subscription["id"], invoice=subscription["latest_invoice"])
    # Stripe calls a first invoice of zero "no payment required".
    session["payment_status"] = "paid" if session["amount_total"] else "no_payment_required"


def _pay(account: Account, session: JSON, customer: JSON | None, method: Any, data: JSON) -> None:
    extra = data["payment_intent_data"]
    owner = customer["id"] if customer else None
    intent = payments.new_intent(account, session["amount_total"], session["currency"], owner, method["id"], extra)
    session["payment_intent"] = intent["id"]
    if customer is not None and not extra.get("setup_future_usage"):
        method["customer"] = None
    if method["type"] != "card":
        payments.debit_bank(account, intent, method)
        at = account.clock.now() + payments.BANK_SECONDS
        account.clock.schedule(at, lambda: _settle(account, session, intent, customer))
        return
    payments.succeed(account, intent, method)
    session["payment_status"] = "paid" if session["amount_total"] else "no_payment_required"
    receipts.write(account, session, customer, intent)


def _settle(account: Account, session: JSON, intent: JSON, customer: JSON | None) -> None:
    """The bank's answer to a debit that completed a session unpaid."""
    reason = BANK_ACCOUNTS[account.cards[intent["payment_method"]]]
    if reason is not None:
        message = f"The customer's bank refused the debit: {reason.replace('_', ' ')}."
        payments.settle_bank(account, intent, {"code": "payment_intent_payment_attempt_failed", "message": message})
        emit(account, "checkout.session.async_payment_failed", session)
        return
    payments.settle_bank(account, intent, None)
    session["payment_status"] = "paid"
    receipts.write(account, session, customer, intent)
    emit(account, "checkout.session.async_payment_succeeded", session)


def _set_up(account: Account, session: JSON, customer: JSON | None, method: Any, data: JSON) -> None:
    intent = setup_intent_form(account, customer["id"] if customer else None, method["id"], data["setup_intent_data"])
    session["setup_intent"] = account.store.add(intent)["id"]
    emit(account, "setup_intent.succeeded", intent)
