"""Prices by name: what a tool costs that names no price itself.

    exact name  >  the glob with the most literal characters  >  of equal ones the one written first  >  default price

Owns reading such a list and that order. The default price is for decorated tools only: a glob says which others the
author means, a default would put a price on everything a server happens to list.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, TypeAlias

from stripe_meter.domain.rates import Rate, parse_price
from stripe_meter.errors import ConfigurationError, PriceError

#: What an author writes: one price, or several for one tool.
Price: TypeAlias = str | tuple[str, ...]

_WILD: Final = re.compile(r"\*|\?|\[[^]]+\]")


@dataclass(frozen=True, slots=True)
class PriceList:
    """Rates by name or glob, in the author's order, and those of every other decorated tool."""

    entries: tuple[tuple[str, tuple[Rate, ...]], ...] = ()
    default: tuple[Rate, ...] | None = None

    @classmethod
    def of(cls, prices: Mapping[str, Price], default: Price | None = None) -> PriceList:
        """Read what an author wrote. Raises `ConfigurationError` that names the entry."""
        if not isinstance(prices, Mapping):
            raise ConfigurationError(f'prices={prices!r} is no table; write prices={{"summarize": "$0.05"}}')
        entries = tuple((_pattern(name), _rates(price, f'prices["{name}"]')) for name, price in prices.items())
        return cls(entries, None if default is None else _rates(default, "default_price"))

    def over(self, other: PriceList) -> PriceList:
        """Both lists; where they name the same tool or glob, and for the default, this one counts."""
        mine = {name for name, _ in self.entries}
        rest = tuple(entry for entry in other.entries if entry[0] not in mine)
        return PriceList(self.entries + rest, other.default if self.default is None else self.default)

    def named(self, *names: str) -> tuple[Rate, ...] | None:
        """What the list says about a tool of these names, without the default; None when nothing."""
        fitting = [e for e in self.entries if e[0] in names or any(fnmatchcase(name, e[0]) for name in names)]
        if not fitting:
            return None
        return max(fitting, key=lambda entry: (entry[0] in names, _literal(entry[0])))[1]

    def rates(self, *names: str) -> tuple[Rate, ...] | None:
        """What a decorated tool costs that names no price; None when nothing gives one."""
        return self.named(*names) or self.default

    @property
    def tools(self) -> dict[str, tuple[Rate, ...]]:
        """The entries that are no globs."""
        return {name: rates for name, rates in self.entries if not _WILD.search(name)}

    @property
    def patterns(self) -> list[str]:
        """The entries that are globs."""
        return [name for name, _ in self.entries if _WILD.search(name)]

    def unused(self, names: Iterable[str]) -> list[str]:
        """Exact names that are none of `names`: most likely typing mistakes."""
        known = set(names)
        return [name for name in self.tools if name not in known]


def _literal(pattern: str) -> int:
    return len(_WILD.sub("", pattern))


def _pattern(name: object) -> str:
    if not isinstance(name, str) or not name.strip():
        raise ConfigurationError(f'prices[{name!r}] names no tool; write its name, or a glob such as "search-*"')
    return name


def _rates(price: object, where: str) -> tuple[Rate, ...]:
    try:
        return parse_price(price)
    except PriceError as error:
        raise ConfigurationError(f"{where}: {error}") from None
