"""What a chain asks of Stripe and hears from it, where it stands, and by which policy it lives.

Owns these values; what follows from them is the chain's.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from stripe_meter.enforcement.credits.ledger import Write

#: Stripe forgets an idempotency key after 24 hours; a little earlier nothing is built on it any more.
KEYS_LIVE: Final = 23 * 3600


@dataclass(frozen=True, slots=True)
class Policy:
    """How a wallet's chains behave.

    Attributes:
        returns: True gives back what a killed process held; False keeps it, and then nothing is ever served beyond
            what was bought.
        recovery_age: Seconds of silence after which a chain counts as dead.
        idle: Seconds without a call after which the rest is given back.
        oldest: Seconds after which a chain ends, so that its sum is over few transactions.
    """

    returns: bool = True
    recovery_age: int = 15 * 60
    idle: int = 60
    oldest: int = 6 * 3600

    @property
    def trusted_for(self) -> int:
        """Seconds after the last known state in which nobody else can have touched the chain."""
        return min(self.recovery_age, KEYS_LIVE) if self.returns else KEYS_LIVE


@dataclass(frozen=True, slots=True)
class Mark:
    """Name the use so far on the last transaction, where there is nothing to move."""

    transaction: str
    used: int
    description: str


@dataclass(frozen=True, slots=True)
class Look:
    """List the wallet's transactions created at or after `since` (Unix seconds)."""

    since: int


Step: TypeAlias = Write | Mark | Look


@dataclass(frozen=True, slots=True)
class Answer:
    """What Stripe said to a write.

    Attributes:
        id: Of the transaction.
        created: Unix seconds; of the transaction, also when the answer is a replay.
        balance: The wallet's balance after it; positive means that it owes.
        date: Unix seconds of the answer itself.
    """

    id: str
    created: int
    balance: int
    date: int


class Phase(Enum):
    """Where a chain stands; calls are admitted only while it is open."""

    OPEN = "open"
    ENDING = "ending"
    DOUBT = "doubt"
    OVER = "over"
