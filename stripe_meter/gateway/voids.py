"""Which charges of a customer were taken back by a negative meter event.

Owns that list, in the customer's metadata: Stripe forgets an event's identifier after a day and lists no events, so
nothing else would tell a week later. Each entry is a short hash of the charge's number and the day. A charge can be
undone until its invoice, a year at most, so older entries make room.

https://docs.stripe.com/api/metadata
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from stripe_meter.errors import ConfigurationError
from stripe_meter.gateway.connection import Connection, plain

if TYPE_CHECKING:
    import stripe

_KEYS: Final = ("stripe_meter_voids", "stripe_meter_voids_2", "stripe_meter_voids_3")
#: A value in metadata holds 500 characters; an entry is eight digits of a hash and five of a day, and a space.
_A_KEY: Final = 35
_DAY: Final = 86_400
_KEPT_DAYS: Final = 400


class Voids:
    """Reads and writes the list."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def has(self, customer: stripe.Customer, number: str) -> bool:
        """Whether the charge of that number was taken back."""
        return any(entry.startswith(_hash(number)) for entry in self._entries(plain(customer.metadata)))

    def any_since(self, customer: stripe.Customer, moment: int) -> bool:
        """Whether a charge was taken back on the UTC day of `moment` (Unix seconds) or later."""
        return any(int(entry[8:]) >= moment // _DAY for entry in self._entries(plain(customer.metadata)))

    def check_room(self, customer: stripe.Customer) -> None:
        """Raise `ConfigurationError` when not one more charge could be remembered."""
        if len(self._entries(plain(customer.metadata))) >= _A_KEY * len(_KEYS):
            raise ConfigurationError(
                f"{_A_KEY * len(_KEYS)} charges of {customer.id} were taken back already; "
                "credit the next invoice in the Dashboard instead"
            )

    async def add(self, customer: stripe.Customer, number: str) -> None:
        """Remember that it was taken back. Doing it again changes nothing."""
        today = int(self._connection.clock.now()) // _DAY
        entries = [*self._entries(plain(customer.metadata)), f"{_hash(number)}{today:05}"]
        metadata: dict[str, Any] = {}
        for place, key in enumerate(_KEYS):
            metadata[key] = " ".join(entries[place * _A_KEY : (place + 1) * _A_KEY])
        await self._connection.write(
            lambda client, options: client.v1.customers.update_async(customer.id, {"metadata": metadata}, options),
            key=f"voids:{number}",
        )

    def _entries(self, metadata: Mapping[str, str]) -> list[str]:
        today = int(self._connection.clock.now()) // _DAY
        entries = [entry for key in _KEYS for entry in metadata.get(key, "").split()]
        return [e for e in entries if len(e) == 13 and e[8:].isdecimal() and today - int(e[8:]) < _KEPT_DAYS]


def _hash(number: str) -> str:
    return hashlib.blake2b(number.encode(), digest_size=4).hexdigest()
