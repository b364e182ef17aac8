"""Plans and prices in a TOML file: read as they would be in code, and every mistake named with file, table and key."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from stripe_meter.domain.plans import CreditPack, Credits, Free, PayAsYouGo, Subscription
from stripe_meter.errors import ConfigurationError
from stripe_meter.settings import Settings, from_file

ALL = """
default_price = "$0.05"
spend_cap = ["$50/month", "€45/month"]

[[plans]]
kind = "pay-as-you-go"
volume_discounts = [[100, 10], [500, "12.5"]]
max_unpaid = ["$50", "€50"]

[[plans]]
kind = "subscription"
name = "pro"
price = ["$49.99/month", "€45/month"]
included = 5000
overage = ["$0.25", "€0.20"]
hard_cap = false
rate_limit = "1000/minute"
features = ["export"]
trial_days = 14
trial_calls = 20

[[plans]]
kind = "credits"
packs = [{ credits = 100, price = "$9.99", name = "Starter" }]
credit_value = "$0.01"

[[plans]]
kind = "free"
calls = 100
reset_day = 15
tools = ["basic-*"]

[prices]
look = "$0.02"
"search-*" = ["$0.01", "1 credit"]
"""


@pytest.fixture(autouse=True)
def in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Configuration files are looked for in the working directory."""
    monkeypatch.chdir(tmp_path)


def test_a_file_says_what_the_code_would() -> None:
    """All four plans with all their keys."""
    Path("stripe-meter.toml").write_text(ALL)
    settings = Settings()
    assert settings.plans == (
        PayAsYouGo(volume_discounts=[(100, 10), (500, Decimal("12.5"))], max_unpaid=("$50", "€50")),
        Subscription(
            "pro",
            ("$49.99/month", "€45/month"),
            included=5000,
            overage=("$0.25", "€0.20"),
            rate_limit="1000/minute",
            features=["export"],
            trial_days=14,
            trial_calls=20,
        ),
        Credits([CreditPack(100, "$9.99", "Starter")], credit_value="$0.01"),
        Free(calls=100, reset_day=15, tools=["basic-*"]),
    )
    assert settings.prices == {"look": "$0.02", "search-*": ("$0.01", "1 credit")}
    assert settings.default_price == "$0.05"
    assert settings.spend_cap == ("$50/month", "€45/month")


def test_each_table_comes_from_the_first_file_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """environment > stripe-meter.toml > pyproject.toml, a table at a time."""
    Path("pyproject.toml").write_text(
        '[tool.stripe-meter]\ndefault_price = "$3"\n[[tool.stripe-meter.plans]]\nkind = "free"\ncalls = 1\n'
        '[tool.stripe-meter.prices]\nlook = "$1"\nsee = "$1"\n'
    )
    Path("stripe-meter.toml").write_text('default_price = "$4"\n[prices]\nlook = "$2"\n')
    settings = Settings()
    assert settings.plans == (Free(calls=1),)
    assert settings.prices == {"look": "$2"}
    assert settings.default_price == "$4"
    monkeypatch.setenv("STRIPE_METER_DEFAULT_PRICE", "$5")
    assert Settings().default_price == "$5"


def test_a_file_can_be_named() -> None:
    """Then what stands in the working directory does not count; the environment does."""
    Path("stripe-meter.toml").write_text('namespace = "here"\n[prices]\nlook = "$9"\n')
    Path("pyproject.toml").write_text('[tool.stripe-meter]\nnamespace = "project"\n')
    Path("shop.toml").write_text('timeout = 7\n[prices]\nlook = "$1"\n')
    settings = from_file(Path("shop.toml"))
    assert (settings.namespace, settings.timeout, settings.prices) == ("mcp", 7.0, {"look": "$1"})
    assert from_file(Path("pyproject.toml")).namespace == "project"


