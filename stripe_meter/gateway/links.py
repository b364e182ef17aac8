"""Payment Links: one lasting address for each credit pack, for a website or an e-mail.

Owns finding a pack's link again by its metadata, so that it is not made twice, and what its payments say they were for.
Stripe offers no links for metered prices. Whoever follows a link may say for whom (`?client_reference_id=cus_…`).

https://docs.stripe.com/payment-links/api
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from stripe_meter.errors import ConfigurationError
from stripe_meter.gateway.checkout import METADATA_UNITS
from stripe_meter.gateway.connection import Connection, plain
from stripe_meter.gateway.limiter import Priority

if TYPE_CHECKING:
    import stripe

#: Metadata key of a link and of its payments: which pack it sells.
METADATA_LINK: Final = "stripe_meter_link"
_METADATA_TERMS: Final = "stripe_meter_link_terms"
#: Our page that payers are led to, below the base of our pages; Stripe puts the session's id in.
SUCCESS: Final = "success?session_id={CHECKOUT_SESSION_ID}"


@dataclass(frozen=True, slots=True)
class SoldPack:
    """A pack as Stripe sells it: its key, its price (`price_…`), and how many ledger units it holds."""

    key: str
    price: str
    units: int


class PaymentLinks:
    """Makes the links of packs, and finds them again."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        self._connection = connection
        self._namespace = namespace

    async def on_sale(self, pack: str) -> SoldPack:
        """The pack of that key, by the catalogue in Stripe.

        Raises:
            ConfigurationError: It is not there.
        """
        name = f"{self._namespace}:pack:{pack}"
        listed = await self._connection.read(
            lambda client: client.v1.prices.list_async({"lookup_keys": [name], "active": True, "limit": 1}),
            Priority.CATALOGUE,
        )
        if not listed.data:
            raise ConfigurationError(
                f"no credit pack {pack!r} of namespace {self._namespace!r} is on sale in this Stripe account; "
                "create the catalogue first: stripe-meter apply server.py"
            )
        price = listed.data[0]
        marks = plain(price.metadata)
        return SoldPack(pack, price.id, int(marks.get("credits", 0)) * int(marks.get("scale", 1)))

    async def of(self, pack: SoldPack, success_url: str | None) -> str:
        """The link that sells a pack, made now if there is none.

        Args:
            success_url: Where payers are led to; Stripe's own page of thanks unless given.
        """
        params = self._params(pack, success_url)
        terms = hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()[:16]
        if known := await self._find(pack.key, terms):
            return known
        params["metadata"][_METADATA_TERMS] = terms
        made = await self._connection.write(
            lambda client, options: client.v1.payment_links.create_async(params, options),
            key=f"link:{self._namespace}:{pack.key}:{terms}",
            priority=Priority.PURCHASE,
        )
        return str(made.url)

    async def _find(self, pack: str, terms: str) -> str | None:
        after: dict[str, Any] = {}
        while True:
            listed = await self._connection.read(_listing({"active": True, "limit": 100, **after}), Priority.PURCHASE)
            for row in listed.data:
                marks = plain(row.metadata)
                is_ours = marks.get("stripe_meter") == self._namespace
                if is_ours and marks.get(METADATA_LINK) == pack and marks.get(_METADATA_TERMS) == terms:
                    return str(row.url)
            if not listed.has_more:
                return None
            after = {"starting_after": listed.data[-1].id}

    def _params(self, pack: SoldPack, success_url: str | None) -> dict[str, Any]:
        marks = {"stripe_meter": self._namespace, METADATA_LINK: pack.key}
        params: dict[str, Any] = {
            "line_items": [{"price": pack.price, "quantity": 1}],
            "metadata": marks,
            "payment_intent_data": {"metadata": {**marks, METADATA_UNITS: str(pack.units)}},
            # Credits need somebody to belong to.
            "customer_creation": "always",
            "invoice_creation": {"enabled": True},
        }
        if success_url is not None:
            params["after_completion"] = {"type": "redirect", "redirect": {"url": success_url}}
        return params


def _listing(params: Any) -> Any:
    def request(client: stripe.StripeClient) -> Any:
        return client.v1.payment_links.list_async(params)

    return request
