"""The customer portal: where a customer changes their card, sees invoices and cancels.

Owns our own configuration of it. The account's default one may let customers cancel at once, which would give their
unbilled usage away; in ours a subscription ends with its period. Found again by its metadata, so it is made once.

https://docs.stripe.com/api/customer_portal/configurations
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from stripe_meter.gateway.connection import Connection, plain
from stripe_meter.gateway.limiter import Priority

if TYPE_CHECKING:
    import stripe

Flow: TypeAlias = Literal["payment_method_update", "subscription_cancel"]

#: Metadata key of our configuration: which features it was made with.
METADATA_FEATURES: Final = "stripe_meter_portal"
#: A link asked for twice within so many seconds is the same one.
_SAME_FOR: Final = 60

_FEATURES: Final[dict[str, Any]] = {
    "customer_update": {"enabled": True, "allowed_updates": ["email", "name", "address", "tax_id"]},
    "invoice_history": {"enabled": True},
    "payment_method_update": {"enabled": True},
    "subscription_cancel": {"enabled": True, "mode": "at_period_end"},
    # Stripe cannot change a subscription with metered prices there; our own page does.
    "subscription_update": {"enabled": False},
}
_DIGEST: Final = hashlib.sha256(json.dumps(_FEATURES, sort_keys=True).encode()).hexdigest()[:16]


class Portal:
    """Opens the portal for one customer at a time."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        self._connection = connection
        self._namespace = namespace
        self._configuration: str | None = None

    async def open(
        self, customer: str, return_url: str, flow: Flow | None = None, subscription: str | None = None
    ) -> str:
        """A link for `customer` (`cus_…`), good for some minutes.

        Args:
            return_url: Where the portal leads back to.
            flow: The one thing to be done; the whole portal unless given.
            subscription: `sub_…` that the flow `subscription_cancel` is about.
        """
        params: dict[str, Any] = {
            "customer": customer,
            "return_url": return_url,
            "configuration": await self.configuration(),
        }
        if flow is not None:
            data: dict[str, Any] = {
                "type": flow,
                "after_completion": {"type": "redirect", "redirect": {"return_url": return_url}},
            }
            if flow == "subscription_cancel":
                data["subscription_cancel"] = {"subscription": subscription}
            params["flow_data"] = data
        digest = hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()[:16]
        slot = int(self._connection.clock.now()) // _SAME_FOR
        made = await self._connection.write(
            lambda client, options: client.v1.billing_portal.sessions.create_async(params, options),
            key=f"portal:{customer}:{digest}:{slot}",
            priority=Priority.PURCHASE,
        )
        return str(made.url)

    async def configuration(self) -> str:
        """Our configuration (`bpc_…`): looked up once in each process, made if there is none."""
        if self._configuration is None:
            self._configuration = await self._find() or await self._make()
        return self._configuration

    async def _find(self) -> str | None:
        after: dict[str, Any] = {}
        while True:
            listed = await self._connection.read(_listing({"active": True, "limit": 100, **after}), Priority.PURCHASE)
            for row in listed.data:
                marks = plain(row.metadata)
                if marks.get("stripe_meter") == self._namespace and marks.get(METADATA_FEATURES) == _DIGEST:
                    return str(row.id)
            if not listed.has_more:
                return None
            after = {"starting_after": listed.data[-1].id}

    async def _make(self) -> str:
        made = await self._connection.write(
            lambda client, options: client.v1.billing_portal.configurations.create_async(
                {
                    "features": _FEATURES,
                    "name": f"stripe-meter {self._namespace}",
                    "metadata": {"stripe_meter": self._namespace, METADATA_FEATURES: _DIGEST},
                },
                options,
            ),
            key=f"portal-configuration:{self._namespace}:{_DIGEST}",
            priority=Priority.PURCHASE,
        )
        return str(made.id)


def _listing(params: Any) -> Any:
    def request(client: stripe.StripeClient) -> Any:
        return client.v1.billing_portal.configurations.list_async(params)

    return request
