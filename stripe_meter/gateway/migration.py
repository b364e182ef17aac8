"""Writing to subscriptions what a migration found: items that are lacking, prices that are not in force any more.

Owns how prorations are asked for. Usage before a metered item's change is billed at the price it happened under, so its
prorations are never switched off, which would give the usage away; a fee changes with the next period.

https://docs.stripe.com/billing/subscriptions/prorations
"""

from __future__ import annotations

from typing import Any

from stripe_meter.domain.migration import METADATA_SINCE, Step
from stripe_meter.gateway.accounts import Accounts
from stripe_meter.gateway.connection import Connection


class Migration:
    """Carries out the steps of a migration; each may be repeated."""

    def __init__(self, connection: Connection, accounts: Accounts) -> None:
        self._connection, self._accounts = connection, accounts

    async def carry_out(self, step: Step) -> None:
        """Add an item, or move one to another price. Raises `StripeFault`."""
        item = step.item
        if item is None:
            await self._accounts.add_item(step.subscriber.id, step.price)
            return
        params: dict[str, Any] = {
            "price": step.price,
            "proration_behavior": "create_prorations" if step.metered else "none",
        }
        if step.metered:
            # Its tiers begin anew now, in the middle of a period; summaries begin with a minute, and the rest of this
            # one is not counted against the customer.
            params["metadata"] = {METADATA_SINCE: str(-(-int(self._connection.clock.now()) // 60) * 60)}
        await self._connection.write(
            lambda client, options: client.v1.subscription_items.update_async(item, params, options)
        )
