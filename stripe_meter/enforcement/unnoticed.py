"""Purchases that nobody told this process about: paid by a link of another process, or while none was running.

Owns when a known customer who is about to be refused is worth a look, and what it finds. A look is one read: first of
all that the customer bought, then, where credits are sold, of what anybody bought lately, for on a payment link
somebody else may have paid for them; and so on in turn. Lives in the Stripe thread's loop.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from stripe_meter.enforcement.credits.grants import grant_pack
from stripe_meter.enforcement.purchases import LOOK_AFTER
from stripe_meter.errors import StripeUnavailable

if TYPE_CHECKING:
    from stripe_meter.domain.account import Account
    from stripe_meter.enforcement.accounts import AccountCache
    from stripe_meter.gateway.completed import Completed
    from stripe_meter.gateway.gateway import Gateway

log = logging.getLogger("stripe_meter")

#: Seconds between two looks at the most: as often as an account is read anyway.
_LONGEST: Final = 3600.0
_MOST: Final = 10_000


@dataclass(slots=True)
class _Watch:
    """When a customer was looked up last, and how often."""

    last: float = 0.0
    looks: int = 0

    def is_due(self, now: float) -> bool:
        return self.looks == 0 or now - self.last >= self._pause

    @property
    def _pause(self) -> float:
        if self.looks >= len(LOOK_AFTER):
            return _LONGEST
        return min(_LONGEST, LOOK_AFTER[self.looks] - LOOK_AFTER[self.looks - 1])


@dataclass(frozen=True, slots=True)
class Noticed:
    """There was something, and the account was read anew; `wallet` is where credits were given, or None."""

    wallet: str | None


class Unnoticed:
    """Looks for purchases, by customer."""

    def __init__(self, accounts: AccountCache) -> None:
        self._accounts = accounts
        self._watches: dict[str, _Watch] = {}
        # Sessions with which nothing is left to do.
        self._done: dict[str, None] = {}

    async def look(self, gateway: Gateway, account: Account, *, has_packs: bool) -> Noticed | None:
        """What a customer bought and this process does not know of; None if nothing, or it is too early to look again.

        Args:
            has_packs: Whether credits are on offer.

        Raises:
            StripeMeterError: Something was found and could not be given yet; the next look finds it again.
        """
        customer, now = account.customer, self._accounts.monotonic()
        watch = self._watches.get(customer)
        if watch is None:
            _bounded(self._watches)
            watch = self._watches[customer] = _Watch()
        if not watch.is_due(now):
            return None
        of_all = has_packs and watch.looks % 2 == 1
        watch.last, watch.looks = now, watch.looks + 1
        try:
            found = await self._found(gateway, account, of_all=of_all)
        except StripeUnavailable as error:
            log.info("purchases of %s cannot be looked up now: %s", customer, error)
            return None
        if not found:
            return None
        wallet = None
        for session in found:
            if session.unpacked is not None:
                wallet = await grant_pack(gateway, session.unpacked) or wallet
        await self._accounts.refresh(customer)
        for session in found:
            _bounded(self._done)
            self._done[session.id] = None
        # What they buy next is looked for as soon as this was.
        watch.looks = 1
        return Noticed(wallet)

    async def _found(self, gateway: Gateway, account: Account, *, of_all: bool) -> list[Completed]:
        from stripe_meter.gateway.completed import completed

        customer = account.customer
        rows = await completed(gateway.connection, gateway.namespace, None if of_all else customer)
        known = None if account.subscription is None else account.subscription.id
        return [
            row
            for row in rows
            if row.id not in self._done
            and customer in (row.customer, row.reference)
            and (row.unpacked is not None or (row.subscription is not None and row.subscription != known))
        ]


def _bounded(known: dict[str, _Watch] | dict[str, None]) -> None:
    while len(known) >= _MOST:
        known.pop(next(iter(known)))
