"""The price grammar: what an author writes above a tool, and what one call of it costs.

    free | AMOUNT [per [started] [N] UNIT]        AMOUNT: "$0.05", "0.002 eur", "10 credits", "2 calls"

Owns reading prices and the exact arithmetic of one rate. Does not know plans, meters or Stripe. A price that could
mean two things, or that Stripe could not bill to the last digit, raises `PriceError` with the line to write instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final, Literal

from stripe_meter.domain.money import EXACT, SYMBOLS, UNIT_AMOUNT_DECIMALS, Money, known_currency, plain
from stripe_meter.errors import PriceError

Kind = Literal["money", "credits", "calls", "free"]

#: Stripe's largest `unit_amount`, in minor units (eight digits).
LARGEST_UNIT_AMOUNT: Final = 99_999_999

_PRICE: Final = re.compile(
    rf"""\s*(?:
        (?P<free>free)
      | (?P<sign>[{"".join(SYMBOLS)}])\s*(?P<signed>\d+(?:\.\d+)?)
      | (?P<number>\d+(?:\.\d+)?)\s*(?P<word>[a-z]+)
    )
    (?:\s+per\s+(?P<started>started\s+)?(?:(?P<per>\d[\d,_]*)\s+)?(?P<unit>[a-z][a-z0-9_-]*))?\s*""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_FORMS: Final = 'write for example "$0.05", "0.002 eur per word", "$1 per 1000 rows" or "free"'


