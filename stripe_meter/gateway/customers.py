"""Customers and their API keys.

Owns who a verified principal is in Stripe, and which API keys a customer has. Keys live in the customer's metadata as
hashes, so a key is checked by the same GET that reads the account, and revoking is one write.

Search lags by up to an hour, an idempotency key lives a day: together they cover each other.
https://docs.stripe.com/search#data-freshness · https://docs.stripe.com/api/idempotent_requests
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from stripe_meter.domain.identity import (
    METADATA_KEY,
    METADATA_PRINCIPAL,
    METADATA_WALLET_FOR,
    MOST_KEYS,
    ApiKey,
    Principal,
)
from stripe_meter.domain.minting import Mint
from stripe_meter.errors import ConfigurationError
from stripe_meter.gateway.connection import Connection, plain

if TYPE_CHECKING:
    import stripe


log = logging.getLogger("stripe_meter")

#: Metadata key of a customer that nobody uses, because an older one has the same principal.
METADATA_DUPLICATE: Final = "stripe_meter_duplicate_of"
#: How often a create that replays a deleted customer is tried under another key.
_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class StoredKey:
    """What is kept of a key beside its hash.

    Attributes:
        created: Unix seconds, 0 where nobody wrote it down.
        is_unseen: It was made for an occasion, and nobody has said yet that it was shown.
    """

    created: int
    is_unseen: bool

    @classmethod
    def read(cls, value: str) -> StoredKey:
        _, created, attempt = (*value.split(), "", "", "")[:3]
        return cls(int(created or 0), bool(attempt))


@dataclass(frozen=True, slots=True)
class Holder:
    """A customer and their live keys, by public id.

    Attributes:
        created: Unix seconds at which the customer was made.
        wallet_for: Whose credits this customer holds, `cus_…`; None for one who calls.
    """

    customer: str
    created: int
    stored: Mapping[str, StoredKey]
    wallet_for: str | None

    def has_room(self) -> None:
        """Raises `ConfigurationError` when no key fits any more."""
        if len(self.stored) >= MOST_KEYS:
            raise ConfigurationError(
                f"{self.customer} has {MOST_KEYS} API keys already; "
                f"revoke one: stripe-meter keys revoke {self.customer} <id>"
            )


def _retrieve(client: stripe.StripeClient, customer: str) -> Awaitable[stripe.Customer]:
    return client.v1.customers.retrieve_async(customer, {"expand": ["subscriptions"]})


class Customers:
    """Finds, creates and marks customers."""

    def __init__(self, connection: Connection, namespace: str, stripe_key: str) -> None:
        self._connection = connection
        self._namespace = namespace
        #: Makes API keys, and tells ours from invented ones.
        self.mint = Mint(stripe_key)

    async def of_principal(self, principal: Principal) -> stripe.Customer:
        """The customer of a verified principal, created at first sight; subscriptions expanded."""
        query = f"metadata['{METADATA_PRINCIPAL}']:'{principal.digest}'"
        found = await self._connection.read(
            lambda client: client.v1.customers.search_async(
                {"query": query, "limit": 100, "expand": ["data.subscriptions"]}
            )
        )
        if found.data:
            oldest, *newer = sorted(found.data, key=lambda customer: (customer.created, customer.id))
            for other in newer:
                await self._mark_duplicate(other, oldest.id)
            return oldest
        for attempt in range(_TRIES):
            made = await self._create(principal, attempt)
            response = made.last_response
            if response is None or response.headers.get("Idempotent-Replayed") != "true":
                break
            # A replay shows the customer as it was born; since then the seller may have deleted it.
            made = await self._connection.read(
                partial(_retrieve, customer=made.id),
            )
            if not getattr(made, "deleted", False):
                break
        return made

    async def _mark_duplicate(self, customer: stripe.Customer, oldest: str) -> None:
        """Two for one principal: the oldest wins for ever; what was billed to the other stays there."""
        if METADATA_DUPLICATE in plain(customer.metadata):
            return
        log.warning("%s is a second customer of the principal of %s; it is not used any more", customer.id, oldest)
        await self._connection.write(
            lambda client, options: client.v1.customers.update_async(
                customer.id, {"metadata": {METADATA_DUPLICATE: oldest}}, options
            )
        )

    async def _create(self, principal: Principal, attempt: int) -> stripe.Customer:
        key = f"customer:{self._namespace}:{principal.digest}"
        return await self._connection.write(
            lambda client, options: client.v1.customers.create_async(
                {
                    "description": "Caller of an MCP server, known by their access token",
                    "metadata": {METADATA_PRINCIPAL: principal.digest, "stripe_meter": self._namespace},
                    "expand": ["subscriptions"],
                },
                options,
            ),
            key=f"{key}:{attempt}" if attempt else key,
        )

    async def issue_key(self, customer: str, *, created: int = 0) -> ApiKey:
        """Make and store a new API key for `customer`.

        Args:
            customer: `cus_…`.
            created: Unix seconds, kept beside the hash for `keys list`.

        Raises:
            ConfigurationError: The customer has as many keys as we keep, or only holds somebody's credits.
        """
        holder = await self.holder(customer)
        holder.has_room()
        if holder.wallet_for is not None:
            raise ConfigurationError(
                f"{customer} only holds the credits of {holder.wallet_for}; "
                f"make the key for them: stripe-meter keys create {holder.wallet_for}"
            )
        key = self.mint.new(customer)
        await self._connection.write(
            lambda client, options: client.v1.customers.update_async(
                customer, {"metadata": {key.metadata_key: f"{key.hash} {created}"}}, options
            ),
        )
        return key

    async def keys(self, customer: str) -> dict[str, int]:
        """Live API keys of `customer`: public id → when it was made (Unix seconds)."""
        return {key: stored.created for key, stored in (await self.holder(customer)).stored.items()}

    async def holder(self, customer: str) -> Holder:
        """What Stripe keeps of a customer's keys now. Raises `ConfigurationError` when they were deleted."""
        found = await self._connection.read(lambda client: client.v1.customers.retrieve_async(customer))
        if getattr(found, "deleted", False):
            raise ConfigurationError(f"{customer} was deleted in this Stripe account; name a customer that exists")
        metadata = plain(found.metadata)
        stored = {
            name.removeprefix(METADATA_KEY): StoredKey.read(value)
            for name, value in metadata.items()
            if name.startswith(METADATA_KEY)
        }
        return Holder(customer, found.created, stored, metadata.get(METADATA_WALLET_FOR))

    async def revoke_key(self, customer: str, key_id: str) -> bool:
        """Drop one key; False when there is none of that id."""
        if key_id not in await self.keys(customer):
            return False
        await self._connection.write(
            lambda client, options: client.v1.customers.update_async(
                customer, {"metadata": {METADATA_KEY + key_id: ""}}, options
            )
        )
        return True
