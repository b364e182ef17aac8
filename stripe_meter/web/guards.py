"""What a request has to pass before any handler sees it: networks, limits, whose page sent it.

Owns these checks for one engine. The client's address is the socket's, as the server reports it; a forwarding header
is never read here, but its presence shows that the socket's other end is a proxy and not the visitor.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from starlette.requests import Request

from stripe_meter.domain.origins import Network
from stripe_meter.enforcement.identity.reading import network_of
from stripe_meter.web.answers import Refused
from stripe_meter.web.limits import Limits
from stripe_meter.web.visit import origin

if TYPE_CHECKING:
    from stripe_meter.enforcement.engine import Engine
    from stripe_meter.web.operations import Operation

#: Headers by which a proxy says that it stands between, beside whatever begins with `x-forwarded-`.
_FORWARDED: Final = frozenset(
    ("forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip", "x-cluster-client-ip")
)


class Guards:
    """The checks, with what they remember of each client."""

    def __init__(self) -> None:
        self.limits = Limits()

    def check(self, engine: Engine, request: Request, operation: Operation) -> None:
        """Let the request pass, or raise `Refused`."""
        client = self.check_network(engine, request, operation)
        if operation.limit is not None:
            wait = self.limits.wait(operation.limit, network_of(client))
            if wait:
                raise Refused(
                    429,
                    "too_many_requests",
                    f"Too many requests came from your address. Try again in {wait} seconds.",
                    {"Retry-After": str(wait)},
                )
        if request.method == "POST" and operation.audience != "stripe" and not _is_own(engine, request):
            raise Refused(403, "cross_site", "Another site sent this. Open the page here and send it yourself.")

    def check_network(self, engine: Engine, request: Request, operation: Operation) -> str:
        """The address that a request came from, if `operation` is open to it; else raise `Refused`."""
        client = request.client.host if request.client is not None else ""
        settings = engine.settings
        if operation.audience != "stripe" and settings.allowed_ips and not _is_in(client, settings.allowed_ips):
            raise _closed()
        if operation.audience == "admin" and not self._is_admin(request, client, settings.admin_ips):
            raise _closed()
        return client

    @staticmethod
    def _is_admin(request: Request, client: str, networks: tuple[Network, ...]) -> bool:
        # Behind a proxy on this machine everybody's socket is loopback; so is that of a browser here, for any site
        # that lets its own name point to this machine.
        is_from_elsewhere = _is_loopback(client) and (_is_proxied(request) or not _is_asked_here(request))
        return not is_from_elsewhere and _is_in(client, networks)


def _is_own(engine: Engine, request: Request) -> bool:
    """Whether a browser sent this from a page of ours, or no browser did."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    sent_from = request.headers.get("origin")
    # Our pages name no referrer, and a browser then says `null`; such a form still needs the link it was made with.
    if sent_from is None or sent_from == "null":
        return True
    ours = {origin(f"{request.url.scheme}://{request.headers.get('host', '')}")}
    if engine.settings.public_url is not None:
        ours.add(origin(engine.settings.public_url))
    return origin(sent_from) in ours - {None}


def _is_in(client: str, networks: tuple[Network, ...]) -> bool:
    try:
        address = ip_address(client)
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in network for network in networks)


def _is_loopback(client: str) -> bool:
    try:
        address = ip_address(client)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _is_proxied(request: Request) -> bool:
    return any(name in _FORWARDED or name.startswith("x-forwarded-") for name in request.headers)


def _is_asked_here(request: Request) -> bool:
    """Whether the request names this machine as the host it is for."""
    try:
        host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    except ValueError:
        return False
    return host == "localhost" or _is_loopback(host)


def _closed() -> Refused:
    return Refused(403, "not_allowed", "This is not open to your address.")
