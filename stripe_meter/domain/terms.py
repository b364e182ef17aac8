"""Small terms that plans are written in: a fee for an interval, a rate limit, an amount, a name.

Owns reading each of them once, exactly, with the sentence for one that cannot be read. Knows no plans and no Stripe.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal

from stripe_meter.domain.money import Money
from stripe_meter.domain.rates import parse_price
from stripe_meter.errors import ConfigurationError, PriceError

Interval = Literal["month", "year"]

_SECONDS: Final = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
#: Stripe's numbers of units are whole and have at most 15 digits.
_MOST: Final = 10**12
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,29}")


@dataclass(frozen=True, slots=True)
class Fee:
    """What a plan costs whether it is used or not: one amount for each currency, every `interval`."""

    amounts: tuple[Money, ...]
    interval: Interval

    def __str__(self) -> str:
        return " or ".join(f"{amount}/{self.interval}" for amount in self.amounts)


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `calls` (at least 1) in any `seconds`."""

    calls: int
    seconds: int


def parse_amounts(text: object, what: str, *, fractions: bool = False) -> tuple[Money, ...]:
    """One amount such as `"$9.99"`, or a tuple of them in several currencies.

    Args:
        text: What the author wrote.
        what: How the sentence names it, such as `CreditPack price`.
        fractions: Whether it may be finer than a minor unit, because many of them are added up before they are paid.

    Raises:
        ConfigurationError: It is not an amount of money, or finer than the currency's minor unit.
    """
    example = "$0.25" if fractions else "$9.99"
    try:
        rates = parse_price(text)
    except PriceError as error:
        said = str(error).replace("price=", f"{what}=", 1)
        if "free" in said:  # where a price may be nothing, an amount may not
            said = f'{what}={text!r} is no amount of money; write for example "{example}"'
        raise ConfigurationError(said) from None
    for rate in rates:
        if rate.kind != "money" or rate.metered_unit != ("call", 1) or not (fractions or rate.per == 1):
            raise ConfigurationError(f'{what}={text!r} is not an amount of money; write for example "{example}"')
        if not fractions and rate.amount != rate.amount.to_integral_value():
            raise ConfigurationError(f"{what}={text!r} is finer than its currency; round it to whole cents")
    return tuple(Money(rate.unit_amount, str(rate.currency)) for rate in rates)


def parse_fee(text: object) -> Fee:
    """A fee such as `"$49.99/month"`, or a tuple of them in several currencies.

    Raises:
        ConfigurationError: It is not one, or the intervals differ.
    """
    parts = [str(part).rpartition("/") for part in (text if isinstance(text, tuple) else (text,))]
    intervals = {interval.strip().lower() for _, slash, interval in parts if slash}
    if not parts or not all(slash for _, slash, _ in parts) or not intervals <= {"month", "year"}:
        raise ConfigurationError(f'price={text!r} of a Subscription names no interval; write "$49.99/month" or "/year"')
    if len(intervals) > 1:
        raise ConfigurationError(f"price={text!r} is paid by the month and by the year; make it two plans")
    named = tuple(amount.strip() for amount, _, _ in parts)
    amounts = parse_amounts(named if isinstance(text, tuple) else named[0], "price")
    interval: Interval = "month" if intervals == {"month"} else "year"
    return Fee(amounts, interval)


@dataclass(frozen=True, slots=True)
class SpendCap:
    """The most one customer may spend: one amount for each currency, every `interval` of UTC."""

    amounts: tuple[Money, ...]
    interval: Literal["day", "month"]

    def amount(self, currency: str) -> Money | None:
        return next((amount for amount in self.amounts if amount.currency == currency), None)


def parse_cap(text: object) -> SpendCap:
    """A cap such as `"$50/month"` or `"$5/day"`, or a tuple of them in several currencies.

    Raises:
        ConfigurationError: It is not one, or the intervals differ.
    """
    parts = [str(part).rpartition("/") for part in (text if isinstance(text, tuple) else (text,))]
    intervals = {interval.strip().lower() for _, _, interval in parts}
    if len(intervals) != 1 or not intervals <= {"day", "month"}:
        raise ConfigurationError(f'spend_cap={text!r} is not understood; write for example "$50/month" or "$5/day"')
    amounts = parse_amounts(tuple(amount.strip() for amount, _, _ in parts), "spend_cap")
    return SpendCap(amounts, "day" if intervals == {"day"} else "month")


def parse_rate_limit(text: object) -> RateLimit:
    """A limit such as `"1000/minute"`; per second, minute, hour or day. Raises `ConfigurationError`."""
    match = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(second|minute|hour|day)\s*", str(text), re.ASCII | re.IGNORECASE)
    if match is None or int(match[1]) == 0:
        raise ConfigurationError(f'rate_limit={text!r} is not understood; write for example "1000/minute"')
    return RateLimit(int(match[1]), _SECONDS[match[2].lower()])


def check_name(name: str, what: str) -> str:
    """A name that becomes part of lookup keys: lower case, digits, `-` and `_`, at most 30. Raises otherwise."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{what} {name!r} cannot name objects in Stripe; use at most 30 lower-case letters, digits, - and _"
        )
    return name


def slug(text: str) -> str:
    """A name made of what people read: `Starter pack` is `starter-pack`."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:30]


def whole(value: object, at_least: int, what: str) -> int:
    """A whole number, at least `at_least` and at most a million million. Raises `ConfigurationError`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise ConfigurationError(f"{what}={value!r} cannot be used; write a whole number, at least {at_least}")
    if value > _MOST:
        raise ConfigurationError(f"{what}={value} is more than can be counted; write at most {_MOST}")
    return value


def texts(values: Iterable[str] | str, what: str) -> tuple[str, ...]:
    """Several names, given as any iterable of strings but a string. Raises `ConfigurationError`."""
    is_list = isinstance(values, Iterable) and not isinstance(values, str)
    found = tuple(values) if is_list else ()
    if not is_list or not all(isinstance(value, str) and value for value in found):
        raise ConfigurationError(f'{what}={values!r} is no list of names; write for example {what}=["basic-*"]')
    return tuple(dict.fromkeys(found))


def percent(value: object) -> Decimal:
    """A discount in percent, more than 0 and at most 100. Raises `ConfigurationError`."""
    if isinstance(value, bool) or not isinstance(value, (int, str, Decimal)):
        raise ConfigurationError(f'a volume discount of {value!r} is not exact; write whole percent, or "12.5"')
    try:
        number = Decimal(value)
    except ArithmeticError:
        number = Decimal(0)
    if not number.is_finite() or not 0 < number <= 100:
        raise ConfigurationError(f"a volume discount of {value!r} percent cannot be; write more than 0, at most 100")
    return number
