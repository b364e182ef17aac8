"""Plans, prices and a spend cap as tables of a TOML file.

    [[plans]]                          [prices]
    kind = "subscription"              summarize = "$0.05"
    name = "pro"                       "search-*" = ["$0.01", "1 credit"]
    price = "$49.99/month"

Owns from table to plan: the kinds, their keys, and a sentence for each mistake that names file, table and key. What a
value may be is the plan's own business. A list in the file is a tuple in the code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from difflib import get_close_matches
from typing import Any, Final

from stripe_meter.domain.plans import CreditPack, Credits, Free, PayAsYouGo, Plan, Subscription
from stripe_meter.domain.pricelist import Price, PriceList
from stripe_meter.domain.terms import parse_cap
from stripe_meter.errors import ConfigurationError

_KINDS: Final[dict[str, Callable[..., Plan]]] = {
    "pay-as-you-go": PayAsYouGo,
    "subscription": Subscription,
    "credits": Credits,
    "free": Free,
}
_EXAMPLES: Final = {
    "name": '"pro"',
    "price": '"$49.99/month"',
    "packs": '[{ credits = 100, price = "$9.99", name = "Starter" }]',
    "credits": "100",
}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a table stands: the file as people call it, and the table that ours are in, such as `tool.stripe-meter`."""

    file: str
    within: str = ""

    def table(self, name: str, *, several: bool = False) -> str:
        full = f"{self.within}.{name}" if self.within else name
        return f"{self.file}, [[{full}]]" if several else f"{self.file}, [{full}]"


def check_keys(found: Iterable[str], known: Iterable[str], where: str, what: str) -> None:
    """Refuse the first key that nobody reads. Raises `ConfigurationError`."""
    known = list(known)
    for key in found:
        if key not in known:
            alike = get_close_matches(key, known, 1)
            fix = f"write {alike[0]}" if alike else f"it takes {', '.join(known)}"
            raise ConfigurationError(f"{where}: {key!r} is no key of {what}; {fix}")


def read_plans(tables: object, origin: Origin) -> tuple[Plan, ...]:
    """The plans of `[[plans]]`, in the order of the file. Raises `ConfigurationError`."""
    where = origin.table("plans", several=True)
    if not isinstance(tables, list) or not all(isinstance(table, Mapping) for table in tables):
        raise ConfigurationError(f'{where} is no list of tables; write [[plans]] and kind = "subscription" below it')
    return tuple(_plan(table, f"{where} number {number}") for number, table in enumerate(tables, 1))


def read_prices(table: object, origin: Origin) -> dict[str, Price]:
    """The entries of `[prices]`. Raises `ConfigurationError`."""
    where = origin.table("prices")
    if not isinstance(table, Mapping):
        raise ConfigurationError(f'{where} is no table; write [prices] and summarize = "$0.05" below it')
    prices = {name: _price(price) for name, price in table.items()}
    for name, price in prices.items():
        try:
            PriceList.of({name: price})
        except ConfigurationError as error:
            said = str(error).removeprefix("prices[").replace("]", "", 1)
            raise ConfigurationError(f"{where}, key {said}") from None
    return prices


def read_default_price(value: object, origin: Origin) -> Price:
    """The value of `default_price`. Raises `ConfigurationError`."""
    price: Price = _price(value)
    try:
        PriceList.of({}, price)
    except ConfigurationError as error:
        raise ConfigurationError(f"{origin.file}, {error}") from None
    return price


def read_spend_cap(value: object, origin: Origin) -> str | tuple[str, ...]:
    """The value of `spend_cap`. Raises `ConfigurationError`."""
    cap: str | tuple[str, ...] = _price(value)
    try:
        parse_cap(cap)
    except ConfigurationError as error:
        raise ConfigurationError(f"{origin.file}, {error}") from None
    return cap


def _plan(table: Mapping[str, Any], where: str) -> Plan:
    kinds = ", ".join(f'"{kind}"' for kind in _KINDS)
    if "kind" not in table:
        raise ConfigurationError(f"{where}: kind is missing; write kind = one of {kinds}")
    kind = table["kind"]
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ConfigurationError(f"{where}: kind = {kind!r} is no way to sell; write one of {kinds}")
    values = {key: value for key, value in table.items() if key != "kind"}
    make = _KINDS[kind]
    _check_table(values, make, where, f"a {kind} plan")
    try:
        if "packs" in values:
            values["packs"] = [_pack(pack, f"packs[{number}]") for number, pack in enumerate(_list(values["packs"]), 1)]
        return make(**{key: _tuples(value) for key, value in values.items()})
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from None


def _pack(table: object, where: str) -> CreditPack:
    if isinstance(table, CreditPack):
        return table
    if not isinstance(table, Mapping):
        raise ConfigurationError(f"{where} is no table; write packs = {_EXAMPLES['packs']}")
    _check_table(table, CreditPack, where, "a credit pack")
    return CreditPack(**table)


def _check_table(table: Mapping[str, Any], make: Any, where: str, what: str) -> None:
    known = fields(make)
    check_keys(table, [field.name for field in known], where, what)
    for field in known:
        if field.default is MISSING and field.name not in table:
            raise ConfigurationError(
                f"{where}: {field.name} is missing; write {field.name} = {_EXAMPLES.get(field.name, '…')}"
            )


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise ConfigurationError(f"packs is no list; write packs = {_EXAMPLES['packs']}")
    return value


def _price(value: object) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(part) for part in value) if isinstance(value, list) else value