PLAN = '[[plans]]\nkind = "subscription"\nname = "pro"\nprice = "$5/month"\nincluded = 1\n'
WRONG: list[tuple[str, str]] = [
    ('namspace = "x"', "stripe-meter.toml: 'namspace' is no key of the settings; write namespace"),
    ("[prices", "stripe-meter.toml or pyproject.toml in "),
    ('plans = "pro"', "stripe-meter.toml, [[plans]] is no list of tables; write [[plans]]"),
    ('[plans]\nkind = "free"', "stripe-meter.toml, [[plans]] is no list of tables"),
    ("[[plans]]\ncalls = 1", "stripe-meter.toml, [[plans]] number 1: kind is missing; write kind = one of"),
    ('[[plans]]\nkind = "gratis"', "[[plans]] number 1: kind = 'gratis' is no way to sell; write one of"),
    ("[[plans]]\nkind = []", "[[plans]] number 1: kind = [] is no way to sell"),
    (PLAN + "include = 5", "[[plans]] number 1: 'include' is no key of a subscription plan; write included"),
    (PLAN + "xyz = 5", "'xyz' is no key of a subscription plan; it takes name, price, included"),
    (PLAN + '[[plans]]\nkind = "subscription"\nname = "b"', "[[plans]] number 2: price is missing; write price = "),
    (PLAN + "hard_cap = 1", "[[plans]] number 1: hard_cap=1 cannot be used; write True or False"),
    (PLAN + "overage = 0.25", "[[plans]] number 1: overage=0.25 has no currency"),
    ('[[plans]]\nkind = "free"\nreset_day = 0\ncalls = 1', "[[plans]] number 1: reset_day=0 is no day of a month"),
    ('[[plans]]\nkind = "credits"', "[[plans]] number 1: packs is missing; write packs = [{ credits = 100"),
    ('[[plans]]\nkind = "credits"\npacks = 5', "[[plans]] number 1: packs is no list; write packs = [{"),
    ('[[plans]]\nkind = "credits"\npacks = ["x"]', "[[plans]] number 1: packs[1] is no table; write packs = [{"),
    (
        '[[plans]]\nkind = "credits"\npacks = [{ credits = 0, price = "$1", name = "A" }]',
        "[[plans]] number 1: credits of a pack=0 cannot be used",
    ),
    (
        '[[plans]]\nkind = "credits"\npacks = [{ credit = 5, price = "$1", name = "A" }]',
        "[[plans]] number 1: packs[1]: 'credit' is no key of a credit pack; write credits",
    ),
    (
        '[[plans]]\nkind = "pay-as-you-go"\nvolume_discounts = [[5, 1.5]]',
        "[[plans]] number 1: a volume discount of 1.5",
    ),
    ("prices = 5", "stripe-meter.toml, [prices] is no table; write [prices]"),
    ("[prices]\nlook = 0.05", 'stripe-meter.toml, [prices], key "look": price=0.05 has no currency'),
    ("[prices]\nlook = []", 'stripe-meter.toml, [prices], key "look": price=() names no price'),
    ('[prices]\n"" = "$1"', "stripe-meter.toml, [prices], key '' names no tool"),
    ("default_price = 5", "stripe-meter.toml, default_price: price=5 could mean"),
    ("spend_cap = 50", "stripe-meter.toml, spend_cap=50 is not understood; write for example"),
    ('spend_cap = ["$5/day", "€5/month"]', "stripe-meter.toml, spend_cap=('$5/day', '€5/month') is not understood"),
    ("STRIPE_SECRET_KEY = 5", "stripe_secret_key"),
]


@pytest.mark.parametrize(("text", "says"), WRONG, ids=map(str, range(len(WRONG))))
def test_a_mistake_is_named_with_file_table_and_key(text: str, says: str) -> None:
    """One sentence with what to write instead."""
    Path("stripe-meter.toml").write_text(text + "\n")
    with pytest.raises(ConfigurationError) as caught:
        Settings()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_table_of_a_project_file_is_named_in_full() -> None:
    """So that it can be searched for."""
    Path("pyproject.toml").write_text('[[tool.stripe-meter.plans]]\nkind = "free"\n')
    with pytest.raises(ConfigurationError, match=r"pyproject\.toml, \[\[tool\.stripe-meter\.plans\]\] number 1: Free"):
        Settings()
    Path("pyproject.toml").write_text("[tool.stripe-meter]\nnope = 1\n")
    with pytest.raises(ConfigurationError, match=r"pyproject\.toml, \[tool\.stripe-meter\]: 'nope' is no key"):
        Settings()


@pytest.mark.parametrize(
    ("read", "says"),
    [
        (
            lambda: from_file(Path("nothing.toml")),
            "nothing.toml cannot be read: No such file or directory",
        ),
        (lambda: Settings(plans="pro"), "write [[plans]] tables in stripe-meter.toml"),
        (lambda: Settings(prices="look"), "write a [prices] table in stripe-meter.toml"),
    ],
    ids=["no file", "plans", "prices"],
)
def test_what_is_no_table_is_refused(read: Callable[[], object], says: str) -> None:
    """A plan does not fit into an environment variable."""
    with pytest.raises(ConfigurationError) as caught:
        read()
    assert says in str(caught.value)
