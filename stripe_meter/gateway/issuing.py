"""API keys that are shown once, on an occasion: a purchase, a sign-up.

Owns that an answer that was lost ends in no key that nobody knows. The key of an occasion is the same however often it
is made, and is marked as shown afterwards; until then whoever has the occasion's secret gets it again. The first of
several at once gets it, by the idempotency key, which lives a day: so long nobody gets a key that was revoked since.

https://docs.stripe.com/api/idempotent_requests
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Final

from stripe_meter.domain.identity import ApiKey
from stripe_meter.errors import IdempotencyConflict, StripeMeterError
from stripe_meter.gateway.connection import Connection
from stripe_meter.gateway.customers import Customers

log = logging.getLogger("stripe_meter")

#: Seconds after which a key that is not marked as shown was not: whoever made it has given up.
SETTLED: Final = 60
#: Attempts without an answer that are remembered.
_MOST: Final = 1000


class TooLate(StripeMeterError):
    """The key of this occasion is not shown any more."""

    def __init__(self) -> None:
        super().__init__("the key of this occasion is not shown any more")


@dataclass(frozen=True, slots=True)
class Occasion:
    """Why somebody gets a key.

    Attributes:
        name: The same in every process; others may know it.
        secret: Known to who gets the key alone.
        since: Unix seconds at which it began; a customer who is made by it later begins it anew.
        lasts: Seconds for which the key is shown; less than an idempotency key lives.
    """

    name: str
    secret: str = field(repr=False)
    since: int
    lasts: int


@dataclass(frozen=True, slots=True)
class Issued:
    """A key to be shown, and when it was made (Unix seconds)."""

    key: ApiKey
    created: int


class Issuing:
    """Makes the keys of occasions."""

    def __init__(self, connection: Connection, customers: Customers) -> None:
        self._connection, self._customers = connection, customers
        # What was written without an answer: written again it is the same request.
        self._unanswered: dict[str, str] = {}

    async def issue(self, customer: str, occasion: Occasion) -> Issued | None:
        """The key of an occasion; None when it was shown, or is being shown to somebody else.

        Raises:
            TooLate: It would have been shown until a while ago.
            ConfigurationError: The customer has as many keys as we keep.
        """
        now = int(self._connection.clock.now())
        holder = await self._customers.holder(customer)
        if now > max(occasion.since, holder.created) + occasion.lasts:
            raise TooLate
        key = self._customers.mint.of(customer, occasion.secret)
        said = self._unanswered.get(occasion.name)
        if said is None and (stored := holder.stored.get(key.id)) is not None:
            return Issued(key, stored.created) if stored.is_unseen and now - stored.created > SETTLED else None
        if said is None:
            holder.has_room()
            # The attempt is drawn, so that no two are the same request.
            said = f"{now} {ApiKey.new(customer).id}"
        try:
            await self._write(key, said, once=f"key:{occasion.name}")
        except IdempotencyConflict:
            return None
        except BaseException:  # cancelled, too
            if len(self._unanswered) < _MOST:
                self._unanswered[occasion.name] = said
            raise
        self._unanswered.pop(occasion.name, None)
        return Issued(key, int(said.split()[0]))

    async def shown(self, issued: Issued) -> None:
        """Its owner has the key: nobody gets it again."""
        try:
            await self._write(issued.key, str(issued.created))
        except StripeMeterError as error:
            log.warning("key %s of %s may be shown once more: %s", issued.key.id, issued.key.customer, error)

    async def _write(self, key: ApiKey, said: str, once: str | None = None) -> None:
        await self._connection.write(
            lambda client, options: client.v1.customers.update_async(
                key.customer, {"metadata": {key.metadata_key: f"{key.hash} {said}"}}, options
            ),
            key=once,
        )
