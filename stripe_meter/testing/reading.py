"""Reading an emulated Stripe over HTTP, as anybody with its key could.

Owns one request. What comes back is Stripe's JSON, so that a test sees what Stripe has and not what this library thinks
it sent.
"""

from __future__ import annotations

import json
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from stripe_meter.errors import StripeUnavailable
from stripe_meter.settings import EMULATOR_KEY

_TIMEOUT: Final = 10.0


def get(url: str, path: str, **query: object) -> Any:
    """GET `path` (`/v1/…`) of the emulator at `url`. Raises `StripeUnavailable` when it does not answer with JSON."""
    return _ask(url, f"{path}?{urlencode(query)}" if query else path, None)


def post(url: str, path: str, **form: object) -> Any:
    """POST a form to `path` of the emulator at `url`. Raises `StripeUnavailable` as `get` does."""
    return _ask(url, path, urlencode(form).encode())


def settle(url: str) -> None:
    """Wait until every meter event that has arrived is counted. Raises `StripeUnavailable` when that takes too long."""
    _ask(url, "/_emulator/settle", b"{}")


def _ask(url: str, path: str, body: bytes | None) -> Any:
    request = Request(url + path, body, {"Authorization": f"Bearer {EMULATOR_KEY}"})  # noqa: S310  # loopback
    try:
        with urlopen(request, timeout=_TIMEOUT) as response:  # noqa: S310  # loopback
            return json.load(response)
    except HTTPError as error:
        said = error.read().decode(errors="replace")
        raise StripeUnavailable(f"the emulator answered {error.code} to {path}: {said}", ambiguous=False) from None
    except (URLError, OSError, ValueError) as error:
        raise StripeUnavailable(f"the emulator did not answer {path}: {error}", ambiguous=False) from None
