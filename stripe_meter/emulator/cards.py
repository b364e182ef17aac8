"""Test cards and the payment methods made of them.

Owns: which test card does what (docs.stripe.com/testing), payment methods, and charging one. Does not own: invoices
or Checkout. A number that is not a test card is refused as Stripe's test mode refuses real cards.
"""

from dataclasses import dataclass
from typing import Final

from stripe_meter.emulator.account import Account
from stripe_meter.emulator.errors import JSON, ApiError, card_error


@dataclass(frozen=True, slots=True)
class Card:
    """Behaviour of a test card: declines at first or later use, 3-D Secure once or always, a dispute, refunds."""

    brand: str = "visa"
    first_decline: str | None = None
    later_decline: str | None = None
    authenticate: bool = False
    every_time: bool = False
    dispute: str | None = None
    refund_fails: bool = False


CARDS: Final = {
    "4242424242424242": Card(),
    "5555555555554444": Card(brand="mastercard"),
    "4000000000000002": Card(first_decline="generic_decline", later_decline="generic_decline"),
    "4000000000009995": Card(first_decline="insufficient_funds", later_decline="insufficient_funds"),
    "4000000000000341": Card(later_decline="generic_decline"),
    "4000002500003155": Card(authenticate=True),
    "4000002760003184": Card(authenticate=True, every_time=True),
    "4000000000000259": Card(dispute="fraudulent"),
    "4000000000002685": Card(dispute="product_not_received"),
    "4000000000005126": Card(refund_fails=True),
}
TOKENS: Final = {
    "pm_card_visa": "4242424242424242",
    "pm_card_mastercard": "5555555555554444",
    "pm_card_visa_chargeDeclined": "4000000000000002",
    "pm_card_visa_chargeDeclinedInsufficientFunds": "4000000000009995",
    "pm_card_chargeCustomerFail": "4000000000000341",
    "pm_card_authenticationRequired": "4000002760003184",
    "pm_card_authenticationRequiredOnSetup": "4000002500003155",
    "pm_card_createDispute": "4000000000000259",
    "pm_card_createDisputeProductNotReceived": "4000000000002685",
    "pm_card_refundFail": "4000000000005126",
}
# Bank accounts for debits that settle later (docs.stripe.com/payments/ach-direct-debit, test account numbers).
BANK_ACCOUNTS: Final = {
    "000123456789": None,
    "000111111113": "account_closed",
    "000111111116": "no_account",
    "000222222227": "insufficient_funds",
    "000333333335": "debit_not_authorized",
}
MESSAGES: Final = {
    "generic_decline": "Your card was declined.",
    "insufficient_funds": "Your card has insufficient funds.",
}


def card_of(number: str) -> Card:
    """The behaviour of a card number; raises a 402 for numbers that are not test cards."""
    digits = number.replace(" ", "").replace("-", "")
    if digits not in CARDS:
        raise card_error("Your card was declined: in test mode only test card numbers work.", "incorrect_number")
    return CARDS[digits]


def decline(reason: str | None) -> None:
    """Raise the 402 of a decline reason, if there is one."""
    if reason is not None:
        raise card_error(MESSAGES[reason], "card_declined", reason)


def new_payment_method(account: Account, number: str, customer: str | None, email: str | None = None) -> JSON:
    """A stored card payment method; raises a 402 if the card declines its first use."""
    digits = number.replace(" ", "").replace("-", "")
    card = card_of(digits)
    decline(card.first_decline)
    row: JSON = {
        "id": account.ids.new("pm"),
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": {
            "address": {
                "city": None,
                "country": None,
                "line1": None,
                "line2": None,
                "postal_code": None,
                "state": None,
            },
            "email": email,
            "name": None,
            "phone": None,
            "tax_id": None,
        },
        "card": _card_details(card.brand, digits[-4:]),
        "created": account.now(),
        "customer": customer,
        "customer_account": None,
        "livemode": False,
        "metadata": {},
        "type": "card",
    }
    account.cards[row["id"]] = digits
    return account.store.add(row)


def new_bank_account(account: Account, number: str, customer: str | None, email: str | None) -> JSON:
    """A US bank account for a debit; raises a 402 for a number that is not a test account."""
    digits = number.replace(" ", "")
    if digits not in BANK_ACCOUNTS:
        raise card_error("In test mode only test account numbers work.", "bank_account_unusable")
    row = new_payment_method(account, "4242424242424242", customer, email)
    details: JSON = {
        "account_holder_type": "individual",
        "account_type": "checking",
        "bank_name": "STRIPE TEST BANK",
        "financial_connections_account": None,
        "fingerprint": f"emulated{digits[-4:]}",
        "last4": digits[-4:],
        "networks": {"preferred": "ach", "supported": ["ach"]},
        "routing_number": "110000000",
        "status_details": {},
    }
    del row["card"]
    row.update(type="us_bank_account", us_bank_account=details)
    account.cards[row["id"]] = digits
    return row


def charge(account: Account, payment_method: str | None, *, off_session: bool = False) -> None:
    """Take a payment with a stored card; raises the 402 that Stripe would answer."""
    if payment_method is None:
        message = "This customer has no attached payment source or default payment method."
        raise ApiError(400, message, code="resource_missing")
    card = card_behind(account, payment_method)
    if card.every_time and off_session:
        message = "Your card was declined. This transaction requires authentication."
        raise card_error(message, "authentication_required", "authentication_required")
    decline(card.later_decline)


def card_behind(account: Account, payment_method: str) -> Card:
    """The test card that a stored payment method stands for; a bank account behaves like a good card."""
    return CARDS.get(account.cards.get(payment_method, ""), Card())


def card_for(account: Account, subscription: JSON | None, customer_id: str) -> str | None:
    """The payment method to charge: the subscription's, else the customer's."""
    if subscription is not None and subscription["default_payment_method"]:
        return str(subscription["default_payment_method"])
    customer: JSON = account.store.get("customer", customer_id)
    method: str | None = customer["invoice_settings"]["default_payment_method"]
    return method


def _card_details(brand: str, last4: str) -> JSON:
    return {
        "brand": brand,
        "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
        "country": "US",
        "display_brand": brand,
        "exp_month": 12,
        "exp_year": 2040,
        "fingerprint": f"emulated{last4}",
        "funding": "credit",
        "generated_from": None,
        "last4": last4,
        "networks": {"available": [brand], "preferred": None},
        "regulated_status": "unregulated",
        "three_d_secure_usage": {"supported": True},
        "wallet": None,
    }
