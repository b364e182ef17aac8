"""Plans together: what a tool costs under each, the order of pockets, and contradictions that can be known early."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stripe_meter.domain.offering import SCALES, Offering, on_offer
from stripe_meter.domain.plans import CreditPack, Credits, Free, PayAsYouGo, Plan, Subscription
from stripe_meter.domain.rates import Rate, parse_price
from stripe_meter.domain.tools import Tool
from stripe_meter.domain.unused import unused
from stripe_meter.errors import ConfigurationError

PACKS = [CreditPack(100, "$9.99", "Starter")]
FREE, PAYG, CREDITS = Free(calls=10, tools=["basic-*"]), PayAsYouGo(), Credits(PACKS)
PRO = Subscription("pro", "$10/month", included=5, overage="$1", features=["deep"])
CAPPED = Subscription("capped", "$5/month", included=5)


def a_tool(price: str | tuple[str, ...] = ("$0.05", "1 credit"), name: str = "look", **terms: Any) -> Tool:
    return Tool(name, parse_price(price), **terms)


def names(offering: Offering, tool: Tool, subscribed_to: str | None) -> list[str]:
    return [route.plan.name for route in offering.routes(tool, subscribed_to)]


def test_pockets_are_asked_in_one_fixed_order() -> None:
    """Allowance, plan, credits, pay-as-you-go, whatever the order of offer."""
    plans: list[Plan] = [FREE, PRO, CREDITS, PAYG]
    for offering in (Offering(plans), Offering(plans[::-1])):
        assert names(offering, a_tool(), None) == ["free", "credits"]
        assert names(offering, a_tool(), "pro") == ["free", "pro", "credits"]
        assert names(offering, a_tool(), "pay-as-you-go") == ["free", "credits", "pay-as-you-go"]
        assert names(offering, a_tool(), "gone") == ["free", "gone", "credits"]


def test_a_listed_tool_costs_nobody_anything() -> None:
    """It is asked for first, and no meter of its own is made for it."""
    offering = Offering([PAYG, FREE])
    listed = a_tool("$0.05", "basic-look")
    (first, *_) = offering.routes(listed, None)
    assert first.rate.kind == "free"
    assert offering.rate(listed, PAYG) is None
    offering.check(listed)


def test_a_feature_is_served_only_by_the_plan_that_unlocks_it() -> None:
    """Neither free calls nor credits nor pay-as-you-go open it."""
    offering = Offering([FREE, PRO, CAPPED, CREDITS, PAYG])
    tool = a_tool(feature="deep")
    assert [plan.name for plan in offering.sold_by(tool)] == ["pro"]
    assert names(offering, tool, "capped") == []


@pytest.mark.parametrize(
    ("price", "plan", "rate"),
    [
        ("$0.05", PRO, "1 call"),
        (("$0.05", "2 calls"), PRO, "2 calls"),
        (("$0.05", "2 calls"), FREE, "2 calls"),
        ("$0.05", PAYG, "$0.05 a call"),
        (("$0.05", "3 credits"), CREDITS, "3 credits a call"),
        ("$0.05", CREDITS, None),
        ("3 credits", PAYG, None),
        ("$0.05", Credits(PACKS, credit_value="$0.02"), "2.5 credits a call"),
        ("$0.05 per word", Credits(PACKS, credit_value="$0.02"), "2.5 credits per word"),
        ("$1 per started 10 rows", Credits(PACKS, credit_value="$0.10"), "10 credits per started 10 rows"),
        ("free", PAYG, "free"),
    ],
)
def test_what_a_tool_costs_under_each_plan(price: Any, plan: Plan, rate: str | None) -> None:
    """None where the plan cannot serve it."""
    found = Offering([plan]).rate(a_tool(price), plan)
    assert (None if found is None else str(found)) == rate


def test_a_price_per_call_is_charged_once_however_many_words_there_are() -> None:
    """A translation of 500 words is one of the included calls, not 500 of them."""
    tool = a_tool(("$0.002 per word", "3 credits"), max_units=1000)
    offering = Offering([FREE, PRO, CREDITS, PAYG])
    taken = {plan.name: rate.quantity(500) for plan in offering.plans if (rate := offering.rate(tool, plan))}
    assert taken == {"free": 1, "pro": 1, "credits": 3, "pay-as-you-go": 500}
    mixed = Offering([PAYG, CREDITS]).rate(a_tool(("$0.05", "1 credit per 100 words"), max_units=1000), PAYG)
    assert mixed is not None
    assert mixed.quantity(500) == 1
    worth = Offering([Credits(PACKS, credit_value="$0.01")])
    assert worth.credits is not None
    derived = worth.rate(a_tool(("$0.05", "2 calls per word"), max_units=9), worth.credits)
    assert derived is not None
    assert derived.quantity(500) == 5


@given(
    st.decimals("0.001", "50", places=3, allow_nan=False),
    st.integers(1, 1000),
    st.booleans(),
    st.integers(0, 10**6),
    st.sampled_from(SCALES),
)
def test_credits_are_rounded_up_for_each_call_by_less_than_one_unit(
    amount: Decimal, per: int, started: bool, units: int, scale: int
) -> None:
    """Nothing is given away, and nobody pays a whole ledger unit more than exactly."""
    if amount == 0:
        return
    rate = Rate("credits", amount, None, per, "row", started)
    blocks = -(-units // per) if started else units
    exact = Fraction(amount) * blocks * scale / (1 if started else per)
    assert exact <= rate.quantity(units, scale) < exact + 1


@given(st.lists(st.decimals("0.001", "20", places=3, allow_nan=False), min_size=1, max_size=5))
def test_the_scale_is_the_smallest_that_makes_every_price_whole(amounts: list[Decimal]) -> None:
    """Ledger units are whole numbers, and no finer than they have to be."""
    tools = [Tool(f"t{number}", (Rate("credits", amount),)) for number, amount in enumerate(amounts)]
    scale = Offering([CREDITS]).scale(tools)
    assert all(amount * scale % 1 == 0 for amount in amounts)
    assert all(any(amount * finer % 1 for amount in amounts) for finer in SCALES if finer < scale)


CONTRADICTIONS: list[tuple[Sequence[Any], str]] = [
    ([], "plans=() sells nothing"),
    (["pro"], "plans=['pro'] is no list of plans; write for example plans=[PayAsYouGo()]"),
    ([PRO, Subscription("pro", "$1/month", included=1)], "two plans are called 'pro'; give each a name of its own"),
    ([PAYG, Subscription("pay-as-you-go", "$1/month", included=1)], "two plans are called 'pay-as-you-go'"),
    ([FREE, Free(calls=1, name="trial")], "two Free plans are on offer; keep one of them"),
    ([PAYG, PayAsYouGo(name="metered")], "two PayAsYouGo plans are on offer"),
    ([CREDITS, Credits(PACKS, name="more")], "two Credits plans are on offer"),
]


@pytest.mark.parametrize(("plans", "says"), CONTRADICTIONS, ids=map(str, range(len(CONTRADICTIONS))))
def test_plans_that_contradict_each_other_are_one_sentence(plans: Sequence[Any], says: str) -> None:
    """When the server is imported."""
    with pytest.raises(ConfigurationError) as caught:
        Offering(plans)
    assert says in str(caught.value)


def test_one_plan_is_no_list() -> None:
    """`StripeMeter(PayAsYouGo())` forgets the brackets."""
    with pytest.raises(ConfigurationError, match=r"is no list of plans; write for example plans=\[PayAsYouGo\(\)\]"):
        Offering(PAYG)  # type: ignore[arg-type]  # the mistake under test


UNSELLABLE: list[tuple[Sequence[Plan], Tool, str]] = [
    ([PAYG], a_tool("1 credit"), "which no plan on sale can charge; add a price that 'pay-as-you-go' can"),
    ([CREDITS], a_tool("$0.05"), "which no plan on sale can charge"),
    ([Free(tools=["basic-*"])], a_tool("$0.05"), "which no plan on sale can charge"),
    ([Free(calls=5)], a_tool("10 calls"), "takes more calls than 'free' ever includes; write more into calls=…"),
    ([CAPPED], a_tool("10 calls"), "takes more calls than 'capped' ever includes; write more into included=…"),
    ([PAYG], a_tool(("$0.05", "1 credit")), "nobody can ever pay 1 credit a call, because no plan on offer takes"),
    ([PAYG], a_tool(("$0.05", "2 calls")), "nobody can ever pay 2 calls"),
    ([CREDITS], a_tool(("$0.05", "1 credit")), "nobody can ever pay $0.05 a call"),
    ([PAYG], a_tool(feature="deep"), "asks for feature 'deep', which no plan unlocks; write features=[\"deep\"]"),
    (
        [CREDITS],
        a_tool("1 credit per row"),
        "plan 'credits' stops at a limit, so one call needs a bound",
    ),
    ([FREE, PAYG], a_tool(("$1 per row", "1 call per row")), "counts rows and plan 'free' stops at a limit"),
    ([CAPPED], a_tool(("1 call per row",)), "plan 'capped' stops at a limit"),
    ([Credits(PACKS, credit_value="$0.03")], a_tool("$0.05"), "which is no round number of credits at $0.03 each"),
]


@pytest.mark.parametrize(("plans", "tool", "says"), UNSELLABLE, ids=map(str, range(len(UNSELLABLE))))
def test_a_tool_that_cannot_be_sold_is_one_sentence(plans: Sequence[Plan], tool: Tool, says: str) -> None:
    """Before the first call, naming the tool and what to write."""
    with pytest.raises(ConfigurationError) as caught:
        Offering(plans).check(tool)
    assert says in str(caught.value)
    assert tool.name in str(caught.value)


def test_a_bound_or_a_price_per_call_is_enough_for_a_hard_stop() -> None:
    """What one call can take is known before it runs."""
    Offering([CREDITS]).check(a_tool("1 credit per row", max_units=100))
    Offering([CAPPED, PAYG]).check(a_tool("$1 per row"))
    Offering([PRO, PAYG]).check(a_tool(("$1 per row", "2 calls per row")))
    Offering([CAPPED, PAYG]).check(a_tool(("$1", "10 calls")))


def test_two_currencies_in_one_subscription_are_refused() -> None:
    """A subscription is paid in one of them, so its tools need one in common."""
    offering = Offering([PAYG])
    dollars, euros, both = a_tool("$0.05", "usd"), a_tool("€0.04", "eur"), a_tool(("€0.04", "$0.05"), "both")
    with pytest.raises(ConfigurationError, match="one subscription is paid in one currency, but tool 'eur' costs"):
        offering.check(euros, [dollars])
    with pytest.raises(ConfigurationError, match="one subscription is paid in one currency"):
        offering.check(euros, [both, dollars])
    offering.check(both, [dollars])
    offering.check(a_tool("free", "ping"), [dollars])


def test_a_price_finer_than_a_thousandth_of_a_credit_is_refused() -> None:
    """Naming the price that is."""
    with pytest.raises(ConfigurationError, match=r"a price of 0\.0001 credits a call is finer than a thousandth"):
        Offering([CREDITS]).scale([a_tool("1 credit"), a_tool("0.0001 credits", "fine")])


def test_what_stands_in_code_and_file_is_the_codes() -> None:
    """By name, and by kind where there is only one of a kind; the file adds the rest; the default is for neither."""
    other = Subscription("basic", "$1/month", included=1)
    offering = on_offer([PRO, PayAsYouGo(meter="price")], [Subscription("pro", "$99/month", included=1), other, PAYG])
    assert [plan.name for plan in offering.plans] == ["pro", "pay-as-you-go", "basic"]
    assert offering.plans[:2] == (PRO, PayAsYouGo(meter="price"))
    assert on_offer(None, [other]).plans == (other,)
    assert on_offer(None, []).plans == (PAYG,)


def test_one_name_for_two_kinds_of_plan_is_refused() -> None:
    """The file's plan would vanish without a word, though it is no other version of the code's."""
    with pytest.raises(ConfigurationError, match="plan 'pro' is a Subscription in the configuration file, but a PayAs"):
        on_offer([PayAsYouGo(name="pro")], [PRO])


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        (CREDITS, "plan 'credits' is on sale, but can pay for no tool of this server; give one a price such as"),
        (Free(tools=["basc-*", "look"]), r"Free\(tools=\['basc-\*'\]\) fits no tool with a price here"),
        (PRO, "feature 'deep' of plan 'pro' is asked for by no tool"),
    ],
)
def test_what_is_on_offer_for_nothing_is_said(plan: Plan, says: str) -> None:
    """A typing error in a name shows nowhere else, and a pack that no tool takes is bought in vain."""
    tools = [a_tool("$0.05"), a_tool("$0.05", "basic-look")]
    (said,) = unused(Offering([PAYG, plan]), tools)
    assert re.match(says, said)
    serving = [*tools, a_tool("1 credit", "basc-look"), a_tool(name="deep-look", feature="deep")]
    assert unused(Offering([PAYG, plan]), serving) == []
