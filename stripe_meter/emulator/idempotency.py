"""Idempotency keys.

Owns: which answer belongs to which key, for exactly 24 hours of the emulator's clock (docs.stripe.com/api/
idempotent_requests), or 30 days for API v2. Does not own: what may be kept; the caller decides. A key used with other
parameters or on another path, or while its first request is still running, raises the error Stripe answers.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from stripe_meter.emulator.errors import JSON, ApiError, ParameterError

KEPT_SECONDS: Final = 24 * 3600
KEPT_SECONDS_V2: Final = 30 * 24 * 3600
MAX_KEY: Final = 255
MAX_KEPT: Final = 500_000


@dataclass(slots=True)
class Entry:
    """The first request of a key; `status` is None while it runs."""

    fingerprint: str
    at: float
    status: int | None = None
    body: JSON | None = None


class Idempotency:
    """Keys of the last `kept` seconds, oldest first."""

    def __init__(self, kept: float = KEPT_SECONDS) -> None:
        self._kept = kept
        self._entries: OrderedDict[str, Entry] = OrderedDict()

    def recall(self, key: str, fingerprint: str, now: float) -> Entry | None:
        """The kept answer of a key, or None when the key is new."""
        if len(key) > MAX_KEY:
            raise ParameterError(f"Idempotency keys can have at most {MAX_KEY} characters.")
        self._prune(now)
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.fingerprint != fingerprint:
            message = (
                "Keys for idempotent requests can only be used with the same parameters and endpoint they were first "
                f"used with. Try a key other than '{key}'."
            )
            raise ApiError(400, message, type="idempotency_error")
        if entry.status is None:
            message = "There is currently another in-progress request using this Idempotency-Key."
            raise ApiError(409, message, code="idempotency_key_in_use")
        return entry

    def has(self, key: str, now: float) -> bool:
        """Whether the key is in use or has a kept answer."""
        self._prune(now)
        return key in self._entries

    def begin(self, key: str, fingerprint: str, now: float) -> None:
        """Mark the key as in use by a running request."""
        if len(self._entries) >= MAX_KEPT:
            raise ApiError(500, f"The emulator keeps at most {MAX_KEPT} idempotency keys.", type="api_error")
        self._entries[key] = Entry(fingerprint, now)

    def keep(self, key: str, status: int, body: JSON) -> None:
        """Keep the answer of a key that was begun."""
        entry = self._entries[key]
        entry.status, entry.body = status, body

    def drop(self, key: str) -> None:
        """Forget a key, so that the next request with it runs."""
        self._entries.pop(key, None)

    def _prune(self, now: float) -> None:
        while self._entries:
            key, entry = next(iter(self._entries.items()))
            if entry.at > now - self._kept:
                return
            del self._entries[key]
