"""What one unit on a meter stands for: a call, a word, a begun block of 1000 rows.

Owns writing it into a price and reading it back. The amount of a price says nothing without its unit, and a price keeps
both for as long as somebody is billed by it, whatever the code has come to say since. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from stripe_meter.domain.rates import Rate, parse_price
from stripe_meter.errors import PriceError

if TYPE_CHECKING:
    from stripe_meter.domain.tools import Tool

#: Metadata key of a metered price: what its amount is paid for, such as `call` or `1000 rows`.
METADATA_UNIT: Final = "unit"
#: Metadata key of a price that replaced others: what those were paid for and nobody counts any more, separated by
#: commas. Whoever is still on one of them cannot be billed.
METADATA_EARLIER: Final = "earlier_units"
#: Stripe's bound on a nickname; what is as long may have been cut.
LONGEST_NICKNAME: Final = 200
_BLOCK: Final = re.compile(r"(\d{1,12}) (\S+)s")


@dataclass(frozen=True, slots=True)
class Unit:
    """`block` (at least 1) of the thing called `name`, counted as one."""

    name: str
    block: int = 1

    def __str__(self) -> str:
        return self.name if self.block == 1 else f"{self.block} {self.name}s"

    def is_counted_by(self, tool: Tool) -> bool:
        """Whether `tool`, as it is declared now, tells how many of the thing a call was."""
        return self.name == "call" or any(rate.unit == self.name for rate in tool.rates)

    def rate(self, tool: Tool, amount: Decimal, currency: str) -> Rate:
        """`tool` at `amount` minor units for one of this unit; in the author's words where it is theirs."""
        rate = tool.rate_in(currency)
        if unit_of(rate) == self:
            return rate.at(amount)
        once = self.name == "call" and tool.is_dynamic
        return Rate("money", amount, currency, self.block, self.name, started=self.block > 1, once=once)


def unit_of(rate: Rate) -> Unit:
    """What is counted for a rate in money."""
    return Unit(*rate.metered_unit)


def is_uncounted(unit: Unit | None, wanted: Unit | None) -> bool:
    """Whether whoever declares a tool that is paid for by `wanted` cannot count `unit`; None is what nobody said."""
    return wanted is not None and unit != wanted and (unit is None or unit.name not in ("call", wanted.name))


def unit_said(metadata: Mapping[str, str], nickname: str | None) -> Unit | None:
    """The unit that a price in Stripe is paid for; None when it does not say.

    Prices that were made before they said it carry the author's price as their nickname.
    """
    said = metadata.get(METADATA_UNIT)
    if said is not None:
        block = _BLOCK.fullmatch(said)
        return Unit(said) if block is None else Unit(block[2], int(block[1]))
    parts = (nickname or "").split(" or ")
    if len(nickname or "") >= LONGEST_NICKNAME and len(parts) > 1:
        del parts[-1]
    for part in parts:
        try:
            (rate,) = parse_price(part.removesuffix(" a call"))
        except PriceError:
            return None
        if rate.kind == "money":
            return unit_of(rate)
    return None
