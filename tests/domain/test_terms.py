"""Small terms of plans: fees, limits, amounts and names, and the sentence for each that cannot be read."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stripe_meter.domain.money import Money
from stripe_meter.domain.terms import (
    Fee,
    RateLimit,
    check_name,
    parse_amounts,
    parse_fee,
    parse_rate_limit,
    percent,
    slug,
    texts,
    whole,
)
from stripe_meter.errors import ConfigurationError


def usd(cents: str) -> Money:
    return Money(Decimal(cents), "usd")


@pytest.mark.parametrize(
    ("text", "fee", "shown"),
    [
        ("$49.99/month", Fee((usd("4999"),), "month"), "$49.99/month"),
        (" $5 / Year ", Fee((usd("500"),), "year"), "$5.00/year"),
        (("$5/month", "500 jpy/month"), Fee((usd("500"), Money(Decimal(500), "jpy")), "month"), "$5.00/month or ¥500"),
    ],
)
def test_a_fee_is_read_exactly(text: Any, fee: Fee, shown: str) -> None:
    """Amounts in whole minor units, the interval once for all of them."""
    assert parse_fee(text) == fee
    assert str(fee).startswith(shown)


@pytest.mark.parametrize("text", ["1000/minute", " 1000 / Minute "])
def test_a_rate_limit_is_calls_in_seconds(text: str) -> None:
    """Whatever it is counted in."""
    assert parse_rate_limit(text) == RateLimit(1000, 60)
    assert [parse_rate_limit(f"1/{unit}").seconds for unit in ("second", "hour", "day")] == [1, 3600, 86400]


@pytest.mark.parametrize(
    ("read", "says"),
    [
        (lambda: parse_fee("$49.99"), 'names no interval; write "$49.99/month"'),
        (lambda: parse_fee("$49.99/week"), "names no interval"),
        (lambda: parse_fee(49.99), "names no interval"),
        (lambda: parse_fee(()), "names no interval"),
        (lambda: parse_fee(("$5/month", "€5")), "names no interval"),
        (lambda: parse_fee(("$5/month", "€5/year")), "is paid by the month and by the year; make it two plans"),
        (lambda: parse_fee("$0/month"), "price='$0' is no amount of money"),
        (lambda: parse_fee("free/month"), "price='free' is not an amount of money"),
        (lambda: parse_fee("$5 per seat/month"), "is not an amount of money"),
        (lambda: parse_fee("$5.001/month"), "is finer than its currency; round it to whole cents"),
        (lambda: parse_fee(("$5/month", "$6/month")), "names usd twice"),
        (lambda: parse_amounts(5, "max_unpaid"), 'max_unpaid=5 could mean $5.00 or 5 cents; write "$5.00"'),
        (lambda: parse_amounts("10 credits", "max_unpaid"), "max_unpaid='10 credits' is not an amount of money"),
        (lambda: parse_amounts("$1 per word", "overage", fractions=True), "is not an amount of money"),
        (lambda: parse_amounts("0.5 jpy", "max_unpaid"), "is finer than its currency"),
        (lambda: parse_rate_limit("1000"), 'is not understood; write for example "1000/minute"'),
        (lambda: parse_rate_limit("0/minute"), "is not understood"),
        (lambda: parse_rate_limit("1.5/minute"), "is not understood"),
        (lambda: parse_rate_limit(1000), "rate_limit=1000 is not understood"),
        (lambda: check_name("No Spaces", "plan"), "plan 'No Spaces' cannot name objects in Stripe"),
        (lambda: check_name("", "plan"), "cannot name objects"),
        (lambda: check_name("a" * 31, "plan"), "at most 30"),
        (lambda: check_name(5, "plan"), "plan 5 cannot name"),  # type: ignore[arg-type]  # the mistake under test
        (lambda: whole(1.0, 0, "calls"), "calls=1.0 cannot be used; write a whole number, at least 0"),
        (lambda: whole(True, 0, "calls"), "calls=True cannot be used"),
        (lambda: whole("5", 0, "calls"), "calls='5' cannot be used"),
        (lambda: whole(0, 1, "calls"), "at least 1"),
        (lambda: whole(10**12 + 1, 1, "calls"), "more than can be counted; write at most 1000000000000"),
        (lambda: texts("basic", "tools"), "tools='basic' is no list of names; write for example tools=[\"basic-*\"]"),
        (lambda: texts(["a", 5], "tools"), "is no list of names"),  # type: ignore[list-item]  # the mistake under test
        (lambda: texts([""], "tools"), "is no list of names"),
        (lambda: texts(None, "tools"), "tools=None is no list"),  # type: ignore[arg-type]  # the mistake under test
        (lambda: percent(10.5), 'a volume discount of 10.5 is not exact; write whole percent, or "12.5"'),
        (lambda: percent(True), "is not exact"),
        (lambda: percent("many"), "percent cannot be; write more than 0, at most 100"),
        (lambda: percent(0), "percent cannot be"),
        (lambda: percent("100.1"), "percent cannot be"),
        (lambda: percent("nan"), "percent cannot be"),
    ],
    ids=map(str, range(38)),
)
def test_what_cannot_be_read_is_one_sentence(read: Callable[[], object], says: str) -> None:
    """With what to write instead, when the server is imported."""
    with pytest.raises(ConfigurationError) as caught:
        read()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_overage_may_be_finer_than_a_cent() -> None:
    """Many of them are added up before anybody pays."""
    assert parse_amounts("$0.0025", "overage", fractions=True) == (usd("0.25"),)
    assert parse_amounts("$1 per 1000 calls", "overage", fractions=True) == (usd("0.1"),)


def test_names_are_kept_once() -> None:
    """A feature that stands twice in a list unlocks nothing twice."""
    assert texts(["a", "b", "a"], "features") == ("a", "b")


@given(st.text(max_size=80))
def test_a_slug_can_be_part_of_a_lookup_key_or_is_empty(text: str) -> None:
    """Whatever people call a pack."""
    made = slug(text)
    assert made == "" or check_name(made, "pack") == made


@given(st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=20), st.lists(st.text(max_size=5))))
def test_nonsense_is_never_another_error(value: Any) -> None:
    """An author reads a sentence, not a traceback."""
    for read in (parse_fee, parse_rate_limit, percent, lambda v: whole(v, 0, "n"), lambda v: texts(v, "n")):
        with contextlib.suppress(ConfigurationError):
            read(value)
