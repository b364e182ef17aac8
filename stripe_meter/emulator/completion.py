"""Completing a Checkout session: what happens in the account when somebody pays on the hosted page.

Owns: customer, card, subscription, payment and invoice that come out of a session. Does not own: the page. Nothing is
stored when the card refuses: the 402 reaches the page, the session stays open.
"""

from decimal import Decimal
from typing import Any

from stripe_meter.emulator import invoicing
from stripe_meter.emulator.account import Account
from stripe_meter.emulator.billing import Priced
from stripe_meter.emulator.cards import CARDS, card_of, charge, decline, new_payment_method
from stripe_meter.emulator.checkout_form import payment_intent_form, setup_intent_form
from stripe_meter.emulator.errors import JSON, invalid
from stripe_meter.emulator.events import emit
from stripe_meter.emulator.invoice_form import invoice_form, line_form
from stripe_meter.emulator.resources.customers import new_customer
from stripe_meter.emulator.resources.subscriptions import subscribe
from stripe_meter.emulator.subscription_form import check_items


def complete(account: Account, session: JSON, number: str, email: str | None) -> str:
    """Pay a session with a card; returns the address to go to. Raises the card's 402 or a 400 when it is not open."""
    if session["status"] != "open":
        raise invalid("This Checkout Session is no longer open.")
    decline(card_of(number).first_decline)
    data: Any = account.checkout_data[session["id"]]
    known = account.store.find("customer", session["customer"])
    if session["amount_total"]:
        decline(CARDS[number.replace(" ", "").replace("-", "")].later_decline)
    if known is not None and session["mode"] == "subscription":
        check_items(account, data["items"], known, session["currency"])
    email = email or session["customer_email"] or (known or {}).get("email")
    customer = known if known is not None else _customer(account, session, email)
    method = new_payment_method(account, number, customer["id"] if customer else None, email)
    finish = {"subscription": _subscribe, "payment": _pay, "setup": _set_up}[session["mode"]]
    finish(account, session, customer, method, data)
    session.update(status="complete", url=None, customer=customer["id"] if customer else None)
    session["customer_details"] = _details(customer, email)
    account.checkout_data.pop(session["id"])
    emit(account, "checkout.session.completed", session)
    return str(session["success_url"]).replace("{CHECKOUT_SESSION_ID}", session["id"])


def _customer(account: Account, session: JSON, email: str | None) -> JSON | None:
    """A new customer, or None for the guest of a payment that asked for none."""
    if session["mode"] == "setup" or session["customer_creation"] == "if_required":
        return None
    return new_customer(account, {"email": email})


def _details(customer: JSON | None, email: str | None) -> JSON:
    name = customer["name"] if customer else None
    details: JSON = dict.fromkeys(("address", "business_name", "individual_name", "phone"))
    return {**details, "email": email, "name": name, "tax_exempt": "none", "tax_ids": []}


def _subscribe(account: Account, session: JSON, customer: Any, method: JSON, data: JSON) -> None:
    fields = {**data["subscription_data"], "default_payment_method": method["id"], "currency": session["currency"]}
    subscription = subscribe(account, customer, data["items"], fields)
    session.update(subscription=subscription["id"], invoice=subscription["latest_invoice"])
    # Stripe calls a first invoice of zero "no payment required".
    session["payment_status"] = "paid" if session["amount_total"] else "no_payment_required"


def _pay(account: Account, session: JSON, customer: JSON | None, method: JSON, data: JSON) -> None:
    charge(account, method["id"])
    extra = data["payment_intent_data"]
    owner = customer["id"] if customer else None
    intent = payment_intent_form(account, session["amount_total"], session["currency"], owner, method["id"], extra)
    account.store.add(intent)
    session.update(
        payment_intent=intent["id"], payment_status="paid" if session["amount_total"] else "no_payment_required"
    )
    if customer is not None:
        if not extra.get("setup_future_usage"):
            method["customer"] = None
        if session["invoice_creation"]["enabled"]:
            session["invoice"] = _receipt(account, session, customer)["id"]


def _receipt(account: Account, session: JSON, customer: JSON) -> JSON:
    """The paid invoice of `invoice_creation`; the customer's balance is not applied to it."""
    customer["currency"] = customer["currency"] or session["currency"]
    invoice = invoice_form(account, None, customer, account.ids.new("in"), "manual")
    invoice["currency"] = session["currency"]
    invoice["metadata"] = dict(session["invoice_creation"]["invoice_data"]["metadata"] or {})
    for number, row in enumerate(session["line_items"], start=1):
        price = account.store.get("price", row["price"])
        spec = {"item": {"metadata": {}}, "start": account.now(), "end": account.now(), "proration": False}
        unit = Decimal(row["amount_total"]) / (row["quantity"] or 1)
        part = Priced(Decimal(row["quantity"]), unit, row["amount_total"])
        id = f"il_{invoice['id'].partition('_')[2]}_{number}"
        invoice["lines"]["data"].append(line_form(account, invoice, spec, price, part, id))
    account.store.add(invoice)
    emit(account, "invoice.created", invoice)
    invoicing.close_paid(account, invoice)
    return invoice


def _set_up(account: Account, session: JSON, customer: JSON | None, method: JSON, data: JSON) -> None:
    intent = setup_intent_form(account, customer["id"] if customer else None, method["id"], data["setup_intent_data"])
    session["setup_intent"] = account.store.add(intent)["id"]
