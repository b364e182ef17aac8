"""Customers who sign up for free calls: known by an API key, without card or subscription.

Owns making one of them once for each sign-up.
"""

from __future__ import annotations

from stripe_meter.domain.identity import ApiKey
from stripe_meter.errors import IdempotencyConflict
from stripe_meter.gateway.connection import Connection
from stripe_meter.gateway.customers import Customers
from stripe_meter.gateway.limiter import Priority

#: Metadata key of a customer who signed up for free calls.
METADATA_SIGNUP = "stripe_meter_signup"


async def sign_up(connection: Connection, customers: Customers, namespace: str, occasion: str) -> ApiKey | None:
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
    try:
        return await customers.issue_key(made.id, once=f"signup:{occasion}", created=int(connection.clock.now()))
    except IdempotencyConflict:
        return None
