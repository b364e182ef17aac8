"""Who calls: principals, API keys, and what an edge found out about one caller.

Owns the form of an API key, `smk_<customer>_<secret>`, and how its secret is hashed and compared; and whose tokens a
seller trusts. Knows no framework and never decides who pays: a key counts only once its hash was found in that
customer's metadata.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

KEY_PREFIX: Final = "smk_"
#: Metadata key under which a customer keeps the hash of one live API key: prefix + the key's public id.
METADATA_KEY: Final = "stripe_meter_key_"
#: Metadata key that ties a customer to one principal.
METADATA_PRINCIPAL: Final = "stripe_meter_principal"
#: Metadata key that names the customer who holds this one's prepaid credits.
METADATA_WALLET: Final = "stripe_meter_wallet"
#: Namespace of who sets none.
_USUAL: Final = "mcp"
#: Metadata key of such a holder: the customer whose credits these are.
METADATA_WALLET_FOR: Final = "stripe_meter_wallet_for"
#: Metadata key under which a customer's own spend cap stands, in whole minor units.
METADATA_CAP: Final = "stripe_meter_spend_cap"
#: Metadata allows 50 keys a customer; this many live API keys leave room for the author's own.
MOST_KEYS: Final = 20

_KEY: Final = re.compile(r"smk_(?P<customer>cus_[A-Za-z0-9_]{1,60}?)_(?P<id>[A-Za-z0-9]{6})(?P<secret>[A-Za-z0-9]{34})")
#: Of keys: no characters that look like each other.
ALPHABET: Final = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"


#: Bytes of a SHA-256.
_DIGEST_SIZE: Final = 32
#: Characters of the longest issuer or subject; no identity provider writes more than 255 into one.
_LONGEST_NAME: Final = 1024


def wallet_name(namespace: str) -> str:
    """Metadata key that names the wallet of one namespace: credits of another one may be worth something else."""
    return METADATA_WALLET if namespace == _USUAL else f"sm_wallet_{namespace}"


@dataclass(frozen=True, slots=True)
class Principal:
    """A verified caller: who vouched (`issuer`) and for whom (`subject`)."""

    issuer: str
    subject: str

    @property
    def is_sound(self) -> bool:
        """Whether both parts name something, in a way that no other pair of them could be taken for this one."""
        parts = (self.issuer, self.subject)
        return all(
            isinstance(part, str) and 0 < len(part) <= _LONGEST_NAME and part.strip() and part.isprintable()
            for part in parts
        )

    @property
    def digest(self) -> str:
        """A short stable name without personal data, fit for metadata and idempotency keys."""
        return _sha256(f"{self.issuer}\n{self.subject}").hex()[:40]


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A well-formed API key. Well-formed says nothing about valid."""

    customer: str
    id: str
    secret: str = field(repr=False)

    @classmethod
    def new(cls, customer: str) -> ApiKey:
        """A fresh random key for `customer` (`cus_…`): about 200 bits of secret."""
        draw = _drawn(40)
        return cls(customer, draw[:6], draw[6:])

    @classmethod
    def parse(cls, text: str) -> ApiKey | None:
        """The key in `text`, or None when it has not the form of one."""
        match = _KEY.fullmatch(text.strip()) if len(text) <= 128 else None
        return cls(match["customer"], match["id"], match["secret"]) if match else None

    def reveal(self) -> str:
        """The whole key, to be shown once to its owner."""
        return f"{KEY_PREFIX}{self.customer}_{self.id}{self.secret}"

    @property
    def masked(self) -> str:
        """For lists and logs."""
        return f"{KEY_PREFIX}{self.customer}_{self.id}…"

    @property
    def metadata_key(self) -> str:
        return METADATA_KEY + self.id

    @property
    def hash(self) -> str:
        """What Stripe stores instead of the key. The secret is random and long, so one round of SHA-256 is enough."""
        return _sha256(self.reveal()).hex()

    def opens(self, keys: Iterable[bytes]) -> bool:
        """Whether this very key is among a customer's `stored_keys`; compared in constant time."""
        import hmac

        mine = _stored(self.id, self.hash)
        return any(hmac.compare_digest(stored, mine) for stored in keys)


