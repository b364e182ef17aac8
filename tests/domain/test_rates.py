"""The price grammar, form by form, and every mistake it refuses."""

from __future__ import annotations

import contextlib
import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stripe_meter.domain.rates import parse_price
from stripe_meter.errors import ConfigurationError, PriceError


@pytest.mark.parametrize(
    ("price", "kind", "currency", "unit_amount", "unit"),
    [
        ("$0.05", "money", "usd", "5", "call"),
        ("€0.05", "money", "eur", "5", "call"),
        ("£1", "money", "gbp", "100", "call"),
        ("¥8", "money", "jpy", "8", "call"),
        ("0.05 CHF", "money", "chf", "5", "call"),
        ("0.002 eur per word", "money", "eur", "0.2", "word"),
        ("$1 per 1000 rows", "money", "usd", "0.1", "row"),
        ("$1 per 1,000 rows", "money", "usd", "0.1", "row"),
        ("$1 per started 1000 rows", "money", "usd", "100", "row"),
        ("  $0.05  per  call ", "money", "usd", "5", "call"),
        ("$2 per 100 calls", "money", "usd", "2", "call"),
        ("1.2345 kwd", "money", "kwd", "1234.5", "call"),
        ("10 credits per 1000 rows", "credits", None, "0.01", "row"),
        ("1 credit", "credits", None, "1", "call"),
        ("2 calls", "calls", None, "2", "call"),
        ("free", "free", None, "0", "call"),
        ("$0.00000000000001", "money", "usd", "0.000000000001", "call"),
    ],
)
def test_every_form_is_read(price: str, kind: str, currency: str | None, unit_amount: str, unit: str) -> None:
    """The forms that the documentation promises."""
    (rate,) = parse_price(price)
    assert (rate.kind, rate.currency, rate.unit_amount, rate.unit) == (kind, currency, Decimal(unit_amount), unit)


def test_a_tuple_gives_one_tool_several_currencies_and_kinds() -> None:
    """In the author's order."""
    rates = parse_price(("$0.05", "€0.04", "1 credit"))
    assert [str(rate) for rate in rates] == ["$0.05 a call", "€0.04 a call", "1 credit a call"]


@pytest.mark.parametrize(
    ("price", "message"),
    [
        (0.05, 'write "$0.05" in quotes'),
        (Decimal("0.05"), 'write "$0.05" in quotes'),
        (5, 'price=5 could mean $5.00 or 5 cents; write "$5.00" or "$0.05"'),
        (-5, "is negative"),
        ("-$0.05", "is negative"),
        ("$-0.05", "is negative"),
        ("0.05", 'has no currency; write "$0.05" or "0.05 eur"'),
        ("0,05 eur", "has a comma"),
        ("0.05 xyz", "unknown currency 'xyz'"),
        ("5 isk", "disagree"),
        ("$0.000000000000001", "finer than Stripe bills"),
        ("$1 per 3 rows", "per started 3 rows"),
        ("$0", 'write price="free"'),
        ("$1000000000", "more than Stripe can bill"),
        ("1.5 calls", "whole number of calls"),
        ("$1 per 0 rows", "divides by zero"),
        ("free per word", 'write price="free"'),
        ("cheap", "is not understood"),
        ("", "is not understood"),
        ("$0.05 each", "is not understood"),
        ("٥ usd", "is not understood"),
        (-0.5, "is negative"),
        (0, 'price="free"'),
        (0.0, 'price="free"'),
        (0.00001, 'write "$0.00001" in quotes'),
        (float("nan"), "is not a price"),
        (float("inf"), "is not a price"),
        ("0.05 eur-", "is not understood"),
        (None, "is not a price"),
        (True, "is not a price"),
        ([], "is not a price"),
        ((), "names no price"),
        (("$1", "2 usd"), "names usd twice"),
        (("1 credit", "2 credits"), "names credits twice"),
        (("free", "$1"), "both free and paid"),
        (("$1 per word", "€1"), "counts different things"),
        (("$1 per started 10 words", "€1 per started 20 words"), "counts different things"),
        (("$1", 5), "could mean"),
    ],
)
def test_a_price_that_cannot_be_billed_shows_the_fix(price: Any, message: str) -> None:
    """One sentence, at decoration, with what to write instead."""
    with pytest.raises(PriceError) as caught:
        parse_price(price)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


FIXABLE = [0.05, 5, -5, 0, 1e-7, "-$1", "0.5", "0,05 eur", "cheap", "", None, (), "$0"]


@pytest.mark.parametrize("price", FIXABLE, ids=repr)
def test_every_fix_that_is_shown_is_a_price(price: Any) -> None:
    """Nobody should be sent from one error into the next."""
    with pytest.raises(PriceError) as caught:
        parse_price(price)
    said = str(caught.value).partition("; ")[2] or str(caught.value).partition("write")[2]
    for fix in re.findall(r'"([^"]+)"', said):
        assert parse_price(fix)


def test_a_price_error_is_a_configuration_error_and_a_value_error() -> None:
    """Whatever the author catches."""
    assert issubclass(PriceError, ConfigurationError)
    assert issubclass(PriceError, ValueError)


@pytest.mark.parametrize(
    ("price", "units", "quantity", "minor"),
    [
        ("$0.05", 1, 1, "5"),
        ("$0.002 per word", 250, 250, "50"),
        ("$1 per 1000 rows", 1500, 1500, "150"),
        ("$1 per started 1000 rows", 1500, 2, "200"),
        ("$1 per started 1000 rows", 1000, 1, "100"),
        ("$1 per started 1000 rows", 0, 0, "0"),
    ],
)
def test_units_become_a_quantity_and_an_amount(price: str, units: int, quantity: int, minor: str) -> None:
    """`per` is pro rata, `per started` rounds each call up."""
    (rate,) = parse_price(price)
    assert rate.quantity(units) == quantity
    assert rate.money(rate.quantity(units)).minor == Decimal(minor)


@given(st.integers(1, 10**6), st.integers(1, 1000), st.booleans(), st.integers(0, 10**7))
def test_a_call_never_costs_less_than_pro_rata_nor_a_block_more(
    cents: int, per: int, started: bool, units: int
) -> None:
    """For any price that is accepted, the amount is exact or rounded up to the block."""
    price = f"{cents} jpy per {'started ' if started else ''}{per} rows"
    try:
        (rate,) = parse_price(price)
    except PriceError:
        assert not started
        return
    amount = rate.money(rate.quantity(units)).minor
    exact = Decimal(cents * units) / per
    assert amount == cents * -(-units // per) if started else amount * per == cents * units
    assert exact - Decimal("1e-12") <= amount < exact + cents


@given(st.text(max_size=40))
def test_no_text_makes_the_parser_fail_otherwise(text: str) -> None:
    """Nonsense is a PriceError, never another exception."""
    with contextlib.suppress(PriceError):
        assert parse_price(text)


@pytest.mark.parametrize(
    ("price", "text"),
    [
        ("$0.05", "$0.05 a call"),
        ("0.002 chf per word", "0.002 CHF per word"),
        ("10 credits per 1000 rows", "10 credits per 1000 rows"),
        ("$1 per started 10 pages", "$1.00 per started 10 pages"),
        ("free", "free"),
        ("1 call", "1 call"),
        ("2 calls per 100 rows", "2 calls per 100 rows"),
        ("1 credit per 3 rows", "1 credit per 3 rows"),
    ],
)
def test_a_rate_is_written_for_people(price: str, text: str) -> None:
    """As it stands in refusals and price lists."""
    (rate,) = parse_price(price)
    assert str(rate) == text
