"""Plans by themselves: what each takes, and the sentence for what contradicts itself."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stripe_meter.domain.money import Money
from stripe_meter.domain.plans import CreditPack, Credits, Free, PayAsYouGo, Subscription, discounted
from stripe_meter.domain.terms import RateLimit
from stripe_meter.errors import ConfigurationError

PACK = CreditPack(100, "$9.99", "Starter")


def pro(**terms: Any) -> Subscription:
    return Subscription(**{"name": "pro", "price": "$49.99/month", "included": 5000, **terms})


def credits_of(*packs: CreditPack, **terms: Any) -> Credits:
    return Credits(packs or (PACK,), **terms)


def test_a_plan_is_read_into_exact_terms() -> None:
    """Everything the rest of the library asks of it."""
    plan = pro(overage="$0.0025", rate_limit="1000/minute", features=["export"], trial_days=14, trial_calls=20)
    assert (plan.fee.amounts, plan.fee.interval) == ((Money(Decimal(4999), "usd"),), "month")
    assert plan.overage_amounts == (Money(Decimal("0.25"), "usd"),)
    assert plan.limit == RateLimit(1000, 60)
    assert plan.features == ("export",)
    assert PayAsYouGo(max_unpaid=("$50", "€40")).unpaid == (Money(Decimal(5000), "usd"), Money(Decimal(4000), "eur"))
    assert (PACK.key, PACK.amount) == ("starter", Money(Decimal(999), "usd"))
    assert credits_of(credit_value="$0.005").value == Money(Decimal("0.5"), "usd")


def test_a_plan_stops_where_it_has_no_overage_or_says_so() -> None:
    """Whoever was promised a fixed price is never billed more."""
    assert pro().is_capped
    assert pro(overage="$1", hard_cap=True).is_capped
    assert not pro(overage="$1").is_capped


def test_plans_are_values() -> None:
    """Two that say the same are the same, and nobody changes one later."""
    assert pro(features=["a"]) == pro(features=("a",))
    assert len({pro(features=["a"]), pro(features=("a",)), Free(calls=1, tools=["x"]), PayAsYouGo()}) == 3
    with pytest.raises(AttributeError):
        pro().included = 1  # type: ignore[misc]  # the mistake under test


WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: pro(name="Pro"), "plan 'Pro' cannot name objects in Stripe"),
    (lambda: pro(price="$49.99"), "names no interval"),
    (lambda: pro(included=-1), "included=-1 cannot be used"),
    (lambda: pro(included=0), "plan 'pro' includes no calls and prices none; write included=… or overage=…"),
    (lambda: pro(included=0, overage="$1", hard_cap=True), "stops at 0 calls; write included=… beside hard_cap=True"),
    (lambda: pro(hard_cap="yes"), "hard_cap='yes' cannot be used; write True or False"),
    (lambda: pro(overage=0.25), "overage=0.25 has no currency"),
    (lambda: pro(overage="1 credit"), "overage='1 credit' is not an amount of money"),
    (lambda: pro(overage="$0"), "overage='$0' is no amount of money"),
    (lambda: pro(overage="€0.25"), "one subscription is paid in one currency, so name the same currencies in both"),
    (lambda: pro(price=("$5/month", "€5/month"), overage="$1"), "so name the same currencies in both"),
    (lambda: pro(features="export"), "features='export' is no list of names"),
    (lambda: pro(features=["No Spaces"]), "feature 'No Spaces' cannot name objects"),
    (lambda: pro(rate_limit="fast"), "rate_limit='fast' is not understood"),
    (lambda: pro(trial_days=14), "it needs both trial_days and trial_calls"),
    (lambda: pro(trial_calls=14), "it needs both trial_days and trial_calls"),
    (lambda: pro(trial_days=0, trial_calls=1), "trial_days=0 cannot be used"),
    (lambda: pro(trial_days=1, trial_calls=0), "trial_calls=0 cannot be used"),
    (lambda: pro(trial_days=731, trial_calls=1), "Stripe allows at most 730"),
    (lambda: CreditPack(0, "$5", "A"), "credits of a pack=0 cannot be used; write a whole number, at least 1"),
    (lambda: CreditPack(1, ("$5", "€5"), "A"), "pack 'A' has several prices"),  # type: ignore[arg-type]  # the mistake
    (lambda: CreditPack(1, "5 credits", "A"), "price of a pack='5 credits' is not an amount of money"),
    (lambda: CreditPack(1, "$5", "***"), "pack '***' has no name to be shown"),
    (
        lambda: CreditPack(1, "$0.10", "Tiny"),
        "pack 'Tiny' costs $0.10, less than Stripe charges at once; sell it for $0.50",
    ),
    (lambda: CreditPack(1, "$5", 5), "pack 5 has no name"),  # type: ignore[arg-type]  # the mistake under test
    (lambda: Credits([]), "Credits([]) sells nothing; write Credits([CreditPack("),
    (lambda: Credits(PACK), "is no list of packs"),  # type: ignore[arg-type]  # the mistake under test
    (lambda: Credits(["Starter"]), "is no list of packs"),  # type: ignore[list-item]  # the mistake under test
    (lambda: credits_of(PACK, CreditPack(5, "$1", "STARTER")), "two credit packs are called 'starter'"),
    (
        lambda: credits_of(PACK, CreditPack(5, "€1", "Small")),
        "packs in EUR and USD: one ledger has one currency",
    ),
    (lambda: credits_of(on_crash="lose"), 'on_crash=\'lose\' cannot be used; write "return" or "keep"'),
    (lambda: credits_of(name="No Spaces"), "cannot name objects"),
    (lambda: credits_of(credit_value="€0.01"), "but the packs are sold in USD; name one amount in that currency"),
    (lambda: credits_of(credit_value=("$1", "€1")), "name one amount in that currency"),
    (lambda: credits_of(credit_value="1 credit"), "credit_value='1 credit' is not an amount of money"),
    (lambda: Free(), "Free() gives nothing; write Free(calls=100)"),
    (lambda: Free(calls=-1), "calls=-1 cannot be used"),
    (lambda: Free(calls=1, reset_day=0), "reset_day=0 is no day of a month; write 1 to 31"),
    (lambda: Free(calls=1, reset_day=32), "reset_day=32 is no day of a month"),
    (lambda: Free(calls=1, reset_day=True), "reset_day=True is no day"),
    (lambda: Free(calls=1, reset_day="1"), "reset_day='1' is no day"),  # type: ignore[arg-type]  # the mistake
    (lambda: Free(tools="basic-*"), "tools='basic-*' is no list of names"),
    (lambda: PayAsYouGo(name=""), "cannot name objects"),
    (lambda: PayAsYouGo(meter="both"), 'write meter="tool" or meter="price"'),  # type: ignore[arg-type]  # the mistake
    (lambda: PayAsYouGo(max_unpaid="$0.49"), "max_unpaid='$0.49' is less than Stripe bills; write at least $0.50"),
    (lambda: PayAsYouGo(max_unpaid=50), "max_unpaid=50 could mean $50.00"),  # type: ignore[arg-type]  # the mistake
    (lambda: PayAsYouGo(volume_discounts=5), "volume_discounts=5 is no list"),  # type: ignore[arg-type]  # the mistake
    (lambda: PayAsYouGo(volume_discounts=[100]), "volume discount 100 is not understood"),  # type: ignore[list-item]
    (lambda: PayAsYouGo(volume_discounts=[(0, 10)]), "after=0 cannot be used"),
    (
        lambda: PayAsYouGo(volume_discounts=(pair for pair in [(100, 20), (500, 10)])),  # type: ignore[arg-type]
        "volume discounts [(100, 20), (500, 10)] do not rise",
    ),
    (lambda: PayAsYouGo(volume_discounts=[(100, 10.5)]), "is not exact"),  # type: ignore[list-item]  # the mistake
    (lambda: PayAsYouGo(volume_discounts=[(100, 101)]), "percent cannot be"),
    (
        lambda: PayAsYouGo(volume_discounts=[(500, 10), (100, 20)]),
        "write them like [(100, 10), (500, 20)]",
    ),
    (lambda: PayAsYouGo(volume_discounts=[(100, 20), (500, 20)]), "do not rise"),
    (lambda: PayAsYouGo(volume_discounts=[(100, 20), (100, 30)]), "do not rise"),
]


@pytest.mark.parametrize(("build", "says"), WRONG, ids=map(str, range(len(WRONG))))
def test_a_plan_that_contradicts_itself_is_one_sentence(build: Callable[[], object], says: str) -> None:
    """When the server is imported, with what to write instead."""
    with pytest.raises(ConfigurationError) as caught:
        build()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@given(
    st.decimals("0.000001", "99999999", places=6, allow_nan=False),
    st.decimals("0.01", "100", places=2, allow_nan=False),
)
def test_a_discount_is_exact_to_stripes_last_digit(amount: Decimal, less: Decimal) -> None:
    """Six and four decimals fit into twelve, so nothing is ever rounded away."""
    assert Fraction(discounted(amount, less)) == Fraction(amount) * (100 - Fraction(less)) / 100


def test_a_discount_that_stripe_could_not_bill_is_refused() -> None:
    """In plain digits, because nobody reads 1E-10."""
    with pytest.raises(ConfigurationError, match=r"33\.3 % off 0\.0000000001 is finer than Stripe bills"):
        discounted(Decimal("1E-10"), Decimal("33.3"))
