"""API keys: who may call what.

Owns: reading the Authorization header, refusing bad keys and stream tokens in Stripe's way. Does not own: accounts;
every test key opens the same one. A key that looks live is refused without being repeated anywhere: an emulator must
never see one.
"""

import base64
import binascii
import re
from typing import Final

from stripe_meter.emulator.errors import ApiError

TEST_KEY: Final = re.compile(r"(sk|rk)_test_[A-Za-z0-9_]+")
SHOWN: Final = 4
REMEMBERED_SECONDS: Final = 24 * 3600


class StreamTokens:
    """Tokens of meter event sessions and when they end; an ended one is told apart from a wrong one for a day."""

    def __init__(self) -> None:
        self._ends: dict[str, float] = {}

    def add(self, token: str, ends: float, now: float) -> None:
        """Open a session."""
        self._ends = {known: end for known, end in self._ends.items() if end > now - REMEMBERED_SECONDS}
        self._ends[token] = ends

    def check(self, header: str | None, now: float) -> None:
        """Raise the 401 of a missing, wrong or expired token."""
        token = _key_in(header)
        if token not in self._ends:
            raise ApiError(401, "The meter event stream is opened by the token of a meter event session.")
        if self._ends[token] <= now:
            message = "The temporary session token has expired. Create a new meter event session."
            raise ApiError(401, message, type="temporary_session_expired", code="billing_meter_event_session_expired")


class Keys:
    """Revoked keys and the permissions that restricted keys lack."""

    def __init__(self) -> None:
        self.revoked: set[str] = set()
        self.missing: dict[str, frozenset[str]] = {}

    def check(self, header: str | None) -> str:
        """The key of a request; raises the 401 that Stripe answers."""
        key = _key_in(header)
        if key is None:
            message = (
                "You did not provide an API key. Send it in the Authorization header as a bearer token "
                "(Authorization: Bearer YOUR_SECRET_KEY)."
            )
            raise ApiError(401, message)
        if key.startswith("pk_"):
            message = "This API call cannot be made with a publishable API key. Please use a secret API key."
            raise ApiError(401, message, code="secret_key_required")
        if "_live_" in key:
            raise ApiError(401, "The emulator refuses live keys. Use a key that starts with sk_test_.")
        if key in self.revoked or not TEST_KEY.fullmatch(key):
            raise ApiError(401, f"Invalid API Key provided: {_masked(key)}")
        return key

    def permit(self, key: str, permission: str) -> None:
        """Raise the 403 of a restricted key that lacks `permission`."""
        if permission in self.missing.get(key, frozenset()):
            message = (
                f"The provided key '{_masked(key)}' does not have the required permissions for this endpoint. "
                f"Having the '{permission}' permission would allow this request to continue."
            )
            raise ApiError(403, message, code="more_permissions_required")


def _key_in(header: str | None) -> str | None:
    scheme, _, value = (header or "").partition(" ")
    value = value.strip()
    if scheme.lower() == "basic":
        try:
            value = base64.b64decode(value, validate=True).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            return None
    elif scheme.lower() != "bearer":
        return None
    return value or None


def _masked(key: str) -> str:
    """A key as Stripe repeats it: prefix, stars, last four characters."""
    if len(key) <= 3 * SHOWN:
        return "*" * len(key)
    return f"{key[:8]}{'*' * (len(key) - 8 - SHOWN)}{key[-SHOWN:]}"
