"""Who may come and where to: networks that are let in, origins that browsers may be sent to.

Owns reading lists of them, written as one text with commas or as a list. Knows no requests.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Final, TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network

LOOPBACK: Final[tuple[Network, ...]] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
_ORIGIN: Final = re.compile(r"https?://[a-z0-9.-]+(:\d{1,5})?|https?://\[[0-9a-f:.]+\](:\d{1,5})?")


def networks(value: Any) -> tuple[Network, ...]:
    """Addresses such as `10.0.0.7` and networks such as `10.0.0.0/8`. Raises `ValueError`."""
    return tuple(ip_network(part) for part in _parts(value))


def origins(value: Any) -> tuple[str, ...]:
    """Origins such as `https://app.example.com`, without a path. Raises `ValueError`."""
    found = tuple(part.lower() for part in _parts(value))
    if not all(_ORIGIN.fullmatch(part) for part in found):
        raise ValueError("not an origin")
    return found


def _parts(value: Any) -> list[str]:
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, Iterable):
        raise ValueError("not a list")  # noqa: TRY004  # pydantic reports ValueErrors
    return [str(part).strip() for part in value if str(part).strip()]
