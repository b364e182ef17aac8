"""Exact money: minor units, rounding, and how amounts are written."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stripe_meter.domain.money import CURRENCIES, THREE_DECIMAL, ZERO_DECIMAL, Money, exponent, known_currency
from stripe_meter.errors import PriceError


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        ("0.05", "usd", "5"),
        ("0.0375", "eur", "3.75"),
        ("8", "jpy", "8"),
        ("1.234", "kwd", "1234"),
        ("19.99", "usd", "1999"),
    ],
)
def test_major_units_become_the_minor_units_stripe_takes(amount: str, currency: str, minor: str) -> None:
    """0-, 2- and 3-decimal currencies each have their own factor (docs.stripe.com/currencies)."""
    assert Money.from_major(Decimal(amount), currency).minor == Decimal(minor)


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        ("5", "usd", "$0.05"),
        ("150", "eur", "€1.50"),
        ("3.75", "gbp", "£0.0375"),
        ("8", "jpy", "¥8"),
        ("1234", "kwd", "1.234 KWD"),
        ("0.2", "chf", "0.002 CHF"),
        ("-5", "usd", "-$0.05"),
        ("10000", "usd", "$100.00"),
    ],
)
def test_amounts_are_written_for_people(minor: str, currency: str, text: str) -> None:
    """Never fewer digits than the currency has, never more than the amount needs."""
    assert str(Money(Decimal(minor), currency)) == text


@pytest.mark.parametrize(("minor", "whole"), [("63.75", 64), ("0.5", 1), ("0.49", 0), ("2.5", 3)])
def test_invoice_lines_round_half_up(minor: str, whole: int) -> None:
    """A line of an invoice is whole minor units."""
    assert Money(Decimal(minor), "eur").rounded() == whole


@given(st.integers(0, 10**8), st.sampled_from(sorted(CURRENCIES)))
def test_what_is_written_reads_back_to_the_same_amount(minor: int, currency: str) -> None:
    """No digit is lost or invented between the amount and its text."""
    money = Money(Decimal(minor), currency)
    digits = "".join(sign for sign in str(money) if sign.isdigit() or sign == ".")
    assert Money.from_major(Decimal(digits), currency) == money


@given(st.decimals(0, 10**6, places=6), st.integers(0, 10**6))
def test_multiplying_is_exact(amount: Decimal, factor: int) -> None:
    """A month of calls multiplies without rounding."""
    assert (Money(amount, "usd") * factor).minor * 10**6 == int(amount * 10**6) * factor


def test_every_currency_has_a_known_exponent() -> None:
    """The three groups do not overlap and cover everything."""
    assert not ZERO_DECIMAL & THREE_DECIMAL
    assert {exponent(currency) for currency in CURRENCIES} == {0, 2, 3}


@pytest.mark.parametrize(("code", "why"), [("xyz", "unknown currency"), ("isk", "disagree"), ("UGX", "disagree")])
def test_a_currency_that_cannot_be_billed_is_refused(code: str, why: str) -> None:
    """Where Stripe's documents disagree on the minor unit an amount could be a hundredfold off."""
    with pytest.raises(PriceError, match=why):
        known_currency(code)
