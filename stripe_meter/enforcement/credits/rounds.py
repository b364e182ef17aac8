"""Rounds: when to look through a wallet although nobody runs short of credits.

Owns the plan, no reading: a wallet that is used here is looked through once the recovery age has passed, when what a
predecessor of this process held can be told to be left behind, and then once a day. Stripe rations reads, so there is
at least half an hour between two wallets: at most 48 of them a day, whatever their number; who waits longest is next.
"""

from __future__ import annotations

from typing import Final

from stripe_meter.enforcement.credits.steps import Policy

#: Seconds from the first use of a wallet to the first look; a little more than a dead chain must have been silent.
FIRST: Final = Policy().recovery_age + 120.0
AGAIN: Final = 24 * 3600.0
#: Seconds between two looks of this process.
BETWEEN: Final = 1800.0
#: Wallets that may wait; what is used beyond them is looked through on a later day.
MOST: Final = 10_000


class Rounds:
    """Which wallet is next."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}
        self._seen: dict[str, float] = {}
        self._free_from = 0.0

    @property
    def is_empty(self) -> bool:
        """True while no wallet waits."""
        return not self._due

    def used(self, wallet: str, now: float) -> None:
        """`wallet` is being used."""
        if wallet not in self._due and len(self._due) < MOST:
            seen = self._seen.get(wallet)
            self._due[wallet] = now + FIRST if seen is None else max(now, seen + AGAIN)

    def next(self, now: float) -> str | None:
        """The wallet to look through now, if it is time for one."""
        if now < self._free_from or not self._due:
            return None
        wallet = min(self._due, key=self._due.__getitem__)
        if now < self._due[wallet]:
            return None
        del self._due[wallet]
        self._free_from = now + BETWEEN
        self._seen = {id: at for id, at in self._seen.items() if now - at < AGAIN} | {wallet: now}
        return wallet
