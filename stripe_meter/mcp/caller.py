"""Who sent this request, as far as the transport can tell.

Owns reading a caller out of a framework's `Context`: a token the server has verified, else an API key as presented,
else nothing; on stdio and in memory the key in the server's environment. Nothing that a caller merely claims counts:
not the arguments, not `_meta`, not the client's name, not forwarding headers. Never raises: what cannot be read is
an unknown caller, whom the engine refuses with a way to become known.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

from stripe_meter.domain.identity import KEY_PREFIX, Caller, Principal, credential

if TYPE_CHECKING:
    from stripe_meter.enforcement.engine import Engine

_LONGEST_HEADER: Final = 8 * 1024
#: Callers remembered, so that a busy one is read and hashed once.
_MOST_CALLERS: Final = 4096
_LONGEST_KEPT: Final = 256
#: Headers by which a proxy says that it stands between.
_FORWARDED: Final = frozenset(
    {b"forwarded", b"via", b"x-real-ip"}
    | {b"x-forwarded-" + name for name in (b"for", b"host", b"proto", b"port", b"server", b"prefix", b"by")}
)

_callers: dict[tuple[object, ...], Caller] = {}


def read_caller(ctx: Any, engine: Engine) -> Caller:
    """The caller behind one tool call.

    Args:
        ctx: The `Context` that the framework handed to the tool.
        engine: Bills the call; it reads the environment's key once, for that look takes 2 µs.
    """
    # As `kept` does it; a call less for every paid call.
    private = getattr(ctx, "__pydantic_private__", None)
    try:
        request_context = (private and private.get("_request_context")) or ctx.request_context
    except (AttributeError, ValueError, RuntimeError):  # `server.call_tool()` from the author's own code
        return engine.local_caller
    request = getattr(request_context, "request", None)
    if request is not None:
        return _from_http(request.scope)
    if request_context is None and getattr(ctx, "is_background_task", False):
        return _from_background()
    return engine.local_caller


def kept(ctx: Any, name: str) -> Any:
    """What a pydantic model keeps under a private name, or None; the caller then asks the public property.

    The SDK's `Context` is such a model, and its properties take 3.6 µs each: more than half of what a call may add.
    """
    private = getattr(ctx, "__pydantic_private__", None)
    return private.get(name) if private else None


def _from_http(scope: Mapping[str, Any]) -> Caller:
    # The context variable of the SDK may hold the token of whoever opened the session, so only this request counts.
    token = getattr(scope.get("user"), "access_token", None)
    principal = None if token is None else principal_of(token)
    headers = dict(scope.get("headers") or ())
    client = (scope.get("client") or ("unknown",))[0]
    seen = (
        principal,
        headers.get(b"x-api-key"),
        headers.get(b"authorization") if principal is None else None,
        headers.get(b"host"),
        _FORWARDED.isdisjoint(headers),
        client,
        scope.get("server"),
    )
    known = _callers.get(seen)
    if known is not None:
        return known
    api_key, host, is_forwarded = _headers(headers)
    server = scope.get("server")
    where = None if is_forwarded or not server else (str(scope.get("scheme", "http")), tuple(server), host)
    return _remember(seen, _caller(principal, api_key, client, where))


def _caller(
    principal: Principal | None, api_key: str | None, client: str, where: tuple[str, tuple[Any, ...], str] | None
) -> Caller:
    base_url = None if where is None else _loopback_url(client, *where)
    if principal is not None:
        return Caller(credential("p", f"{principal.issuer}\n{principal.subject}"), None, principal, client, base_url)
    if api_key is not None:
        return Caller(credential("k", api_key), api_key, None, client, base_url)
    return Caller(b"a" + client.encode(), None, None, client, base_url)


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


def _headers(headers: Mapping[bytes, bytes]) -> tuple[str | None, str, bool]:
    """The API key, the host, and whether a proxy says that it stands between."""
    api_key = _clean(headers.get(b"x-api-key", b""))
    if api_key is None:
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        bearer = _clean(token) if scheme.lower() == b"bearer" else None
        api_key = bearer if bearer is not None and bearer.startswith(KEY_PREFIX) else None
    return api_key, _clean(headers.get(b"host", b"")) or "", not _FORWARDED.isdisjoint(headers)


def _clean(value: bytes) -> str | None:
    if len(value) > _LONGEST_HEADER:
        return None
    text = value.decode("latin-1").strip()
    return text if text and text.isprintable() else None


def _loopback_url(client: str, scheme: str, server: tuple[Any, ...], host: str) -> str | None:
    """Where this machine reaches itself, or None.

    A forged `Host` would send the payer, and with them the page that shows their API key, to the forger; so an
    address is believed only when the socket, the client and the host that was asked for are all this machine.
    """
    if not (_is_loopback(server[0]) and _is_loopback(client)):
        return None
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if name != "localhost" and not _is_loopback(name):
        return None
    address = f"[{server[0]}]" if ":" in server[0] else server[0]
    return f"{scheme}://{address}:{server[1]}"


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def _from_background() -> Caller:
    """A FastMCP background task has left its request; FastMCP keeps that request's token and headers for it."""
    from fastmcp.server.dependencies import get_access_token, get_http_headers

    token = get_access_token()
    principal = None if token is None else principal_of(token)
    sent = get_http_headers(include_all=True)
    headers = {name.lower().encode("latin-1"): value.encode("latin-1") for name, value in sent.items()}
    return _caller(principal, _headers(headers)[0], "background", None)


def _remember(known: tuple[object, ...], caller: Caller) -> Caller:
    if sum(len(part) for part in known if isinstance(part, (bytes, str))) > _LONGEST_KEPT:
        return caller  # no honest key and host are that long, so nobody can fill the memory with them
    if len(_callers) >= _MOST_CALLERS:
        _callers.clear()
    _callers[known] = caller
    return caller
