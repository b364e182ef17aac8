"""Reading a key set (JWKS) from the identity provider that the seller trusts.

It stands here because sending requests does; everything else in this package is Stripe's. Owns that one request: at
most two seconds and 256 KiB, no redirects, and every failure one of our errors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import aiohttp

from stripe_meter.errors import IdentityUnavailable

_PATIENCE: Final = 2.0
_MOST_BYTES: Final = 256 * 1024
_MOST_KEYS: Final = 100


async def fetch(url: str) -> list[Mapping[str, Any]]:
    """The keys published at `url`, as they stand there.

    Raises:
        IdentityUnavailable: It cannot be read, or is no key set.
    """
    try:
        found = json.loads(await _body(url))
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise IdentityUnavailable(f"the key set at {url} cannot be read: {type(error).__name__}") from None
    except (ValueError, RecursionError):
        raise IdentityUnavailable(f"the key set at {url} is not JSON; STRIPE_METER_JWT_JWKS_URL names it") from None
    keys = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(keys, list):
        raise IdentityUnavailable(f"what stands at {url} is no key set; STRIPE_METER_JWT_JWKS_URL names it")
    return [key for key in keys[:_MOST_KEYS] if isinstance(key, dict)]


async def _body(url: str) -> bytes:
    # Decompressed by nobody, so that few bytes cannot become many.
    session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_PATIENCE), auto_decompress=False)
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    async with session as http, http.get(url, allow_redirects=False, headers=headers) as response:
        if response.status != 200:
            raise IdentityUnavailable(f"the key set at {url} cannot be read: the answer was {response.status}")
        body = b""
        async for chunk in response.content.iter_chunked(16 * 1024):
            body += chunk
            if len(body) > _MOST_BYTES:
                raise IdentityUnavailable(f"the key set at {url} is longer than {_MOST_BYTES // 1024} KiB")
        return body
