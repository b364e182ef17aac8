"""The keys by which JWTs are verified: a shared secret, or the key set that an issuer publishes.

Owns which algorithms each key may be used with – the token never chooses – and when a key set is read again. A secret
verifies HS algorithms and nothing else, a published key never does; `none` is in no list.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from stripe_meter.enforcement import forks
from stripe_meter.errors import IdentityUnavailable

log = logging.getLogger("stripe_meter")

#: Seconds for which a key set counts: a key that its issuer withdraws is accepted so much longer.
FRESH: Final = 600.0
#: Seconds between two requests for it, however many tokens name keys that are not in it.
AGAIN: Final = 30.0
#: While its issuer cannot be reached, the last one counts this long.
STALE: Final = 24 * 3600.0

#: With the bytes that a secret needs to be as strong as the algorithm.
_HS: Final = {"HS256": 32, "HS384": 48, "HS512": 64}
_RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES: Final = {"P-256": ("ES256",), "P-384": ("ES384",), "P-521": ("ES512",), "Ed25519": ("EdDSA", "Ed25519")}

Fetch = Callable[[str], Awaitable[Sequence[Mapping[str, Any]]]]


@dataclass(frozen=True, slots=True)
class Key:
    """One key, and the algorithms it may verify."""

    id: str | None
    algorithms: tuple[str, ...]
    material: Any = field(repr=False)


class Keyring(Protocol):
    """Where the key of a token is found."""

    async def find(self, key_id: str | None, algorithm: str) -> Key | None:
        """The key that a token names, if it may be used with that algorithm. Raises `IdentityUnavailable`."""

    def fresh_for(self) -> float:
        """Seconds until a verified token has to be looked at again, whatever its own expiry."""


class SharedSecret:
    """One secret, which signs and verifies."""

    def __init__(self, secret: str) -> None:
        material = secret.encode()
        self._key = Key(None, tuple(name for name, least in _HS.items() if len(material) >= least), material)

    async def find(self, key_id: str | None, algorithm: str) -> Key | None:
        return self._key if algorithm in self._key.algorithms else None

    def fresh_for(self) -> float:
        return math.inf


class KeySet:
    """What stands at a URL; lives in the loop of the Stripe thread.

    Args:
        fetch: Reads it.
        monotonic: Seconds.
    """

    def __init__(self, url: str, fetch: Fetch, monotonic: Callable[[], float]) -> None:
        self._url, self._fetch, self._monotonic = url, fetch, monotonic
        self._keys: tuple[Key, ...] = ()
        self._fresh_until = self._stale_until = self._again_at = -math.inf
        self._reading = asyncio.Lock()
        forks.watch(self)

    def after_fork(self) -> None:
        """Nothing is being read in a child."""
        self._reading = asyncio.Lock()

    async def find(self, key_id: str | None, algorithm: str) -> Key | None:
        if self._monotonic() >= self._fresh_until:
            await self._read()
        found = self._pick(key_id, algorithm)
        if found is None and algorithm not in _HS:
            await self._read()
            found = self._pick(key_id, algorithm)
        return found

    def fresh_for(self) -> float:
        return max(self._fresh_until, self._again_at) - self._monotonic()

    def _pick(self, key_id: str | None, algorithm: str) -> Key | None:
        fitting = [key for key in self._keys if algorithm in key.algorithms]
        if key_id is None:
            return fitting[0] if len(fitting) == 1 else None
        return next((key for key in fitting if key.id == key_id), None)

    async def _read(self) -> None:
        async with self._reading:
            now = self._monotonic()
            if now >= self._again_at:
                self._again_at = now + AGAIN
                try:
                    self._keys = _usable(await self._fetch(self._url))
                    self._fresh_until, self._stale_until = now + FRESH, now + STALE
                except IdentityUnavailable as error:
                    log.warning("tokens are verified by the keys known so far: %s; tried again in %g s", error, AGAIN)
            if now >= self._stale_until:
                raise IdentityUnavailable(f"the key set at {self._url} cannot be read, so no token can be verified")


def _usable(found: Sequence[Mapping[str, Any]]) -> tuple[Key, ...]:
    """The public keys that sign; what is broken, secret or meant for something else is left out."""
    import jwt

    keys = []
    for entry in found:
        algorithms = _algorithms(entry)
        if not algorithms or entry.get("use", "sig") != "sig":
            continue
        try:
            material = jwt.PyJWK(dict(entry), algorithms[0]).key
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            log.warning("one key of the key set cannot be used: %s", type(error).__name__)
            continue
        key_id = entry.get("kid")
        keys.append(Key(key_id if isinstance(key_id, str) else None, algorithms, material))
    return tuple(keys)


def _algorithms(entry: Mapping[str, Any]) -> tuple[str, ...]:
    possible = _RSA if entry.get("kty") == "RSA" else _CURVES.get(str(entry.get("crv")), ())
    named = entry.get("alg")
    return possible if named is None else tuple(name for name in possible if name == named)
