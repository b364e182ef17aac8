"""How much may be unsent before calls are refused: back-pressure in seconds and money.

Owns the two bounds and who is over them. Nothing is ever dropped, so what Stripe does not take must stop coming in:
beyond the age, everybody waits; beyond the amount, that customer does. Usage of the last two seconds does not count
towards the amount: it is merely on its way, however dear the tool. Looked at twice a second while usage is pending, so
what comes in between is on top of the bound. `blocks` is on the warm path and only looks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Set as AbstractSet
from decimal import Decimal
from typing import Final

from stripe_meter.enforcement.flusher.tallies import Tallies

LOOK_EVERY: Final = 0.5
_ON_ITS_WAY: Final = 2.0
#: Entries that are added up before the loop's other work has its turn.
_SLICE: Final = 500


class Exposure:
    """Bounds on unsent usage.

    Args:
        most_seconds: Age of the oldest unsent usage, for all customers.
        most_amount: Price of one customer's unsent usage, in minor units of their currency.
    """

    def __init__(self, most_seconds: float, most_amount: int) -> None:
        self._most_seconds = most_seconds
        self._most_amount = Decimal(most_amount)
        #: False while nobody is blocked, which is nearly always: one look spares a call.
        self.is_tight = False
        self._is_closed = False
        self._over: AbstractSet[str] = frozenset()

    def blocks(self, customer: str) -> bool:
        """Whether a call of this customer has to wait until Stripe has taken more."""
        return self._is_closed or customer in self._over

    async def look(self, tallies: Tallies) -> None:
        """Compare what is pending with the bounds."""
        self._is_closed = tallies.unsent_seconds() > self._most_seconds
        before = tallies.monotonic() - _ON_ITS_WAY
        unsent: dict[str, Decimal] = {}
        over: set[str] = set()
        for number, ((customer, _, _), tally) in enumerate(tallies.pending(), 1):
            if tally.since < before:
                unsent[customer] = amount = unsent.get(customer, Decimal(0)) + tally.amount
                if amount > self._most_amount:
                    over.add(customer)
            if number % _SLICE == 0:
                await asyncio.sleep(0)
        self._over = over
        self.is_tight = self._is_closed or bool(over)
