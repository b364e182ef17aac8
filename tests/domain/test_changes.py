"""The comparison of code and account: pure, so that every case can be stated without an account."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from stripe_meter.domain.blueprint import Tier
from stripe_meter.domain.changes import changes, needs_subscribers
from stripe_meter.domain.desired import Desired, desired, together
from stripe_meter.domain.found import (
    FoundFeature,
    FoundMeter,
    FoundPrice,
    FoundProduct,
    Holding,
    Inventory,
    Subscriber,
)
from stripe_meter.domain.migration import steps
from stripe_meter.domain.offering import Offering
from stripe_meter.domain.plans import CreditPack, Credits, PayAsYouGo, Plan, Subscription
from stripe_meter.domain.rates import parse_price
from stripe_meter.domain.renames import renames
from stripe_meter.domain.tools import Tool
from stripe_meter.domain.units import Unit
from stripe_meter.errors import ConfigurationError

PRO = Subscription("pro", "$10/month", included=100, overage="$0.25", features=["deep"])


def want(*plans: Plan, tools: tuple[str, ...] = ("summarize",), price: str | tuple[str, ...] = "$0.05") -> Desired:
    return desired(Offering(plans or (PayAsYouGo(),)), [Tool(name, parse_price(price)) for name in tools], "mcp")


def stocked(wanted: Desired) -> Inventory:
    """An account that holds exactly what is wanted."""
    blueprint = wanted.blueprint
    return Inventory(
        tuple(FoundFeature(f"feat_{s.name}", s.lookup_key, s.name, True, True) for s in blueprint.features),
        tuple(FoundProduct(s.id, s.name, s.unit_label, True, True, s.features) for s in blueprint.products),
        tuple(FoundMeter(f"mtr_{s.event_name}", s.event_name, s.display_name, "sum", True) for s in blueprint.meters),
        tuple(
            FoundPrice(
                f"price_{s.lookup_key}", s.lookup_key, s.product, s.nickname, s.amounts, s.interval,
                f"mtr_{s.meter}" if s.meter else None, "exclusive", dict(s.metadata), True, True,
            )
            for s in blueprint.prices
        ),
    )  # fmt: skip


def with_price(found: Inventory, **fields: object) -> Inventory:
    first, *others = found.prices
    return replace(found, prices=(replace(first, **fields), *others))  # type: ignore[arg-type]  # passed through


def subscriber(*items: Holding, plan: str | None = "pay-as-you-go", **fields: object) -> Subscriber:
    made = Subscriber("sub_1", "cus_1", plan, "active", "usd", 0, True, items)
    return replace(made, **fields)  # type: ignore[arg-type]  # passed through


def holding(price: FoundPrice) -> Holding:
    return Holding("si_1", price.id, price.product, price.meter, Decimal(5), Unit("call"))


@pytest.mark.parametrize("plans", [(PayAsYouGo(),), (PRO,), (Credits([CreditPack(10, "$5", "Small")], "$0.01"),)])
def test_what_is_as_wanted_is_no_change(plans: tuple[Plan, ...]) -> None:
    """And an empty account lacks every object, none of them twice."""
    wanted = want(*plans)
    assert changes(wanted, stocked(wanted)) == []
    missing = changes(wanted, Inventory())
    blueprint = wanted.blueprint
    specs = (*blueprint.features, *blueprint.products, *blueprint.meters, *blueprint.prices)
    assert [change.spec for change in missing] == list(specs)
    assert {change.kind for change in missing} == {"create"}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"amounts": (("usd", (Tier(None, Decimal(6)),)),)}, "amount in USD"),
        ({"amounts": (("usd", (Tier(10, Decimal(5)), Tier(None, Decimal(4)))),)}, "amount in USD"),
        ({"amounts": (("usd", (Tier(None, Decimal(5)),)), ("eur", (Tier(None, Decimal(5)),)))}, "amount in EUR"),
        ({"interval": "year"}, "interval"),
        ({"interval": "3 month"}, "interval"),
        ({"meter": "mtr_other"}, "meter"),
        ({"product": "prod_other"}, "product"),
        ({"tax_behavior": "inclusive"}, "tax behavior"),
        ({"oddities": ("per 10 units",)}, "terms"),
    ],
)
def test_money_terms_make_a_new_price(fields: dict[str, object], field: str) -> None:
    """Stripe cannot change them, and each of them changes what somebody pays."""
    wanted = want()
    (change,) = changes(wanted, with_price(stocked(wanted), **fields))
    assert (change.kind, change.replaces, [one.field for one in change.differences]) == ("change", True, [field])


@pytest.mark.parametrize(
    ("fields", "field"),
    [({"nickname": "x"}, "nickname"), ({"active": False}, "active"), ({"tax_behavior": "unspecified"}, "tax behavior")],
)
def test_words_are_changed_in_place(fields: dict[str, object], field: str) -> None:
    """Subscribers keep their price where it can stay the same."""
    wanted = want()
    (change,) = changes(wanted, with_price(stocked(wanted), **fields))
    assert (change.replaces, [one.field for one in change.differences]) == (False, [field])


def test_a_sum_written_otherwise_is_the_same_sum() -> None:
    """Stripe answers 5 where 5.00 was sent."""
    wanted = want()
    assert changes(wanted, with_price(stocked(wanted), amounts=(("usd", (Tier(None, Decimal("5.000")),)),))) == []


def test_a_price_without_a_name_is_a_leftover() -> None:
    """Whoever was cut off after the new price took the name over left the old one active."""
    wanted = want()
    found = stocked(wanted)
    stray = replace(found.prices[0], id="price_old", lookup_key=None)
    (change,) = changes(wanted, replace(found, prices=(*found.prices, stray)))
    assert (change.kind, change.id, change.note) == ("archive", "price_old", "replaced by another price")


def test_of_two_meters_of_a_name_the_active_one_counts() -> None:
    """One that was switched off stays in Stripe for ever."""
    wanted = want()
    found = stocked(wanted)
    old = replace(found.meters[0], id="mtr_old", active=False, formula="count")
    assert changes(wanted, replace(found, meters=(old, *found.meters))) == []


def test_what_is_gone_needs_the_subscribers_and_what_is_new_does_not() -> None:
    """Reading every subscription is dear where there are thousands."""
    two, one = want(tools=("summarize", "translate")), want()
    assert needs_subscribers(one, stocked(two), changes(one, stocked(two)))
    assert not needs_subscribers(two, stocked(one), changes(two, stocked(one)))


def test_an_old_subscription_without_a_plan_is_pay_as_you_go() -> None:
    """They were made before plans had names; taking pay-as-you-go off sale would leave them paying for nothing."""
    both = want(PayAsYouGo(), PRO)
    found = stocked(both)
    price = found.price("mcp.summarize")
    assert price is not None
    people = [subscriber(holding(price), plan=None)]
    assert changes(both, found, people) == []
    lost = [change for change in changes(want(PRO), found, people) if change.by_hand]
    assert [(change.what, change.name) for change in lost] == [("plan", "pay-as-you-go")]


def test_names_that_are_alike_are_paired_once() -> None:
    """Two tools renamed at once are two lines; what has nothing in common is none."""
    gone = ["mcp.summarize", "mcp.translate", "mcp:plan:pro", "mcp.weather"]
    new = ["mcp.summarise", "mcp.translate_text", "mcp:plan:pros", "mcp.dictionary"]
    assert [(one.old, one.new, one.line) for one in renames("mcp", gone, new)] == [
        ("mcp.summarize", "mcp.summarise", '@metered(…, name="summarize")'),
        ("mcp:plan:pro", "mcp:plan:pros", 'Subscription("pro", …)'),
        ("mcp.translate", "mcp.translate_text", '@metered(…, name="translate")'),
    ]


def test_a_tool_is_never_the_new_name_of_a_plan() -> None:
    """They are different things, whatever they are called."""
    assert renames("mcp", ["mcp:plan:pro"], ["mcp.pro", "mcp:pack:pro", "mcp:plan:pro:calls"]) == []


def test_several_sellers_are_one_unless_they_contradict() -> None:
    """Two servers may share a tool, on the same terms only."""
    one, other = want(tools=("a", "b")), want(tools=("b", "c"))
    assert together([one, other]).plans == {"pay-as-you-go": ("mcp.a", "mcp.b", "mcp.c")}
    with pytest.raises(ConfigurationError, match=r"two servers sell .* on different terms.*STRIPE_METER_NAMESPACE"):
        together([one, want(tools=("b",), price="$0.06")])


def test_a_subscriber_gets_what_is_lacking_and_never_loses_anything() -> None:
    """The item of a tool that left the code stays: its usage has still to be billed."""
    wanted = want(tools=("summarize", "translate"))
    found = stocked(wanted)
    gone = Holding("si_9", "price_gone", "prod_gone", "mtr_gone")
    price = found.price("mcp.summarize")
    assert price is not None
    (step,) = steps(wanted, found, [subscriber(holding(price), gone)])
    assert (step.kind, step.name, step.item, step.shown) == ("lacks", "mcp.translate", None, "no item → $0.05")


def test_an_old_price_of_the_same_product_is_moved() -> None:
    """A second item for one tool would bill each call twice."""
    wanted = want()
    found = stocked(wanted)
    old = replace(holding(found.prices[0]), price="price_old", unit_amount=Decimal(4))
    (step,) = steps(wanted, found, [subscriber(old)])
    assert (step.kind, step.item, step.shown) == ("old", "si_1", "$0.04 → $0.05")


def test_what_stripe_would_refuse_is_known_before() -> None:
    """Another currency, and a twenty-first item."""
    wanted = want()
    found = stocked(wanted)
    (step,) = steps(wanted, found, [subscriber(currency="eur")])
    assert "EUR" in str(step.why_not)
    full = [Holding(f"si_{n}", f"price_{n}", f"prod_{n}", None) for n in range(20)]
    (step,) = steps(wanted, found, [subscriber(*full)])
    assert "20 items already" in str(step.why_not)


def test_foreign_subscriptions_are_not_touched() -> None:
    """The seller's account may sell other things."""
    wanted = want()
    assert steps(wanted, stocked(wanted), [subscriber(ours=False), subscriber(plan="theirs")]) == []
