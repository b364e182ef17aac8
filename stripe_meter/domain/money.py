"""Exact money: currencies, minor units, and how an amount is written for people.

Owns the table of currencies and the arithmetic between an amount a person writes ("$0.05") and the minor units
that Stripe's API takes (5). Works in `Decimal` and `int` only; a float never enters. Does not know prices or units.
Raises `PriceError` with the remedy when a currency or an amount cannot be billed.

Minor units: https://docs.stripe.com/currencies#minor-units
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Final

from stripe_meter.errors import PriceError

#: Wide enough that no price or month of usage ever rounds inside our arithmetic.
EXACT: Final = Context(prec=60)

#: Stripe keeps `unit_amount_decimal` to twelve decimals of a minor unit.
UNIT_AMOUNT_DECIMALS: Final = 12

SYMBOLS: Final = {"$": "usd", "€": "eur", "£": "gbp", "¥": "jpy"}
_SIGN_OF: Final = {code: sign for sign, code in SYMBOLS.items()}

_ZERO = "bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf"
_THREE = "bhd jod kwd omr tnd"
_TWO = """
    aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bmd bnd bob brl bsd btn bwp byn bzd cad cdf chf cny cop
    crc cve czk dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gtq gyd hkd hnl htg huf idr ils inr jmd kes kgs khr
    kyd kzt lak lbp lkr lrd lsl mad mdl mkd mmk mnt mop mur mvr mwk mxn myr mzn nad ngn nio nok npr nzd pab pen pgk
    php pkr pln qar ron rsd rub sar sbd scr sek sgd shp sle sos srd std szl thb tjs top try ttd twd tzs uah usd uyu
    uzs wst xcd xcg yer zar zmw
"""
ZERO_DECIMAL: Final = frozenset(_ZERO.split())
THREE_DECIMAL: Final = frozenset(_THREE.split())
#: Stripe's pages disagree on whether these have decimals, so an amount in them could be a hundredfold off.
_AMBIGUOUS: Final = frozenset({"isk", "ugx"})

CURRENCIES: Final = frozenset(_TWO.split()) | ZERO_DECIMAL | THREE_DECIMAL


def exponent(currency: str) -> int:
    """Decimals between the major and the minor unit of `currency` (lower-case ISO code): 0, 2 or 3."""
    if currency in ZERO_DECIMAL:
        return 0
    return 3 if currency in THREE_DECIMAL else 2


#: Stripe's smallest charges in minor units, by currency; 50 elsewhere.
#: https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts
_SMALLEST: Final = {
    "aed": 200, "bgn": 100, "czk": 1500, "dkk": 250, "gbp": 30, "hkd": 400, "huf": 17500, "jpy": 50, "mxn": 1000,
    "myr": 200, "nok": 300, "pln": 200, "ron": 200, "sek": 300, "thb": 1000,
}  # fmt: skip


def smallest_charge(currency: str) -> int:
    """The least that Stripe charges, in minor units; smaller invoices become a debt on the customer."""
    return _SMALLEST.get(currency, 50)


def known_currency(code: str) -> str:
    """The lower-case ISO code, if Stripe bills in it.

    Raises:
        PriceError: The code is unknown, or Stripe's documents do not settle its minor unit.
    """
    currency = code.lower()
    if currency in _AMBIGUOUS:
        raise PriceError(
            f"{code.upper()} cannot be used: Stripe's documents disagree on its minor unit; price in another currency"
        )
    if currency not in CURRENCIES:
        raise PriceError(f'unknown currency {code!r}; write an ISO code that Stripe bills, for example "0.05 usd"')
    return currency


def plain(number: Decimal) -> Decimal:
    """The same number without an exponent: Stripe reads `500`, not `5E+2`."""
    return Decimal(f"{number:f}")


@dataclass(frozen=True, slots=True)
class Money:
    """An exact amount: `minor` minor units (cents, yen, fils; may be fractional) of `currency` (lower-case ISO)."""

    minor: Decimal
    currency: str

    @classmethod
    def from_major(cls, amount: Decimal, currency: str) -> Money:
        """From what people write: `from_major(Decimal("0.05"), "usd")` is 5 cents."""
        return cls(plain(amount.scaleb(exponent(currency), context=EXACT)), currency)

    def __mul__(self, factor: int) -> Money:
        return Money(EXACT.multiply(self.minor, factor), self.currency)

    def rounded(self) -> int:
        """Whole minor units, half up: what one invoice line of this amount bills."""
        return int(self.minor.quantize(Decimal(1), rounding=ROUND_HALF_UP, context=EXACT))

    def __str__(self) -> str:
        """For people: `$0.05`, `€1.50`, `¥8`, `0.002 CHF`; never fewer digits than the currency has."""
        places = exponent(self.currency)
        major = self.minor.scaleb(-places, context=EXACT)
        shown = f"{major.normalize(EXACT):f}"
        whole, _, fraction = shown.partition(".")
        text = f"{whole}.{fraction.ljust(places, '0')}" if places or fraction else whole
        sign = _SIGN_OF.get(self.currency)
        if sign is None:
            return f"{text} {self.currency.upper()}"
        return f"-{sign}{text[1:]}" if text.startswith("-") else f"{sign}{text}"
