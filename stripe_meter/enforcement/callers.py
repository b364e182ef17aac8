"""From a caller to an account: API keys are verified here, principals become customers.

Owns who a credential belongs to. The warm look-up runs in any thread and does no I/O; the cold one runs in the Stripe
thread's loop. Keys that are not valid are remembered, and a client that keeps inventing customers is stopped before
Stripe is asked, so that guessing cannot drain the account's reads.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from stripe_meter.domain.account import Account
from stripe_meter.domain.identity import ApiKey, Caller
from stripe_meter.enforcement.accounts import AccountCache
from stripe_meter.errors import TooMany

if TYPE_CHECKING:
    from stripe_meter.gateway.gateway import Gateway

#: Keys that turn out to be nobody's, for each client and minute, before Stripe is not asked any more.
GUESSES_A_MINUTE: Final = 10
_AT_ONCE: Final = 5
_MOST: Final = 100_000
K = TypeVar("K")
V = TypeVar("V")
_REFUSED_FOR: Final = 60.0


class Callers:
    """Credentials that were verified, and those that were not."""

    def __init__(self, accounts: AccountCache) -> None:
        self._accounts = accounts
        # By credential: the snapshot against which it was verified.
        self._known: dict[bytes, Account] = {}
        #: The snapshot against which a credential was verified, or None. Bound once: every paid call asks.
        self.verified: Callable[[bytes], Account | None] = self._known.get
        self._refused: dict[bytes, float] = {}
        self._guesses: dict[str, _Guesses] = {}

    async def cold(self, caller: Caller, gateway: Gateway) -> Account | None:
        """Verify the caller, reading Stripe where needed; None when nobody stands behind the credential.

        Raises:
            StripeUnavailable: Stripe cannot be asked.
            TooMany: This client showed too many keys that are nobody's.
        """
        known = self._known.get(caller.credential)
        if caller.api_key is not None and caller.principal is None:
            verified = await self._of_key(caller, caller.api_key)
            if verified is None:
                return None
            account = verified
        elif known is not None:
            account = await self._accounts.load(known.customer)
        elif caller.principal is not None:
            found = await gateway.customers.of_principal(caller.principal)
            account = self._accounts.put(await gateway.accounts.snapshot(found))
        else:
            return None
        return None if account.deleted else self.remember(caller, account)

    def remember(self, caller: Caller, account: Account) -> Account:
        """From now on this credential means this account."""
        _bounded(self._known, caller.credential, account)
        return account

    async def _of_key(self, caller: Caller, text: str) -> Account | None:
        key = ApiKey.parse(text)
        if key is None:
            return None
        now = self._accounts.monotonic()
        if now < self._refused.get(caller.credential, 0.0):
            return None
        if self._opens(key):
            return await self._accounts.load(key.customer)
        guesses = self._guesses.get(caller.client)
        if guesses is None:
            guesses = _Guesses()
            _bounded(self._guesses, caller.client, guesses)
        async with guesses.turn:
            if self._opens(key):
                return await self._accounts.load(key.customer)
            guesses.check(now)
            # Unknown to us, or younger than our snapshot.
            account = await self._accounts.refresh(key.customer)
            if account.deleted or not key.opens(account.keys):
                guesses.failed.append(now)
                _bounded(self._refused, caller.credential, now + _REFUSED_FOR)
                return None
        return account

    def _opens(self, key: ApiKey) -> bool:
        """Whether the key is good by what we know already."""
        known = self._accounts.get(key.customer)
        return known is not None and not known.deleted and key.opens(known.keys)


class _Guesses:
    """What one client tried in vain of late."""

    def __init__(self) -> None:
        self.failed: deque[float] = deque(maxlen=GUESSES_A_MINUTE)
        self.turn = asyncio.Semaphore(_AT_ONCE)

    def check(self, now: float) -> None:
        """Raise `TooMany` when it was too often to ask Stripe once more."""
        if len(self.failed) == GUESSES_A_MINUTE and now - self.failed[0] < 60.0:
            raise TooMany(
                "Too many API keys that are nobody's came from your address.",
                retry_after=math.ceil(60.0 - (now - self.failed[0])),
            )


def _bounded(table: dict[K, V], key: K, value: V) -> None:
    table.pop(key, None)
    while len(table) >= _MOST:
        table.pop(next(iter(table)))
    table[key] = value