@dataclass(frozen=True, slots=True)
class Rate:
    """What one unit of a tool's work costs.

    Attributes:
        kind: Which of the caller's pockets pays: `money`, `credits`, `calls` (included ones), or nothing (`free`).
        amount: Minor units of `currency` for money, else whole or fractional credits or calls; per `per` units.
        currency: Lower-case ISO code for money, else None.
        per: How many units `amount` buys, at least 1.
        unit: What is counted, singular: `call`, `word`, `row`.
        started: True when a begun block of `per` units is paid in full, False when pro rata.
        once: True when each call counts as one, whatever the tool counts for its other rates.
    """

    kind: Kind
    amount: Decimal
    currency: str | None = None
    per: int = 1
    unit: str = "call"
    started: bool = False
    once: bool = False

    @property
    def unit_amount(self) -> Decimal:
        """Price of one metered unit, in minor units (money) or credits or calls; exact."""
        return self.amount if self.started else plain(EXACT.divide(self.amount, Decimal(self.per)))

    @property
    def metered_unit(self) -> tuple[str, int]:
        """What one unit on the meter stands for: the counted thing and how many of it."""
        return self.unit, self.per if self.started else 1

    def quantity(self, units: int, scale: int = 1) -> int:
        """What the ledger is told for `units` (at least 0) counted units of one call.

        For money these are metered units, which the price in Stripe multiplies. Included calls and credits are taken
        as such, in ledger units (`scale` of them are one), rounded up for each call.
        """
        if self.once:
            units = 1
        blocks = -(-units // self.per) if self.started else units
        if self.kind == "money":
            return blocks
        numerator, denominator = self.amount.as_integer_ratio()
        return -(-blocks * numerator * scale // (denominator * (1 if self.started else self.per)))

    def money(self, quantity: int) -> Money:
        """The price of `quantity` metered units; only for money rates."""
        assert self.currency is not None
        return Money(self.unit_amount, self.currency) * quantity

    def at(self, unit_amount: Decimal) -> Rate:
        """The same rate at another price for one metered unit."""
        amount = unit_amount if self.started else plain(EXACT.multiply(unit_amount, Decimal(self.per)))
        return replace(self, amount=amount)

    def __str__(self) -> str:
        if self.kind == "free":
            return "free"
        if self.currency is not None:
            amount = str(Money(self.amount, self.currency))
        else:
            number = f"{self.amount:f}"
            amount = f"{number} {self.kind.removesuffix('s') if number == '1' else self.kind}"
            if self.kind == "calls" and self.metered_unit == ("call", 1) and self.per == 1:
                return amount
        if self.unit == "call" and self.per == 1:
            return f"{amount} a call"
        block = self.unit if self.per == 1 else f"{self.per} {self.unit}s"
        return f"{amount} per {'started ' if self.started else ''}{block}"


def parse_price(price: object) -> tuple[Rate, ...]:
    """Read one price, or a tuple of them for several currencies or kinds.

    Args:
        price: A string of the grammar above, or a tuple of such strings.

    Returns:
        At least one rate, at most one for each kind and currency, in the author's order.

    Raises:
        PriceError: Anything else; the message shows the fix.
    """
    texts = price if isinstance(price, tuple) else (price,)
    if not texts:
        raise PriceError(f"price=() names no price; {_FORMS}")
    rates = tuple(_parse_one(text) for text in texts)
    seen: dict[tuple[Kind, str | None], Rate] = {}
    for rate in rates:
        if rate.kind == "free" and len(rates) > 1:
            raise PriceError(f'price={price!r} is both free and paid; write price="free" or drop "free"')
        if (rate.kind, rate.currency) in seen:
            raise PriceError(f"price={price!r} names {rate.currency or rate.kind} twice; keep one of them")
        seen[rate.kind, rate.currency] = rate
    money_units = {rate.metered_unit for rate in rates if rate.kind == "money"}
    if len(money_units) > 1:
        raise PriceError(
            f"price={price!r} counts different things in different currencies, but one meter serves them all; "
            "use the same unit (and the same started block) in each"
        )
    return rates


def _parse_one(text: object) -> Rate:
    if not isinstance(text, str):
        raise PriceError(_not_a_string(text))
    match = _PRICE.fullmatch(text)
    if match is None:
        raise PriceError(_not_understood(text))
    if match["free"]:
        if match["unit"]:
            raise PriceError(f'price={text!r} is free of what? write price="free"')
        return Rate("free", Decimal(0))
    kind, amount, currency = _amount(match)
    per = int((match["per"] or "1").replace(",", "").replace("_", ""))
    if per == 0:
        raise PriceError(f"price={text!r} divides by zero; write at least 1 after per")
    unit = (match["unit"] or "call").lower()
    if per > 1 or unit == "calls":
        unit = unit.removesuffix("s")
    rate = Rate(kind, amount, currency, per, unit, bool(match["started"]))
    _check_billable(text, rate)
    return rate


def _amount(match: re.Match[str]) -> tuple[Kind, Decimal, str | None]:
    if match["sign"]:
        money = Money.from_major(Decimal(match["signed"]), SYMBOLS[match["sign"]])
        return "money", money.minor, money.currency
    number, word = Decimal(match["number"]), match["word"].lower()
    if word in {"credit", "credits"}:
        return "credits", number, None
    if word in {"call", "calls"}:
        return "calls", number, None
    money = Money.from_major(number, known_currency(word))
    return "money", money.minor, money.currency


def _check_billable(text: str, rate: Rate) -> None:
    if rate.amount == 0:
        raise PriceError(f'price={text!r} is nothing; write price="free"')
    if rate.kind == "calls" and rate.amount != rate.amount.to_integral_value():
        raise PriceError(f"price={text!r}: included calls are whole; write a whole number of calls")
    if rate.kind != "money":
        return  # counted here and rounded up for each call; no price in Stripe has to hold it
    if rate.amount > LARGEST_UNIT_AMOUNT:
        raise PriceError(f"price={text!r} is more than Stripe can bill ({LARGEST_UNIT_AMOUNT} minor units)")
    unit_amount = rate.unit_amount
    if EXACT.multiply(unit_amount, 1 if rate.started else rate.per) != rate.amount or _decimals(unit_amount) > (
        UNIT_AMOUNT_DECIMALS
    ):
        raise PriceError(
            f"price={text!r} is finer than Stripe bills (12 decimals of a minor unit for one {rate.unit}); round it"
            + (f', or charge whole blocks: "… per started {rate.per} {rate.unit}s"' if rate.per > 1 else "")
        )


def _decimals(number: Decimal) -> int:
    power = number.normalize(EXACT).as_tuple().exponent
    assert isinstance(power, int)
    return max(0, -power)


def _not_a_string(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        return f"price={value!r} is not a price; {_FORMS}"
    number = Decimal(str(value))
    if not number.is_finite():
        return f"price={value} is not a price; {_FORMS}"
    if number < 0:
        return f"price={value} is negative; {_FORMS}"
    if number == 0:
        return f'price={value} is nothing; write price="free"'
    if isinstance(value, int):
        cents = Money(number, "usd")
        return f'price={value} could mean ${value}.00 or {value} cents; write "${value}.00" or "{cents}"'
    return f'price={value} has no currency, and a number may not be exact; write "${number:f}" in quotes'


def _not_understood(text: str) -> str:
    amount = text.partition("per")[0]
    if re.search(r"-\s*[\d.$€£¥]", amount):
        return f"price={text!r} is negative; {_FORMS}"
    if re.search(r"\d,\d", amount):
        return f"price={text!r} has a comma in the amount; write a point for decimals and no thousands separator"
    if re.fullmatch(r"\s*\d+(\.\d+)?\s*", text, re.ASCII):
        return f'price={text!r} has no currency; write "${text.strip()}" or "{text.strip()} eur"'
    return f"price={text!r} is not understood; {_FORMS}"


def common_currencies(tools: Iterable[tuple[Rate, ...]]) -> list[str]:
    """Currencies in which every one of these tools can be paid, in the order of the first one's rates."""
    offered = [[str(rate.currency) for rate in rates if rate.kind == "money"] for rates in tools]
    return [currency for currency in offered[0] if all(currency in others for others in offered)] if offered else []
