"""What the doctor judges, and what it says about it.

Owns the two shapes that every check shares.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from stripe_meter.domain.change import Change
from stripe_meter.domain.changes import changes
from stripe_meter.domain.desired import Desired
from stripe_meter.domain.evidence import Evidence
from stripe_meter.domain.found import Inventory, Subscriber

#: Names that are listed before it says "and more".
_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        check: Name of the check.
        problem: What is wrong, and where.
        cost: What it costs if it stays.
        command: What to type.
    """

    check: str
    problem: str
    cost: str
    command: str


@dataclass(frozen=True, slots=True)
class Case:
    """What there is to judge.

    Attributes:
        target: What the author named, or None: then nothing is wanted, and `desired` is empty.
        desired: What the code wants.
        evidence: What Stripe has.
        pages: Address of our pages, or None where it is not known.
    """

    target: str | None
    desired: Desired
    evidence: Evidence
    pages: str | None

    @property
    def apply(self) -> str:
        return f"stripe-meter apply {self.target or 'server.py'}"

    @property
    def differences(self) -> list[Change]:
        """As `plan` shows them; nothing without a target, or where the catalogue could not be read."""
        if self.target is None or self.evidence.inventory is None:
            return []
        return changes(
            self.desired,
            self.evidence.inventory,
            self.evidence.subscribers,
            credits_sold=bool(self.evidence.wallets),
        )

    @property
    def inventory(self) -> Inventory:
        return self.evidence.inventory or Inventory()

    @property
    def ours(self) -> list[Subscriber]:
        return [one for one in self.evidence.subscribers if one.ours]


#: What a check says about each thing it finds: problem, cost, command.
Said = Iterator[tuple[str, str, str]]


def some(names: Iterable[str]) -> str:
    """The first few, and how many more."""
    listed = list(names)
    more = len(listed) - _SHOWN
    return ", ".join(listed[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
