"""From a caller to an account: API keys are verified here, principals become customers.

Owns who a credential belongs to. The warm look-up runs in any thread and does no I/O; the cold one runs in the Stripe
thread's loop. Keys that are not valid are remembered, and a client that keeps inventing customers is stopped before
Stripe is asked, so that guessing cannot drain the account's reads. Keys that bear the seller's own mark are no guesses:
whatever others try, their owners are looked up.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from stripe_meter.domain.account import Account
from stripe_meter.domain.identity import ApiKey, Caller, Principal
from stripe_meter.enforcement import forks
from stripe_meter.enforcement.accounts import AccountCache
from stripe_meter.enforcement.identity.reading import network_of
from stripe_meter.enforcement.identity.resolving import Identity
from stripe_meter.errors import TooMany

if TYPE_CHECKING:
    from stripe_meter.gateway.gateway import Gateway

#: Keys that turn out to be nobody's, for each client and minute, before Stripe is not asked any more.
GUESSES_A_MINUTE: Final = 10
#: The same for all clients together, for who has many addresses, or writes them into a header that a proxy believes.
#: Whoever was served lately, or shows a key that was made here, never meets this limit.
GUESSES_AN_HOUR: Final = 120
#: What one client may take of these.
SHARE_AN_HOUR: Final = 30
_AT_ONCE: Final = 5
_MOST: Final = 100_000
K = TypeVar("K")
V = TypeVar("V")
#: A key that was nobody's never becomes somebody's.
_REFUSED_FOR: Final = 3600.0


class Callers:
    """Credentials that were verified, and those that were not."""

    def __init__(self, accounts: AccountCache, identity: Identity) -> None:
        self._accounts = accounts
        #: Verifies a JWT that nobody has seen before; a caller who shows none stays as they are.
        self.proved = identity.proved
        # By credential: the snapshot against which it was verified.
        self._known: dict[bytes, Account] = {}
        #: The snapshot against which a credential was verified, or None. Bound once: every paid call asks.
        self.verified: Callable[[bytes], Account | None] = self._known.get
        self._refused: dict[bytes, float] = {}
        self._guesses: dict[str, _Guesses] = {}
        self._all_guesses: deque[float] = deque(maxlen=GUESSES_AN_HOUR)
        self._turn = asyncio.Semaphore(4 * _AT_ONCE)
        self._looking: set[asyncio.Task[Account | None]] = set()
        self._joining: dict[Principal, asyncio.Task[Account]] = {}
        forks.watch(self)

    def after_fork(self) -> None:
        """Nobody is being looked up in a child."""
        forks.keep((self._looking, self._joining))
        self._looking, self._joining = set(), {}
        self._turn = asyncio.Semaphore(4 * _AT_ONCE)
        for guesses in self._guesses.values():
            guesses.turn = asyncio.Semaphore(_AT_ONCE)

    async def cold(self, caller: Caller, gateway: Gateway) -> Account | None:
        """Verify the caller, reading Stripe where needed; None when nobody stands behind the credential.

        Raises:
            StripeUnavailable: Stripe cannot be asked.
            TooMany: This client, or all together, showed too many keys that are nobody's.
            IdentityUnavailable: The caller's token cannot be verified now.
        """
        caller = await self.proved(caller)
        known = self._known.get(caller.credential)
        if caller.api_key is not None and caller.principal is None:
            verified = await self._of_key(caller, caller.api_key, gateway)
            if verified is None:
                return None
            account = verified
        else:
            found = None if known is None else await self._accounts.load(known.customer)
            if caller.principal is not None and (found is None or found.deleted):
                found = await self._of_principal(caller.principal, gateway)
            if found is None:
                return None
            account = found
        return None if account.deleted else self.remember(caller, account)

    def remember(self, caller: Caller, account: Account) -> Account:
        """From now on this credential means this account."""
        if not caller.is_pending:
            _bounded(self._known, caller.credential, account)
        return account

    async def _of_principal(self, principal: Principal, gateway: Gateway) -> Account:
        """The account of somebody who has a customer by now; who comes meanwhile shares the answer."""

        async def found() -> Account:
            customer = await gateway.customers.of_principal(principal)
            return self._accounts.put(await gateway.accounts.snapshot(customer))

        task = self._joining.get(principal)
        if task is None:
            task = self._joining[principal] = asyncio.create_task(found())
            task.add_done_callback(lambda _: self._joining.pop(principal, None))
        return await asyncio.shield(task)

    async def _of_key(self, caller: Caller, text: str, gateway: Gateway) -> Account | None:
        key = ApiKey.parse(text)
        if key is None:
            return None
        now = self._accounts.monotonic()
        if now < self._refused.get(caller.credential, 0.0):
            return None
        if self._opens(key):
            return await self._still_good(caller, key, now)
        if gateway.customers.mint.made(key):
            return await self._read(caller, key, now)
        # A task of its own: whoever gives up waiting must not leave a read that nobody counts.
        task = asyncio.create_task(self._looked_up(caller, key, now))
        self._looking.add(task)
        task.add_done_callback(self._looked)
        return await asyncio.shield(task)

    def _looked(self, task: asyncio.Task[Account | None]) -> None:
        self._looking.discard(task)
        if not task.cancelled():
            task.exception()  # it belongs to the caller, who may be gone

    async def _looked_up(self, caller: Caller, key: ApiKey, now: float) -> Account | None:
        """The account of a key that nobody here has met, within the limits on guessing."""
        network = network_of(caller.client)
        guesses = self._guesses.get(network)
        if guesses is None:
            guesses = _Guesses()
            _bounded(self._guesses, network, guesses)
        async with guesses.turn, self._turn:
            if self._opens(key):
                return await self._still_good(caller, key, now)
            guesses.check(now)
            _check(self._all_guesses, now, 3600.0, "Too many API keys that are nobody's are being tried here.")
            account = await self._read(caller, key, now)
            if account is None:
                guesses.failed.append(now)
                guesses.of_hour.append(now)
                self._all_guesses.append(now)
        return account

    async def _read(self, caller: Caller, key: ApiKey, now: float) -> Account | None:
        """The account of a key that is unknown to us, or younger than our snapshot."""
        was_reading = self._accounts.is_reading(key.customer)
        account = await self._accounts.shared(key.customer)
        if was_reading and not _is_of(key, account):
            # That answer was asked for before this key was shown, and maybe before it was made.
            account = await self._accounts.refresh(key.customer)
        if _is_of(key, account):
            return account
        _bounded(self._refused, caller.credential, now + _REFUSED_FOR)
        return None

    async def _still_good(self, caller: Caller, key: ApiKey, now: float) -> Account | None:
        """The account of a key that was good by the last snapshot, if it is by the one that is served now."""
        account = await self._accounts.load(key.customer)
        if key.opens(account.keys):
            return account
        _bounded(self._refused, caller.credential, now + _REFUSED_FOR)
        return None

    def _opens(self, key: ApiKey) -> bool:
        """Whether the key is good by what we know already."""
        known = self._accounts.get(key.customer)
        return known is not None and _is_of(key, known)


class _Guesses:
    """What one client tried in vain of late."""

    def __init__(self) -> None:
        self.failed: deque[float] = deque(maxlen=GUESSES_A_MINUTE)
        self.of_hour: deque[float] = deque(maxlen=SHARE_AN_HOUR)
        self.turn = asyncio.Semaphore(_AT_ONCE)

    def check(self, now: float) -> None:
        """Raise `TooMany` when it was too often to ask Stripe once more."""
        sentence = "Too many API keys that are nobody's came from your address."
        _check(self.failed, now, 60.0, sentence)
        _check(self.of_hour, now, 3600.0, sentence)


def _is_of(key: ApiKey, account: Account) -> bool:
    return not account.deleted and key.opens(account.keys)


def _check(failed: deque[float], now: float, window: float, sentence: str) -> None:
    """Raise `TooMany` when `failed` is full within `window` seconds."""
    if len(failed) == failed.maxlen and now - failed[0] < window:
        raise TooMany(sentence, retry_after=math.ceil(window - (now - failed[0])))


def _bounded(table: dict[K, V], key: K, value: V) -> None:
    table.pop(key, None)
    while len(table) >= _MOST:
        table.pop(next(iter(table)))
    table[key] = value
