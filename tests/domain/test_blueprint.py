"""What an offering needs in Stripe: names, tiers and bounds, worked out by hand."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stripe_meter.domain.blueprint import Blueprint, Tier, blueprint, unit_label
from stripe_meter.domain.offering import Offering
from stripe_meter.domain.plans import CreditPack, Credits, Free, PayAsYouGo, Plan, Subscription
from stripe_meter.domain.rates import parse_price
from stripe_meter.domain.tools import Tool
from stripe_meter.errors import ConfigurationError


def a_tool(name: str, price: str | tuple[str, ...] = "$0.05") -> Tool:
    return Tool(name, parse_price(price), max_units=100)


def of(*plans: Plan, tools: tuple[Tool, ...] = (a_tool("look"),)) -> Blueprint:
    return blueprint(Offering(plans), tools, "mcp")


def test_everything_has_the_name_that_stripe_keeps_unique() -> None:
    """Found again by it, from every process and after every restart."""
    made = of(
        PayAsYouGo(),
        Subscription("pro", "$10/month", included=3, overage="$0.25", features=["export"]),
        Credits([CreditPack(100, "$9.99", "Starter pack")]),
        Free(calls=10),
        tools=(a_tool("look", ("$0.05", "1.5 credits")), a_tool("ping", "free")),
    )
    assert [price.lookup_key for price in made.prices] == [
        "mcp.look",
        "mcp:plan:pro",
        "mcp:plan:pro:calls",
        "mcp:pack:starter-pack",
    ]
    assert [meter.event_name for meter in made.meters] == ["mcp.look", "mcp:calls", "mcp:credits", "mcp:free"]
    assert [feature.lookup_key for feature in made.features] == ["mcp:export"]
    assert dict(made.price("mcp:pack:starter-pack").metadata) == {"credits": "100", "scale": "10"}
    assert made.products[1].features == ("mcp:export",)
    assert len({product.id for product in made.products}) == 4


def test_included_calls_are_a_free_first_tier() -> None:
    """Then the overage, in every currency of the fee."""
    terms = {"price": ("$10/month", "€9/month"), "overage": ("$0.25", "€0.20")}
    made = of(Subscription("pro", included=3, **terms), Subscription("metered", **terms))  # type: ignore[arg-type]
    included, beyond = Tier(3, Decimal(0)), {"usd": Decimal(25), "eur": Decimal(20)}
    assert dict(made.price("mcp:plan:pro:calls").amounts) == {
        currency: (included, Tier(None, amount)) for currency, amount in beyond.items()
    }
    assert dict(made.price("mcp:plan:metered:calls").amounts) == {
        currency: (Tier(None, amount),) for currency, amount in beyond.items()
    }
    assert made.price("mcp:plan:pro:calls").nickname == "3 calls included, then $0.25 or €0.20"
    assert made.price("mcp:plan:pro").interval == "month"


def test_a_plan_without_overage_bills_nothing_beyond_its_fee() -> None:
    """Its last tier costs nothing, in case a process counts past the stop."""
    made = of(Subscription("pro", "$499/year", included=3))
    assert made.price("mcp:plan:pro:calls").amounts == (("usd", (Tier(3, Decimal(0)), Tier(None, Decimal(0)))),)
    assert made.price("mcp:plan:pro:calls").interval == "year"


def test_volume_discounts_are_graduated_tiers() -> None:
    """10 % off after 100 calls, 20 % after 500: the first hundred stay at full price."""
    made = of(PayAsYouGo(volume_discounts=[(100, 10), (500, "20.5")]))
    assert made.price("mcp.look").amounts == (
        ("usd", (Tier(100, Decimal(5)), Tier(500, Decimal("4.5")), Tier(None, Decimal("3.975")))),
    )


@given(
    st.integers(1, 10**6),
    st.lists(st.tuples(st.integers(1, 10**6), st.integers(1, 100)), min_size=1, max_size=6, unique_by=lambda d: d[0]),
)
def test_tiers_are_exact_and_end_without_end(millicents: int, steps: list[tuple[int, int]]) -> None:
    """For every amount and every rising row of discounts."""
    bounds, cuts = sorted({after for after, _ in steps}), sorted({less for _, less in steps})
    discounts = list(zip(bounds, cuts, strict=False))
    price = f"{Decimal(millicents) / 100000:f} usd"
    ((_, tiers),) = of(PayAsYouGo(volume_discounts=discounts), tools=(a_tool("look", price),)).price("mcp.look").amounts
    full = Fraction(millicents, 1000)
    assert [Fraction(tier.unit_amount) for tier in tiers] == [
        full * (100 - less) / 100 for less in (0, *(less for _, less in discounts))
    ]
    assert [tier.up_to for tier in tiers] == [*(after for after, _ in discounts), None]


def test_tools_of_equal_price_share_a_meter_when_asked() -> None:
    """By the whole price: another currency, unit or block is another meter."""
    tools = (
        a_tool("a"),
        a_tool("b"),
        a_tool("c", ("$0.05", "€0.05")),
        a_tool("d", "$0.05 per word"),
        a_tool("e", "$0.05 per started 10 words"),
    )
    made = of(PayAsYouGo(meter="price"), tools=tools)
    assert len(made.prices) == len(made.meters) == 4
    assert all(price.lookup_key.startswith("mcp:price:0-05-") for price in made.prices)


def test_names_that_look_alike_stay_apart() -> None:
    """A product's id holds fewer characters than a tool's name."""
    made = of(PayAsYouGo(), tools=(a_tool("a.b"), a_tool("a_b")))
    assert len({product.id for product in made.products}) == 2


@pytest.mark.parametrize(("meter", "other"), [("tool", "price"), ("price", "tool")])
def test_more_tools_than_a_subscription_holds_are_one_sentence(meter: str, other: str) -> None:
    """Twenty fit."""
    tools = tuple(a_tool(f"t{number}", f"${number}") for number in range(1, 22))
    plan = PayAsYouGo(meter=meter)  # type: ignore[arg-type]  # one of the two
    assert len(of(plan, tools=tools[:20]).prices) == 20
    with pytest.raises(ConfigurationError, match="21 priced tools, but a Stripe subscription holds 20 items") as caught:
        of(plan, tools=tools)
    assert f'meter="{other}"' in str(caught.value)


def test_tools_that_are_free_for_everybody_take_no_item() -> None:
    """Neither those priced free nor those that the free plan lists."""
    made = of(PayAsYouGo(), Free(tools=["basic-*"]), tools=(a_tool("basic-a"), a_tool("b"), a_tool("c", "free")))
    assert [price.lookup_key for price in made.prices] == ["mcp.b"]
    assert [meter.event_name for meter in made.meters] == ["mcp.b"]


@pytest.mark.parametrize(
    ("price", "label"),
    [
        ("$0.05", "call"),
        ("$1 per word", "word"),
        ("$1 per started 1000 rows", "1000 rows"),
        ("$1 per experiment", "experiment"),
    ],
)
def test_an_invoice_names_the_unit_within_twelve_characters(price: str, label: str) -> None:
    """Stripe takes no more."""
    assert unit_label(parse_price(price)[0]) == label
    assert len(unit_label(parse_price("$1 per started 1000000 experiments")[0])) == 12


@given(st.permutations(["a", "b", "c"]))
def test_the_order_of_tools_changes_nothing(order: list[str]) -> None:
    """Two processes that import in another order want the same."""
    tools = {name: a_tool(name, ("$0.05", "2 credits")) for name in "abc"}
    plans = (PayAsYouGo(), Credits([CreditPack(1, "$5", "A")]))
    assert of(*plans, tools=tuple(tools[name] for name in order)) == of(*plans, tools=tuple(tools.values()))
