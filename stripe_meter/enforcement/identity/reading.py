"""From an HTTP request to a caller, without asking anybody.

Owns which headers count and in which order: a token that the framework has verified, else an API key, else a JWT where
the seller trusts an issuer of such. Nothing that a caller merely claims counts: not the arguments, not `_meta`, not
the client's name, not forwarding headers. Callers who show the same are read and hashed once.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from stripe_meter.domain.identity import KEY_PREFIX, Caller, Principal, credential

if TYPE_CHECKING:
    from stripe_meter.enforcement.identity.resolving import Identity

_LONGEST_HEADER: Final = 8 * 1024
#: Why a token does not count; the end of "your access token is not accepted: …".
GARBLED: Final = "it is too long or garbled"
#: Callers remembered, so that a busy one is read and hashed once.
_MOST_CALLERS: Final = 16_384
_LONGEST_KEPT: Final = 256
_PATH: Final = re.compile(r"(/[A-Za-z0-9_.~-]+)*")
#: Headers by which a proxy says that it stands between.
_FORWARDED: Final = frozenset(
    {b"forwarded", b"via", b"x-real-ip"}
    | {b"x-forwarded-" + name for name in (b"for", b"host", b"proto", b"port", b"server", b"prefix", b"by")}
)


def from_scope(scope: Mapping[str, Any], identity: Identity) -> Caller:
    """The caller behind one HTTP request.

    Args:
        scope: Of ASGI. Only this request counts: a context variable may hold the token of whoever opened the session.
        identity: Of the seller; remembers whom it has seen.
    """
    token = getattr(scope.get("user"), "access_token", None)
    principal = None if token is None else principal_of(token)
    headers = dict(scope.get("headers") or ())
    client = (scope.get("client") or ("unknown",))[0]
    mount = mount_of(scope) if identity.has_pages else ""
    seen = (
        principal,
        headers.get(b"x-api-key"),
        headers.get(b"authorization") if principal is None else None,
        headers.get(b"host"),
        _FORWARDED.isdisjoint(headers),
        client,
        mount,
        tuple(scope.get("server") or ()),  # ASGI allows a list
    )
    known = identity.seen.get(seen)
    if known is not None:
        return known
    if mount:
        identity.found_at(mount)
    base_url = _base_url(scope, headers, client)
    caller = from_headers(headers, identity, principal, client, None if base_url is None else base_url + mount)
    # A token expires and `identify` may change its mind, so these are found out anew.
    is_of_token = caller.principal is not None and principal is None
    is_lasting = not (is_of_token or caller.is_pending or caller.refused is not None)
    return _remember(identity.seen, seen, caller) if is_lasting else caller


def from_headers(
    headers: Mapping[bytes, bytes],
    identity: Identity,
    principal: Principal | None = None,
    client: str = "unknown",
    base_url: str | None = None,
) -> Caller:
    """The same from what is left of a request; `principal` is what the framework has verified."""
    caller = _shown(headers, identity, principal, Caller(b"a" + client.encode(), None, None, client, base_url))
    if identity.identify is None:
        return caller
    asked = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers.items()}
    return Caller(b"", None, None, client, base_url, headers=asked, otherwise=caller)


def _shown(headers: Mapping[bytes, bytes], identity: Identity, principal: Principal | None, unknown: Caller) -> Caller:
    if principal is not None:
        return unknown.proved(principal) if principal.is_sound else replace(unknown, refused=GARBLED)
    bearer = _bearer(headers)
    api_key = _api_key(headers, bearer)
    if api_key is not None:
        return replace(unknown, credential=credential("k", api_key), api_key=api_key)
    tokens = identity.tokens if bearer else None
    if tokens is None:
        return unknown
    text = _clean(bearer)
    if text is None:
        return replace(unknown, refused=GARBLED)
    found = tokens.known(text)
    return replace(unknown, credential=b"", token=text) if found is None else unknown.proved(found)


def principal_of(token: Any) -> Principal | None:
    """Whom a verified access token speaks for: its subject, at its issuer.

    `client_id` names the application, which many people share, so it is billed only when the token has no subject;
    a prefix keeps such a principal apart from every person's.
    """
    claims = getattr(token, "claims", None) or {}
    client_id = getattr(token, "client_id", None)
    issuer = claims.get("iss") or f"client:{client_id}"
    subject = getattr(token, "subject", None) or claims.get("sub")
    if subject:
        return Principal(str(issuer), str(subject))
    return Principal(f"application:{issuer}", str(client_id)) if client_id else None


def here(scope: Mapping[str, Any]) -> str | None:
    """Where this machine reaches the app that serves this request, or None where only its author knows that."""
    headers = dict(scope.get("headers") or ())
    base_url = _base_url(scope, headers, (scope.get("client") or ("unknown",))[0])
    return None if base_url is None else base_url + mount_of(scope)


def network_of(client: str) -> str:
    """Whom a limit counts as one: an IPv4 address, or the /64 that a single subscriber of IPv6 is given."""
    from ipaddress import IPv6Address, ip_address

    try:
        address = ip_address(client)
    except ValueError:
        return client
    if not isinstance(address, IPv6Address):
        return client
    return str(address.ipv4_mapped or IPv6Address(int(address) >> 64 << 64))


def _api_key(headers: Mapping[bytes, bytes], bearer: bytes) -> str | None:
    api_key = _clean(headers.get(b"x-api-key", b""))
    if api_key is None and bearer.strip().startswith(KEY_PREFIX.encode()):
        api_key = _clean(bearer)
    return api_key


def _bearer(headers: Mapping[bytes, bytes]) -> bytes:
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    return token if scheme.lower() == b"bearer" else b""


def _clean(value: bytes) -> str | None:
    if len(value) > _LONGEST_HEADER:
        return None
    text = value.decode("latin-1").strip()
    return text if text and text.isprintable() else None


def _base_url(scope: Mapping[str, Any], headers: Mapping[bytes, bytes], client: str) -> str | None:
    """Where this machine reaches itself, or None.

    A forged `Host` would send the payer, and with them the page that shows their API key, to the forger; so an
    address is believed only when the socket, the client and the host that was asked for are all this machine.
    """
    server = scope.get("server")
    if not server or not _FORWARDED.isdisjoint(headers):
        return None
    if not (_is_loopback(server[0]) and _is_loopback(client)):
        return None
    host = _clean(headers.get(b"host", b"")) or ""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if name != "localhost" and not _is_loopback(name):
        return None
    address = f"[{server[0]}]" if ":" in server[0] else server[0]
    return f"{scope.get('scheme', 'http')}://{address}:{server[1]}"


def mount_of(scope: Mapping[str, Any]) -> str:
    """The path at which Starlette has mounted the app that serves this request; what a proxy cut off is not of it."""
    outer = scope.get("app_root_path")
    if outer is None:
        return ""
    # The SDK's SSE transport takes messages by a mount of its own.
    mount = str(scope.get("root_path") or "")[len(outer) :].removesuffix("/messages")
    return mount if _PATH.fullmatch(mount) else ""


@lru_cache(maxsize=1024)
def _is_loopback(address: str) -> bool:
    from ipaddress import ip_address

    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def _remember(seen: OrderedDict[tuple[object, ...], Caller], known: tuple[object, ...], caller: Caller) -> Caller:
    if sum(len(part) for part in known if isinstance(part, (bytes, str))) > _LONGEST_KEPT:
        return caller  # no honest key and host are that long, so nobody can fill the memory with them
    if len(seen) >= _MOST_CALLERS:
        # One for one: whoever is busy must not be read anew because strangers come by.
        seen.popitem(last=False)
    seen[known] = caller
    return caller