def _drawn(length: int) -> str:
    import secrets  # whoever only sells makes no keys

    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def stored_keys(metadata: Mapping[str, str]) -> tuple[bytes, ...]:
    """The API keys in a customer's metadata: of each the public id and behind it the hash. What is no hash is no key.

    One object a key, for there are a hundred thousand customers.
    """
    keys = []
    for name, value in metadata.items():
        if name.startswith(METADATA_KEY):
            with suppress(ValueError):
                keys.append(_stored(name.removeprefix(METADATA_KEY), value.partition(" ")[0]))
    return tuple(keys)


def _stored(key_id: str, digest: str) -> bytes:
    """Id and hash in one; raises `ValueError` for what is no SHA-256 in hexadecimal digits."""
    raw = bytes.fromhex(digest)
    if len(raw) != _DIGEST_SIZE:
        raise ValueError("not a SHA-256 digest")
    return key_id.encode() + raw


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose JWTs a seller believes. Either the keys are published at `jwks_url`, or `secret` is shared.

    Attributes:
        issuer: The exact `iss`.
        audience: What `aud` has to name: this server.
    """

    issuer: str
    audience: str
    jwks_url: str | None = None
    secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Caller:
    """What an edge learned about one caller, none of it believed yet but `principal`.

    Attributes:
        credential: Cache key of this identity: differs whenever the identity differs; never a secret in clear.
        api_key: The key as presented, or None.
        principal: Verified, by the framework's own authentication or by us, or None.
        client: Where the request came from, for limits only: whoever stands in front may have written it.
        base_url: Where our pages can be reached from the caller's browser, or None if the edge cannot tell.
        is_local: True on stdio and in memory, where the process serves one caller. Only the edge says so.
    """

    credential: bytes
    api_key: str | None = field(default=None, repr=False)
    principal: Principal | None = None
    client: str = ""
    base_url: str | None = None
    is_local: bool = False
    #: A JWT as presented, which nobody has verified yet.
    token: str | None = field(default=None, repr=False)
    #: What the seller's `identify=` has still to be asked about: the headers, by their names in lower case.
    headers: Mapping[str, str] | None = field(default=None, repr=False)
    #: Who this is if `identify=` knows nobody.
    otherwise: Caller | None = field(default=None, repr=False)
    #: Why a token that was presented does not count, as the end of a sentence for the caller.
    refused: str | None = None
    #: True for the author's own code, which calls the server object and tells nothing of how it is served.
    is_own: bool = False

    @property
    def is_known(self) -> bool:
        return self.api_key is not None or self.principal is not None

    @property
    def showed_something(self) -> bool:
        """Whether a key or a token came along, be it good or not."""
        return self.is_known or self.refused is not None

    @property
    def is_pending(self) -> bool:
        """Whether somebody has still to say who this is; until then `credential` names nobody."""
        return self.token is not None or self.headers is not None

    def proved(self, principal: Principal) -> Caller:
        """The same caller, once it is known who they are."""
        return Caller(
            credential("p", f"{principal.issuer}\n{principal.subject}"),
            None,
            principal,
            self.client,
            self.base_url,
            self.is_local,
        )

    @classmethod
    def local(cls, api_key: str | None) -> Caller:
        """The one caller of a process that speaks stdio, by the key in its environment."""
        return cls(credential("k", api_key), api_key, is_local=True) if api_key else cls(b"local", is_local=True)


def credential(kind: str, text: str) -> bytes:
    """A cache key for what was shown: `kind` is `k` for an API key, `p` for a principal."""
    return kind.encode() + _sha256(text)


def _sha256(text: str) -> bytes:
    import hashlib  # OpenSSL takes longer to load than all of this package's values

    return hashlib.sha256(text.encode()).digest()
