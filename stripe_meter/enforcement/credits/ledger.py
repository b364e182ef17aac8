"""The wallet's ledger as the protocol reads it: entries, the chains they belong to, and what mends a dead one.

Owns the form of our transactions at Stripe and the one sum that decides every doubt. Pure. Entries come newest first,
page by page; whoever sums must have all of a chain, so a listing goes on until it has the first entry of each.

A transaction of ours in Stripe (https://docs.stripe.com/api/customer_balance_transactions):
    amount        positive takes from the wallet, negative gives to it
    metadata      sm: what it is; of a chain: c (its id), n (number of the write), u (units used so far)
    description   for people: `12 × summarize, 3 × translate`
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

#: Stripe takes 350 characters.
_LONGEST: Final = 200
SET_ASIDE: Final = "set aside for calls"
#: Stripe's clocks, and ours behind its answers, may differ by so many seconds.
_CLOCKS: Final = 60


@dataclass(frozen=True, slots=True)
class Entry:
    """One transaction of a wallet; `chain`, `number` and `used` are empty where it belongs to no chain."""

    id: str
    amount: int
    created: int
    chain: str = ""
    number: int = 0
    used: int = 0


@dataclass(frozen=True, slots=True)
class Write:
    """A transaction to be made: sent again with the same bytes until its fate is known."""

    amount: int
    key: str
    chain: str
    number: int
    used: int
    description: str

    @property
    def metadata(self) -> dict[str, str]:
        return {"sm": "chain", "c": self.chain, "n": str(self.number), "u": str(self.used)}


def chain_write(chain: str, number: int, amount: int, used: int, calls: Mapping[str, int]) -> Write:
    """The write of a chain's owner."""
    description = shown(calls) or (SET_ASIDE if amount > 0 else "given back unused")
    return Write(amount, f"{chain}:{number}", chain, number, used, description)


def shown(calls: Mapping[str, int]) -> str:
    """Calls by tool, for people: `12 × summarize, 3 × translate`."""
    text = ", ".join(f"{count} × {tool}" for tool, count in sorted(calls.items()))
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


@dataclass(slots=True)
class Held:
    """One chain as the ledger shows it.

    Attributes:
        total: Sum of its amounts: what the wallet is without.
        used: Highest use it has named.
        number: Highest number.
        newest: Unix seconds of the newest entry.
        is_whole: Whether its first entry was seen.
    """

    total: int = 0
    used: int = 0
    number: int = 0
    newest: int = 0
    is_whole: bool = False

    @property
    def unproven(self) -> int:
        """What was taken and not named as used; 0 for a finished chain."""
        return self.total - self.used


@dataclass(slots=True)
class Ledger:
    """What a listing has shown so far."""

    chains: dict[str, Held] = field(default_factory=dict)
    #: Unix seconds of the oldest entry seen.
    oldest: int = 0

    def add(self, page: Iterable[Entry]) -> None:
        """Take in one page; pages come newest first."""
        for entry in page:
            self.oldest = entry.created
            if not entry.chain:
                continue
            held = self.chains.setdefault(entry.chain, Held())
            held.total += entry.amount
            held.used = max(held.used, entry.used)
            held.number = max(held.number, entry.number)
            held.newest = max(held.newest, entry.created)
            held.is_whole |= entry.number == 1

    def is_enough(self, since: int) -> bool:
        """Whether everything since then was seen, and every chain of it from its beginning."""
        return self.oldest < since and all(held.is_whole for held in self.chains.values())

    def settled_before(self, date: int, recovery_age: int) -> int:
        """Unix seconds before which every chain is finished: a later listing need not go further back."""
        open_ = [held for held in self.chains.values() if held.unproven or held.newest >= date - recovery_age - _CLOCKS]
        return min((held.newest for held in open_), default=date) - _CLOCKS

    def held_elsewhere(self, own: Collection[str]) -> int:
        """Units that lie in chains of others."""
        return sum(max(0, held.unproven) for id, held in self.chains.items() if id not in own)


def repairs(ledger: Ledger, date: int, recovery_age: int, own: Collection[str]) -> list[Write]:
    """What makes every dead chain finished, in either direction.

    Args:
        date: Stripe's `Date` of the listing.
        recovery_age: Seconds of silence after which a chain counts as dead.
        own: Chains of this process, which looks after them itself.
    """
    return [
        Write(
            -held.unproven,
            f"{id}:{held.number + 1}",
            id,
            held.number + 1,
            held.used,
            "given back after a crash" if held.unproven > 0 else "used before a crash",
        )
        for id, held in ledger.chains.items()
        if id not in own and held.is_whole and held.unproven and held.newest < date - recovery_age - _CLOCKS
    ]
