"""Prices by name and glob: which entry decides."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stripe_meter.domain.pricelist import PriceList
from stripe_meter.errors import ConfigurationError


def cost(prices: PriceList, name: str) -> str | None:
    rates = prices.rates(name)
    return None if rates is None else " or ".join(str(rate) for rate in rates)


@pytest.mark.parametrize(
    ("name", "price"),
    [
        ("search-web", "$0.01 a call"),
        ("search-web-deep", "$0.02 a call"),
        ("search-images", "$0.03 a call"),
        ("se", "$0.04 a call"),
        ("s[x]", "$0.07 a call"),
        ("look", "$0.05 a call"),
        ("axb", "$0.06 a call"),
    ],
)
def test_the_most_specific_entry_decides(name: str, price: str) -> None:
    """The exact name, then the most literal characters, then the first one written."""
    prices = {
        "*": "$0.05",
        "s*": "$0.04",
        "search-*": "$0.03",
        "search-web*": "$0.02",
        "search-web": "$0.01",
        "a?b": "$0.06",
        "?xb": "$9",
        "s[x]": "$0.07",
    }
    assert cost(PriceList.of(prices), name) == price


def test_the_default_is_for_what_no_entry_names() -> None:
    """And never for tools that nobody decorated."""
    prices = PriceList.of({"look": "$1"}, ("$2", "€2"))
    assert cost(prices, "look") == "$1.00 a call"
    assert cost(prices, "other") == "$2.00 a call or €2.00 a call"
    assert prices.named("other") is None
    assert PriceList().rates("other") is None


def test_code_over_file_goes_entry_by_entry() -> None:
    """The same name or glob in both is the code's; the file's other entries stay."""
    both = PriceList.of({"look": "$1"}, "$5").over(PriceList.of({"look": "$9", "see": "$2", "l*": "$3"}, "$8"))
    assert [cost(both, name) for name in ("look", "see", "list", "x")] == [
        "$1.00 a call",
        "$2.00 a call",
        "$3.00 a call",
        "$5.00 a call",
    ]
    assert cost(PriceList().over(PriceList.of({}, "$8")), "x") == "$8.00 a call"


def test_globs_are_no_tools() -> None:
    """Only an exact name can be put on sale by itself, or be missing."""
    prices = PriceList.of({"look": "$1", "l*": "$2", "?": "$3", "[ab]": "$4"})
    assert list(prices.tools) == ["look"]
    assert prices.unused(["list"]) == ["look"]


@pytest.mark.parametrize(
    ("prices", "default", "says"),
    [
        ({"look": 5}, None, 'prices["look"]: price=5 could mean $5.00 or 5 cents'),
        ({"": "$1"}, None, "prices[''] names no tool; write its name, or a glob such as \"search-*\""),
        ({5: "$1"}, None, "prices[5] names no tool"),
        (["look"], None, 'prices=[\'look\'] is no table; write prices={"summarize": "$0.05"}'),
        ({}, 0.05, "default_price: price=0.05 has no currency"),
    ],
    ids=map(str, range(5)),
)
def test_an_entry_that_cannot_be_used_is_named(prices: Any, default: Any, says: str) -> None:
    """With what to write instead."""
    with pytest.raises(ConfigurationError) as caught:
        PriceList.of(prices, default)
    assert says in str(caught.value)


@given(st.text(min_size=1, max_size=20), st.lists(st.text("ab*?[]", min_size=1, max_size=6), unique=True))
def test_an_exact_name_always_wins(name: str, globs: list[str]) -> None:
    """Whatever globs stand beside it, and even when it looks like one."""
    prices = {**dict.fromkeys(globs, "$2"), name: "$1"}
    assert not name.strip() or cost(PriceList.of(prices), name) == "$1.00 a call"
