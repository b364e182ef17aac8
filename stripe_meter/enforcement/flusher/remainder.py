"""What a process ends without: usage that Stripe has not accepted, and credits that were not given back.

Owns what credits have to offer for that, and the lines in the log that say what is left, to the unit. They are said
where waiting ends, which may be at a signal and again at the exit, and each unit is said once.
"""

from __future__ import annotations

import logging
import threading
from typing import Final, Protocol

log = logging.getLogger("stripe_meter.flusher")

#: Entries in one line of the log; there may be a hundred thousand.
_A_LINE: Final = 50


class Holdings(Protocol):
    """What a process took at Stripe in advance and gives back when it ends."""

    @property
    def is_empty(self) -> bool: ...

    async def give_back(self) -> None:
        """Take nothing more; return when everything was given back."""

    def remainder(self) -> list[tuple[str, int]]:
        """Who is still without how much."""

    def resume(self) -> None:
        """The process goes on after all: take again."""

    def reset(self) -> None:
        """In a forked child: all of it is the parent's."""


class Remainder:
    """The books over what was said."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._said: dict[tuple[str, ...], int] = {}

    def say(self, usage: list[tuple[str, str, int, int]], held: list[tuple[str, int]]) -> None:
        """Log what was not said before.

        Args:
            usage: Customer, meter, metered units, calls.
            held: Wallet, and units of it.
        """
        with self._lock:
            news = [
                (customer, meter, new)
                for customer, meter, units, _ in usage
                if (new := self._news(units, customer, meter))
            ]
            kept = [(wallet, units) for wallet, units in held if self._news(units, wallet)]
        for first in range(0, len(news), _A_LINE):
            line = news[first : first + _A_LINE]
            log.error(
                "ended with usage that Stripe has not accepted, entries %d to %d of %d: %s",
                first + 1,
                first + len(line),
                len(news),
                ", ".join(f"{units} on {meter} of {customer}" for customer, meter, units in line),
            )
        for wallet, units in kept:
            log.error("ended with up to %d units of the credits of %s not given back", units, wallet)

    def _news(self, units: int, *whose: str) -> int:
        said = self._said.get(whose, 0)
        self._said[whose] = max(said, units)
        return max(0, units - said)
