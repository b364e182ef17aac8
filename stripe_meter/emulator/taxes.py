"""Automatic tax: what it needs, and what it does not find out.

Owns: the states of `automatic_tax` and the check that finalising needs a customer location. Does not own: rates: no tax
registration exists here, so the tax is zero, as in a Stripe account without one (docs.stripe.com/tax).
"""

from typing import Any, Final

from stripe_meter.emulator.account import Account
from stripe_meter.emulator.errors import JSON, invalid

MISSING: Final = (
    "The customer's location isn't recognized. Set a valid customer address in order to automatically calculate tax."
)


def on(fields: JSON) -> bool:
    """Whether parameters ask for automatic tax."""
    return bool((fields.get("automatic_tax") or {}).get("enabled"))


def setting(enabled: bool) -> JSON:
    """The `automatic_tax` of a subscription."""
    return {"disabled_reason": None, "enabled": enabled, "liability": {"type": "self"} if enabled else None}


def state(enabled: bool, status: str | None) -> JSON:
    """The `automatic_tax` of an invoice."""
    provider = "stripe" if enabled else None
    return {**setting(enabled), "provider": provider, "status": status}


def check_prices(prices: list[JSON]) -> None:
    """Prices need a `tax_behavior` for automatic tax (docs.stripe.com/tax/products-prices-tax-codes-tax-behavior)."""
    for price in prices:
        if price["tax_behavior"] == "unspecified":
            message = f"The price {price['id']} has no `tax_behavior`, which automatic tax needs."
            raise invalid(message, "automatic_tax")


def check_customer(customer: JSON) -> None:
    """A customer without a location cannot be taxed automatically."""
    if not located(customer):
        raise invalid(MISSING, "automatic_tax", "customer_tax_location_invalid")


def located(customer: Any) -> bool:
    """Whether the customer's address names a country."""
    return bool((customer.get("address") or {}).get("country"))


def locate(account: Account, invoice: JSON) -> bool:
    """Whether an invoice can be taxed; writes the failure on it when it cannot."""
    if not invoice["automatic_tax"]["enabled"]:
        return True
    if located(account.store.get("customer", invoice["customer"])):
        invoice["automatic_tax"]["status"] = "complete"
        invoice["last_finalization_error"] = None
        return True
    invoice["automatic_tax"]["status"] = "requires_location_inputs"
    error = {"code": "customer_tax_location_invalid", "message": MISSING, "type": "invalid_request_error"}
    invoice.update(last_finalization_error=error, automatically_finalizes_at=None)
    return False
