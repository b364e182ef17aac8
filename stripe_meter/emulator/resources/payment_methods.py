"""Payment methods: just enough to give a customer a card and to look at it.

Owns: attaching Stripe's test tokens (`pm_card_visa` …), listing and detaching. Does not own:
charging (`cards`). Attaching a card that declines is a 402, as on Stripe.
"""

from typing import Final

from stripe_meter.emulator.account import Account
from stripe_meter.emulator.cards import TOKENS, new_payment_method
from stripe_meter.emulator.errors import JSON, invalid, missing
from stripe_meter.emulator.listing import page
from stripe_meter.emulator.resources.customers import existing
from stripe_meter.emulator.routing import PAGING, Operation


def _attach(account: Account, params: JSON, id: str) -> JSON:
    if "customer" not in params:
        raise invalid("Missing required param: customer.", "customer", "parameter_missing")
    customer = existing(account, params["customer"])["id"]
    if id in TOKENS:
        return new_payment_method(account, TOKENS[id], customer)
    method = account.store.get("payment_method", id)
    if method["customer"] not in (None, customer):
        raise invalid("The payment method is attached to another customer.", "customer")
    method["customer"] = customer
    return method


def _detach(account: Account, params: JSON, id: str) -> JSON:
    method = account.store.get("payment_method", id)
    if method["customer"] is None:
        raise invalid("The payment method is not attached to a customer.")
    settings = account.store.get("customer", method["customer"])["invoice_settings"]
    if settings["default_payment_method"] == id:
        settings["default_payment_method"] = None
    for subscription in account.store.all("subscription"):
        if subscription["default_payment_method"] == id:
            subscription["default_payment_method"] = None
    method["customer"] = None
    return method


def _retrieve(account: Account, params: JSON, id: str) -> JSON:
    return account.store.get("payment_method", id)


def _of_customer(account: Account, params: JSON, customer: str) -> JSON:
    existing(account, customer)
    rows = [row for row in account.store.newest("payment_method") if row["customer"] == customer]
    return page(rows, params, f"/v1/customers/{customer}/payment_methods")


def _one_of_customer(account: Account, params: JSON, customer: str, id: str) -> JSON:
    method = account.store.get("payment_method", id)
    if method["customer"] != customer:
        raise missing("PaymentMethod", id)
    return method


KEY: Final = "payment_method"
ROOT: Final = "/v1/payment_methods/{id}"
OF: Final = "/v1/customers/{customer}/payment_methods"
OPERATIONS: Final = (
    Operation("GET", ROOT, "PaymentMethodRetrieveParams", _retrieve, KEY),
    Operation("POST", ROOT + "/attach", "PaymentMethodAttachParams", _attach, KEY, "customer"),
    Operation("POST", ROOT + "/detach", "PaymentMethodDetachParams", _detach, KEY),
    Operation("GET", OF, "CustomerPaymentMethodListParams", _of_customer, KEY, f"type {PAGING}"),
    Operation("GET", OF + "/{id}", "CustomerPaymentMethodRetrieveParams", _one_of_customer, KEY),
)
