"""Payment Links: one lasting address for each credit pack, for a website or an e-mail.

Owns finding a pack's link again by its metadata, so that it is not made twice; closing those of an old price, for a
link goes on selling at the price it was made with; and what its payments say they were for.
Stripe offers no links for metered prices. Whoever follows a link may say for whom (`?client_reference_id=cus_…`).

https://docs.stripe.com/payment-links/api
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from stripe_meter.errors import ConfigurationError
from stripe_meter.gateway.checkout import METADATA_UNITS
from stripe_meter.gateway.connection import Connection, plain
from stripe_meter.gateway.limiter import Priority

if TYPE_CHECKING:
    from collections.abc import Awaitable

    import stripe

#: Metadata key of a link and of its payments: which pack it sells.
METADATA_LINK: Final = "stripe_meter_link"
_METADATA_TERMS: Final = "stripe_meter_link_terms"
_METADATA_PRICE: Final = "stripe_meter_link_price"
#: What followers of a closed link read.
_CLOSED: Final = "The price of these credits has changed. Ask the seller for the new link."
#: How often a create that replays a link that was switched off is tried under another key.
_TRIES: Final = 5
#: Our page that payers are led to, below the base of our pages; Stripe puts the session's id in.
SUCCESS: Final = "success?session_id={CHECKOUT_SESSION_ID}"


@dataclass(frozen=True, slots=True)
class SoldPack:
    """A pack as Stripe sells it: its key, its price (`price_…`), and how many ledger units it holds."""

    key: str
    price: str
    units: int


@dataclass(frozen=True, slots=True)
class PaymentLink:
    """A link that sells a pack, and those (`plink_…`) that were closed because they sold it at another price."""

    url: str
    closed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Open:
    """A link of ours that can be followed; what its metadata says."""

    id: str
    url: str
    namespace: str
    pack: str
    price: str | None
    terms: str | None


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
        held = [marks.get("credits", ""), marks.get("scale", "1")]
        if not all(number.isdecimal() and int(number) for number in held):
            raise ConfigurationError(
                f"{price.id} is sold as credit pack {pack!r}, but its metadata does not say how many credits it holds; "
                "look at it with `stripe-meter plan server.py`"
            )
        return SoldPack(pack, price.id, int(held[0]) * int(held[1]))

    async def of(self, pack: SoldPack, success_url: str | None) -> PaymentLink:
        """The link that sells a pack at the price in force, made now if there is none; links at another one are closed.

        Args:
            success_url: Where payers are led to; Stripe's own page of thanks unless given.
        """
        found = await self._open(pack.key)
        if any(link.price != pack.price for link in found):
            # The catalogue that this process read may be the older one.
            pack = await self.on_sale(pack.key)
        params = self._params(pack, success_url)
        terms = hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()[:16]
        url = next((link.url for link in found if link.terms == terms), None)
        if url is None:
            params["metadata"][_METADATA_TERMS] = terms
            url = await self._make(params, f"link:{self._namespace}:{pack.key}:{terms}")
        old = tuple(link.id for link in found if link.price != pack.price)
        for id in old:
            await _close(self._connection, id)
        return PaymentLink(url, old)

    async def _make(self, params: dict[str, Any], key: str) -> str:
        """A link, one however many processes make it at once; not one that somebody has switched off since."""
        for attempt in range(_TRIES):
            made = await self._connection.write(
                lambda client, options: client.v1.payment_links.create_async(params, options),
                key=f"{key}:{attempt}" if attempt else key,
                priority=Priority.PURCHASE,
            )
            response = made.last_response
            if response is None or response.headers.get("Idempotent-Replayed") != "true":
                break
            # A replay shows the link as it was born.
            now = await self._connection.read(partial(_retrieve, id=made.id), Priority.PURCHASE)
            if now.active:
                break
        return str(made.url)

    async def _open(self, pack: str) -> list[_Open]:
        """Our active links of a pack."""
        links = await _active(self._connection)
        return [link for link in links if link.namespace == self._namespace and link.pack == pack]

    def _params(self, pack: SoldPack, success_url: str | None) -> dict[str, Any]:
        marks = {"stripe_meter": self._namespace, METADATA_LINK: pack.key}
        params: dict[str, Any] = {
            "line_items": [{"price": pack.price, "quantity": 1}],
            "metadata": {**marks, _METADATA_PRICE: pack.price},
            "payment_intent_data": {"metadata": {**marks, METADATA_UNITS: str(pack.units)}},
            # Credits need somebody to belong to.
            "customer_creation": "always",
            "invoice_creation": {"enabled": True},
        }
        if success_url is not None:
            params["after_completion"] = {"type": "redirect", "redirect": {"url": success_url}}
        return params


async def close_links(connection: Connection, price: str) -> list[str]:
    """Close our links that sell at `price` (`price_…`), which is in force no more; returns their ids (`plink_…`)."""
    old = [link.id for link in await _active(connection) if link.price == price]
    for id in old:
        await _close(connection, id)
    return old


def _retrieve(client: stripe.StripeClient, id: str) -> Awaitable[stripe.PaymentLink]:
    return client.v1.payment_links.retrieve_async(id)


async def _close(connection: Connection, link: str) -> None:
    await connection.write(
        lambda client, options: client.v1.payment_links.update_async(
            link, {"active": False, "inactive_message": _CLOSED}, options
        ),
        priority=Priority.PURCHASE,
    )


async def _active(connection: Connection) -> list[_Open]:
    found: list[_Open] = []
    after: dict[str, Any] = {}
    while True:
        listed = await connection.read(_listing({"active": True, "limit": 100, **after}), Priority.PURCHASE)
        for row in listed.data:
            marks = plain(row.metadata)
            if METADATA_LINK in marks and "stripe_meter" in marks:
                names = (marks["stripe_meter"], marks[METADATA_LINK], marks.get(_METADATA_PRICE))
                found.append(_Open(row.id, str(row.url), *names, marks.get(_METADATA_TERMS)))
        if not listed.has_more:
            return found
        after = {"starting_after": listed.data[-1].id}


def _listing(params: Any) -> Any:
    def request(client: stripe.StripeClient) -> Any:
        return client.v1.payment_links.list_async(params)

    return request
