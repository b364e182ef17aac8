"""What somebody agrees to when they let packs be bought again by themselves: the terms of automatic top-ups.

Owns how these terms read beside a button, how they stand in metadata, and whether what is on offer today is still
what was agreed to.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from stripe_meter.domain.money import Money

#: Our page on which a customer ends automatic top-ups, below the base of our pages.
STOP: Final = "top-ups"


@dataclass(frozen=True, slots=True)
class TopUpTerms:
    """One pack, for so much, so often.

    Attributes:
        pack: Its key.
        credits: How many it holds.
        amount: What it costs, in minor units.
        currency: Lower-case ISO code.
        limit: How often it is bought in a calendar month at most.
    """

    pack: str
    credits: int
    amount: int
    currency: str
    limit: int

    def __str__(self) -> str:
        return f"{self.pack} {self.credits} {self.amount} {self.currency} {self.limit}"

    @classmethod
    def parse(cls, text: str) -> TopUpTerms | None:
        """The terms that stand in metadata; None where none do, or somebody else wrote there."""
        match text.split():
            case [pack, credits, amount, currency, limit] if all(map(str.isdecimal, (credits, amount, limit))):
                return cls(pack, int(credits), int(amount), currency, int(limit))
        return None

    def cover(self, offered: TopUpTerms) -> bool:
        """Whether who agreed to these terms agreed to be charged for what is on offer, in whatever number."""
        return (
            (self.pack, self.currency) == (offered.pack, offered.currency)
            and offered.amount <= self.amount
            and offered.credits >= self.credits
        )

    def said(self, stop: str) -> str:
        """What is read before agreeing.

        Args:
            stop: Where the customer ends it.
        """
        price = Money(Decimal(self.amount), self.currency)
        often = "once" if self.limit == 1 else f"{self.limit} times"
        return (
            f"When your credits run out, {self.credits} more are bought with this card for {price}, "
            f"at most {often} a month, until you stop it at {stop}."
        )
