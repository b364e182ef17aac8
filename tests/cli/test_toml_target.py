"""A target that is a TOML file: the catalogue of a server that nobody can edit, planned, applied and examined."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Shop
from tests.cli.support import run, sentence

EVERYTHING = """
namespace = "shop"

[[plans]]
kind = "pay-as-you-go"

[[plans]]
kind = "subscription"
name = "pro"
price = "$49.99/month"
included = 5000
overage = "$0.25"

[[plans]]
kind = "credits"
packs = [{ credits = 100, price = "$9.99", name = "Starter" }]

[prices]
summarize = ["$0.05", "1 credit"]
"deep/look" = "$0.50"
"""


@pytest.fixture
def toml(shop: Shop) -> Path:
    """The file that the shop's commands are aimed at."""
    shop.file = shop.file.with_suffix(".toml")
    shop.file.write_text(EVERYTHING)
    return shop.file


def test_a_file_is_planned_applied_and_examined(shop: Shop, toml: Path) -> None:
    """3, 0, 0, 0 as for a server in Python, in the namespace that the file names."""
    env = {"STRIPE_METER_EMULATOR": shop.stripe.url}
    first = run("plan", str(toml), env=env)
    assert first.returncode == 3, first.stderr
    assert "+ create     price    shop.deep_look  $0.50 a unit" in first.stdout
    assert f"stripe-meter apply {toml}" in first.stdout
    assert run("apply", str(toml), "--yes", env=env).returncode == 0
    assert run("plan", str(toml), env=env).returncode == 0
    assert shop.doctor() == []
    assert shop.price("shop:plan:pro").unit_amount == 4999


def test_what_changes_in_the_file_changes_in_stripe(shop: Shop, toml: Path) -> None:
    """A price, and a tool that is gone; subscribers follow when they are told to."""
    shop.apply()
    marks = {"stripe_meter": "shop", "stripe_meter_plan": "pay-as-you-go"}
    subscription = shop.subscriber("shop.summarize", "shop.deep_look", metadata=marks)
    toml.write_text(EVERYTHING.replace('"$0.05"', '"$0.07"').replace('"deep/look" = "$0.50"\n', ""))
    assert {("change", "shop.summarize"), ("archive", "shop.deep_look")} <= set(shop.kinds())
    shop.apply("--subscriptions")
    assert shop.price("shop.summarize").id in [price for _, price in shop.items(subscription.id)]


def test_a_doctor_names_the_file_in_what_mends(shop: Shop, toml: Path) -> None:
    """The command can be pasted."""
    found = shop.doctor()
    assert {finding["command"] for finding in found} == {f"stripe-meter apply {toml}"}


@pytest.mark.parametrize("command", ["plan", "apply", "doctor"])
def test_a_pattern_is_not_taken_for_nothing(shop: Shop, toml: Path, command: str) -> None:
    """What the server sells by it would be archived by a file that cannot list it."""
    toml.write_text(EVERYTHING + '"search-*" = "$0.01"\n')
    said = sentence(run(command, str(toml), env={"STRIPE_METER_EMULATOR": shop.stripe.url}))
    assert "prices tools as 'search-*', and only their server can tell which these are" in said


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "cannot be read"),
        ("[prices]\n", "puts no tool on sale"),
        ("[prices]\nlook = 5\n", "price=5 could mean"),
        ('[[plans]]\nkind = "credits"\n[prices]\nlook = "1 credit"\n', "packs is missing"),
        ('[[plans]]\nkind = "pay-as-you-go"\n[prices]\nlook = "1 credit"\n', "which no plan on sale can charge"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_sentence(shop: Shop, tmp_path: Path, text: str | None, says: str) -> None:
    """Before anybody asks Stripe."""
    file = tmp_path / "target.toml"
    if text is not None:
        file.write_text(text)
    assert says in sentence(run("plan", str(file), env={"STRIPE_METER_EMULATOR": shop.stripe.url}))
    assert shop.stripe.emulator.requests == []
