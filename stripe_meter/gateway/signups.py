"""Customers who sign up for free calls: known by an API key, without card or subscription.

Owns making one of them once for each sign-up.
"""

from __future__ import annotations

from typing import Final

from stripe_meter.gateway.connection import Connection
from stripe_meter.gateway.issuing import Issued, Issuing, Occasion
from stripe_meter.gateway.limiter import Priority

#: Metadata key of a customer who signed up for free calls.
METADATA_SIGNUP: Final = "stripe_meter_signup"
#: Seconds for which a form that was sent again finds its key, if nobody has seen it.
_LASTS: Final = 23 * 3600


async def sign_up(connection: Connection, issuing: Issuing, namespace: str, occasion: str) -> Issued | None:
    """A new customer with an API key; None when this sign-up has shown its key before.

    Args:
        occasion: Name of the sign-up; sending the same form again makes no second customer.
    """
    made = await connection.write(
        lambda client, options: client.v1.customers.create_async(
            {
                "description": "Signed up for free calls of an MCP server",
                "metadata": {"stripe_meter": namespace, METADATA_SIGNUP: "free"},
            },
            options,
        ),
        key=f"signup:{occasion}",
        priority=Priority.STRANGER,
    )
    return await issuing.issue(made.id, Occasion(f"signup:{occasion}", occasion, made.created, _LASTS))
