"""The account cache: snapshots of customers, read once, served for an hour, refreshed beside the calls.

Owns freshness, single flight and the bound. `get` is called from any thread and only looks; everything that reads
Stripe runs in the Stripe thread's loop. An outage keeps a known customer served from the last snapshot; a failed read
is never cached.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from stripe_meter.domain.account import Account
from stripe_meter.enforcement import forks
from stripe_meter.errors import StripeUnavailable

#: Seconds. Stripe rations reads: 10,000 a month for the whole account. A revoked key works as long as its snapshot.
FRESH: Final = 3600.0
#: The same where webhooks tell of changes.
FRESH_WHEN_TOLD: Final = 24 * 3600.0
#: Busy customers are read again this long before, beside their calls, so that none of them waits.
AHEAD: Final = 300.0
#: While Stripe is unavailable, the last snapshot serves this long, and is tried to be renewed this often.
STALE: Final = 24 * 3600.0
AGAIN: Final = 60.0
#: Somebody with an old snapshot does not wait longer than this for a newer one.
PATIENCE: Final = 1.0
#: About 1 kB each.
MOST: Final = 100_000


class AccountCache:
    """Snapshots by customer."""

    def __init__(
        self, read: Callable[[str], Awaitable[Account]], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._read = read
        self.monotonic = monotonic
        #: Seconds for which a snapshot is served before it is read again.
        self.fresh = FRESH
        self._accounts: dict[str, Account] = {}
        #: The snapshot of a customer as it is, however old, or None. Bound once: it is on the path of every paid call.
        self.get: Callable[[str], Account | None] = self._accounts.get
        self._reading: dict[str, asyncio.Task[Account]] = {}
        self._renewed: dict[str, float] = {}
        # Of those who are served although their snapshot is old: until when at most.
        self._stale_until: dict[str, float] = {}
        forks.watch(self)

    def after_fork(self) -> None:
        """Nothing is being read in a child."""
        forks.keep(self._reading)
        self._reading = {}

    def put(self, account: Account) -> Account:
        """Take in what was just read or learned; it is fresh from now."""
        self._stale_until.pop(account.customer, None)
        return self._keep(replace(account, fresh_until=self.monotonic() + self.fresh, offers=()))

    def _keep(self, stamped: Account) -> Account:
        # Re-inserting moves it to the end, so the front is what was not read for longest.
        self._accounts.pop(stamped.customer, None)
        while len(self._accounts) >= MOST:
            oldest = next(iter(self._accounts))
            self._accounts.pop(oldest)
            self._stale_until.pop(oldest, None)
        self._accounts[stamped.customer] = stamped
        return stamped

    def is_newest(self, account: Account) -> bool:
        """Whether nothing newer is known of this customer than `account`."""
        newest = self.get(account.customer)
        return newest is None or newest is account

    async def load(self, customer: str) -> Account:
        """A snapshot that may be served: fresh, or the last one while Stripe is unavailable.

        Raises:
            StripeUnavailable: There is no snapshot, or it is older than a day.
        """
        known = self._accounts.get(customer)
        now = self.monotonic()
        if known is not None and now < known.fresh_until:
            return known
        if known is None:
            return await self.shared(customer)
        stale_until = self._stale_until.get(customer, known.fresh_until - FRESH + STALE)
        if now >= stale_until:
            return await self.shared(customer)
        try:
            async with asyncio.timeout(PATIENCE):
                return await self.shared(customer)
        except (StripeUnavailable, TimeoutError):
            latest = self._accounts.get(customer)
            if latest is not None and latest is not known:  # somebody else learned more meanwhile
                return latest
            # Whoever comes next must not wait for the same time-out.
            self._stale_until[customer] = stale_until
            return self._keep(replace(known, fresh_until=now + AHEAD + AGAIN, offers=()))

    async def renew(self, known: Account, now: float) -> Account:
        """A newer snapshot than `known`, which is behind the times; `known` itself while none can be had.

        Args:
            now: Unix seconds of Stripe's clock. A customer is read once a minute, for Stripe may be late itself.
        """
        if now < self._renewed.get(known.customer, 0.0) + AGAIN:
            return known
        while len(self._renewed) >= MOST:
            self._renewed.pop(next(iter(self._renewed)))
        self._renewed[known.customer] = now
        try:
            async with asyncio.timeout(PATIENCE):
                return await self.shared(known.customer)
        except (StripeUnavailable, TimeoutError):
            return known

    async def refresh(self, customer: str) -> Account:
        """Read what is true from now on, as after a change; an answer that was asked for before is not shared."""
        if (task := self._reading.get(customer)) is not None:
            await asyncio.wait([task])
        return await self.shared(customer)

    async def shared(self, customer: str) -> Account:
        """Read, or share an answer that is on its way; it may miss what has changed since it was asked for."""
        task = self._reading.get(customer)
        if task is None:
            task = asyncio.create_task(self._fetch(customer))
            self._reading[customer] = task
            task.add_done_callback(lambda _: self._reading.pop(customer, None))
        # Shielded: one caller that gives up must not take the answer from the others.
        return await asyncio.shield(task)

    def is_reading(self, customer: str) -> bool:
        """Whether an answer is on its way that `shared` would share."""
        return customer in self._reading

    async def _fetch(self, customer: str) -> Account:
        return self.put(await self._read(customer))
