"""JWTs: whether one is genuine, and for whom it speaks.

Owns what a token has to say to count – signature, issuer, audience, expiry and a subject – and the tokens that were
found good, by hash. `known` runs in any thread and only looks; `verify` runs in the Stripe thread.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Any, Final

from stripe_meter.domain.identity import Principal, Trust
from stripe_meter.enforcement.identity.keyring import Keyring
from stripe_meter.enforcement.identity.reading import GARBLED

#: Seconds that the clocks of an issuer and ours may differ.
LEEWAY: Final = 30.0
_MOST: Final = 20_000


class TokenRefused(Exception):
    """A token that does not count; the message is the end of "your access token is not accepted: …"."""


class Tokens:
    """Tokens of the issuer that the seller trusts."""

    def __init__(self, trust: Trust, keyring: Keyring, monotonic: Callable[[], float]) -> None:
        self._trust, self._keyring, self._monotonic = trust, keyring, monotonic
        #: By hash: for whom it speaks, its expiry in Unix seconds, and until when its key is known to be good.
        self._good: dict[bytes, tuple[Principal, float, float]] = {}

    def known(self, token: str) -> Principal | None:
        """For whom a token speaks that was verified before and has not expired since."""
        found = self._good.get(_digest(token))
        is_good = found is not None and time.time() < found[1] and self._monotonic() < found[2]
        return found[0] if found is not None and is_good else None

    async def verify(self, token: str) -> Principal:
        """For whom a token speaks.

        Raises:
            TokenRefused: It does not count.
            IdentityUnavailable: Its issuer's keys cannot be read.
        """
        import jwt

        try:
            header = jwt.get_unverified_header(token)
            algorithm, key_id = header.get("alg"), header.get("kid")
            if not isinstance(algorithm, str):
                raise TokenRefused(GARBLED)
            key = await self._keyring.find(key_id, algorithm)
            if key is None:
                raise TokenRefused("it is not signed by a key of the issuer that this server trusts")
            claims = jwt.decode(
                token,
                key.material,
                algorithms=[algorithm],  # which the key allows, or it would not have been found
                audience=self._trust.audience,
                issuer=self._trust.issuer,
                leeway=LEEWAY,
                options={"require": ["exp", "iss", "aud", "sub"], "enforce_minimum_key_length": True},
            )
            return self._accept(token, claims)
        except jwt.ExpiredSignatureError:
            raise TokenRefused("it has expired") from None
        except jwt.ImmatureSignatureError:
            raise TokenRefused("it is not valid yet") from None
        except jwt.InvalidIssuerError:
            raise TokenRefused("it is from another issuer") from None
        except jwt.InvalidAudienceError:
            raise TokenRefused("it is meant for another service") from None
        except jwt.MissingRequiredClaimError as error:
            raise TokenRefused(f"it has no {error.claim}") from None
        except jwt.InvalidSignatureError:
            raise TokenRefused("its signature is wrong") from None
        except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError):
            raise TokenRefused(GARBLED) from None

    def _accept(self, token: str, claims: dict[str, Any]) -> Principal:
        principal = Principal(claims["iss"], claims["sub"])
        if not principal.is_sound:
            raise TokenRefused("its subject is garbled")
        while len(self._good) >= _MOST:
            self._good.pop(next(iter(self._good)))
        key_is_good_until = self._monotonic() + self._keyring.fresh_for()
        self._good[_digest(token)] = principal, float(claims["exp"]) + LEEWAY, key_is_good_until
        return principal


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
