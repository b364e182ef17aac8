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
    """Behaviour of a test card: the decline when first used, when charged later, and 3-D Secure, once or always."""

    brand: str = "visa"
    first_decline: str | None = None
    later_decline: str | None = None
    authenticate: bool = False
    every_time: bool = False


CARDS: Final = {
    "4242424242424242": Card(),
    "5555555555554444": Card(brand="mastercard"),
    "4000000000000002": Card(first_decline="generic_decline", later_decline="generic_decline"),
    "4000000000009995": Card(first_decline="insufficient_funds", later_decline="insufficient_funds"),
    "4000000000000341": Card(later_decline="generic_decline"),
    "4000002500003155": Card(authenticate=True),
    "4000002760003184": Card(authenticate=True, every_time=True),
}
TOKENS: Final = {
    "pm_card_visa": "4242424242424242",
    "pm_card_mastercard": "5555555555554444",
    "pm_card_visa_chargeDeclined": "4000000000000002",
    "pm_card_visa_chargeDeclinedInsufficientFunds": "4000000000009995",
    "pm_card_chargeCustomerFail": "4000000000000341",
    "pm_card_authenticationRequired": "4000002760003184",
    "pm_card_authenticationRequiredOnSetup": "4000002500003155",
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


def charge(account: Account, payment_method: str | None) -> None:
    """Take a payment with a stored card; raises the 402 that Stripe would answer."""
    if payment_method is None:
        message = "This customer has no attached payment source or default payment method."
        raise ApiError(400, message, code="resource_missing")
    decline(CARDS[account.cards[payment_method]].later_decline)


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
