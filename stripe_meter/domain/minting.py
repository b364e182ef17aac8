"""API keys that this seller made, told from invented ones without asking anybody.

Owns the mark at the end of a key's secret, made with a key that comes from the seller's Stripe key. It lets nobody in:
only the hash in the customer's metadata does. It says that looking there is worth a read, so that guesses, however
many, keep nobody out who was given a key. One that was made under another Stripe key bears no mark that counts here,
and is as good as any other but for that.

The key of an occasion, such as a purchase, comes from the Stripe key as a whole: it can be made again for the one who
has not seen it yet, and nobody else can work it out.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace
from typing import Final

from stripe_meter.domain.identity import ALPHABET, ApiKey

#: Characters of the mark: 58 bits, which can be tried only by asking a server.
MARK: Final = 10
#: Characters of a key, and those of them that are its public id.
_LENGTH: Final = 40
_ID: Final = 6


class Mint:
    """Makes the keys of one seller, and knows them again."""

    def __init__(self, stripe_key: str) -> None:
        self._key = hashlib.sha256(b"stripe-meter keys\n" + stripe_key.encode()).digest()

    def new(self, customer: str) -> ApiKey:
        """A fresh key for `customer` (`cus_…`)."""
        key = ApiKey.new(customer)
        return replace(key, secret=key.secret[:-MARK] + self._mark(key))

    def of(self, customer: str, occasion: str) -> ApiKey:
        """The key of `customer` for an occasion, the same each time; `occasion` is known to who may have it alone."""
        key = ApiKey(customer, *self._parts(f"occasion\n{customer}\n{occasion}"))
        return replace(key, secret=key.secret[:-MARK] + self._mark(key))

    def made(self, key: ApiKey) -> bool:
        """Whether this seller made the key; it may have been revoked since."""
        return hmac.compare_digest(self._mark(key), key.secret[-MARK:])

    def _parts(self, occasion: str) -> tuple[str, str]:
        """Id and secret; 512 bits leave no character likelier than another."""
        drawn = _characters(hmac.digest(self._key, occasion.encode(), "sha512"), _LENGTH)
        return drawn[:_ID], drawn[_ID:]

    def _mark(self, key: ApiKey) -> str:
        said = f"{key.customer}\n{key.id}\n{key.secret[:-MARK]}"
        return _characters(hmac.digest(self._key, said.encode(), "sha256"), MARK)


def _characters(digest: bytes, count: int) -> str:
    rest = int.from_bytes(digest, "big")
    chars = []
    for _ in range(count):
        rest, place = divmod(rest, len(ALPHABET))
        chars.append(ALPHABET[place])
    return "".join(chars)
