"""A priced tool: its billing identity, its rates and how its work is counted.

Owns the rules that hold for one tool by itself. Does not know the function behind it or the framework it is
registered in. Raises `ConfigurationError` when the pieces contradict each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from stripe_meter.domain.rates import Rate
from stripe_meter.domain.terms import whole
from stripe_meter.errors import ConfigurationError

if TYPE_CHECKING:
    from stripe_meter.domain.usage import Call

#: What stands where a price would, while nobody can tell it.
UNPRICED: Final = "an amount that is not set up yet"
#: Leaves room for a namespace within the 80 to 100 characters that Stripe's names may have.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,59}")


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool as it is sold.

    Attributes:
        name: Its identity in Stripe; renaming the function must not open a new meter.
        rates: What it costs, in the author's order; see `parse_price`. Empty while only a price list can tell.
        units: Counts the units of a finished call, or None when calls are counted or the tool adds units itself.
        max_units: The most units one call may be billed, at least 1, or None for no bound.
        feature: What the caller's plan has to unlock, or None.
        charges_always: True when a call that fails costs as much as one that succeeds.
        listed: Other names under which servers list it, as far as somebody has looked.
    """

    name: str
    rates: tuple[Rate, ...]
    units: Callable[[Call], int] | None = None
    max_units: int | None = None
    feature: str | None = None
    charges_always: bool = False
    listed: tuple[str, ...] = ()
    # Looked at in every call, so worked out once.
    is_free: bool = field(init=False, compare=False)
    #: True when a call may count for any number of units, not for one.
    is_dynamic: bool = field(init=False, compare=False)
    _money: dict[str, Rate] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._check_kinds()
        object.__setattr__(self, "is_dynamic", any(rate.unit != "call" for rate in self.rates))
        if self.is_dynamic:  # a price per call beside one per word: words are no calls
            rates = tuple(replace(rate, once=True) if rate.unit == "call" else rate for rate in self.rates)
            object.__setattr__(self, "rates", rates)
        money = {str(rate.currency): rate for rate in self.rates if rate.kind == "money"}
        object.__setattr__(self, "_money", money)
        object.__setattr__(self, "is_free", bool(self.rates) and self.rates[0].kind == "free")
        if not _NAME.fullmatch(self.name):
            raise ConfigurationError(
                f"tool name {self.name!r} cannot name a meter; "
                'write name="…" with at most 60 letters, digits, ".", "_" or "-"'
            )
        if self.units is not None and self.rates and not self.is_dynamic:
            raise ConfigurationError(
                f'tool {self.name!r} counts units but is priced per call; write for example price="$0.002 per word"'
            )

    def _check_kinds(self) -> None:
        """Refuse what a type checker would: it would be noticed by the first customer else."""
        if not isinstance(self.name, str):
            raise ConfigurationError(
                f'name={self.name!r} cannot name a tool; write it as text, such as name="summarize"'
            )
        if self.units is not None and not callable(self.units):
            raise ConfigurationError(
                f"tool {self.name!r}: units={self.units!r} counts nothing; "
                "write a function, such as units=lambda call: len(call.result.split())"
            )
        if self.max_units is not None:
            whole(self.max_units, 1, f"tool {self.name!r}: max_units")

    @property
    def names(self) -> tuple[str, ...]:
        """What the author may call it: its identity, and the names that are listed."""
        return self.name, *self.listed

    @property
    def money_rates(self) -> tuple[Rate, ...]:
        return tuple(self._money.values())

    def rate_in(self, currency: str) -> Rate:
        """The money rate of `currency`; the first one where the author named none, for all count alike."""
        rate = self._money.get(currency)
        return rate if rate is not None else next(iter(self._money.values()))

    @property
    def price(self) -> str:
        """For people: `$0.05 a call`, `$0.002 per word or €0.002 per word`."""
        return " or ".join(str(rate) for rate in self.rates) or UNPRICED

    def priced(self, rates: tuple[Rate, ...]) -> Tool:
        """The same tool at rates that stand elsewhere."""
        return replace(self, rates=rates)
