"""The seller's own name, as payers know it from Stripe's pages.

Owns one read. A restricted key may not be allowed it, and a name is worth no failure.

https://docs.stripe.com/api/accounts/retrieve
"""

from __future__ import annotations

from stripe_meter.errors import ConfigurationError, StripeRejected
from stripe_meter.gateway.connection import Connection
from stripe_meter.gateway.limiter import Priority


async def merchant(connection: Connection) -> str | None:
    """The name on Checkout, or None when there is none or our key may not read it. Raises `StripeUnavailable`."""
    try:
        account = await connection.read(
            lambda client: client.v1.accounts.retrieve_current_async(), priority=Priority.STRANGER
        )
    except (StripeRejected, ConfigurationError):
        return None
    dashboard = getattr(getattr(account, "settings", None), "dashboard", None)
    profile = getattr(account, "business_profile", None)
    name = getattr(profile, "name", None) or getattr(dashboard, "display_name", None)
    return str(name) if name else None
