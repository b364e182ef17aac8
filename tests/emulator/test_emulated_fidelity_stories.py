"""The fidelity benchmark itself: its stories are clean, and its sabotage is noticed."""

from __future__ import annotations

import pytest

from tests.benchmarks import fidelity
from tests.benchmarks.fidelity_bad import FAULTS
from tests.benchmarks.fidelity_breaks import BREAKS
from tests.benchmarks.fidelity_rules import break_rules
from tests.benchmarks.fidelity_shapes import CONTRACT, Mutation, break_answer, break_contract

RULES = ("a repeated key replays the first answer", "grants are used in order of priority", "lists are newest first")


def test_stories_touch_every_operation_and_find_nothing_wrong() -> None:
    """An operation that no story touches would be one whose answers nobody ever held against Stripe's types."""
    report = fidelity.measure(rounds=1)
    assert (report["untouched"], report["problems"], report["violations"]) == ([], [], 0)
    assert set(report["bad_requests"]) == set(FAULTS)
    assert report["operations"] > 100
    assert report["rules_tested"] > 100


@pytest.mark.parametrize(
    "mutation",
    [
        Mutation("customer", "dropped", ("created",)),
        Mutation("invoice", "added", ("sabotage",), 1),
        Mutation("price", "enum", ("type",), "sabotage"),
        Mutation("billing.meter", "type", ("created",), "seven"),
        Mutation("billing.credit_grant", "null", ("amount",)),
        Mutation("billing.alert_triggered", "dropped", ("value",)),
        Mutation("v2 page", "added", ("sabotage",), 1),
        Mutation("v2 page", "type", ("data",), "sabotage"),
        Mutation("deleted_customer", "added", ("sabotage",), 1),
        Mutation("v2.core.event", "dropped", ("data",)),
    ],
    ids=lambda mutation: f"{mutation.kind}-{mutation.how}",
)
def test_broken_answer_is_noticed(mutation: Mutation) -> None:
    """A checker that notices nothing looks the same as an emulator without faults."""
    assert break_answer(mutation) is not None


def test_unbroken_answers_are_not_blamed() -> None:
    """What is reported as caught must have been clean before: breaking a type that is never sent changes nothing."""
    assert break_answer(Mutation("carrier_pigeon", "added", ("sabotage",), 1)) is None


@pytest.mark.parametrize("name", CONTRACT)
def test_switched_off_check_is_noticed(name: str) -> None:
    """The driver's bad requests and the counters notice when a check of the contract is gone."""
    assert break_contract(name) is not None


@pytest.mark.timeout(300)  # two processes with imports of their own
def test_rule_taken_out_fails_its_test() -> None:
    """A test named after a rule that passes without the rule proves nothing."""
    outcomes = break_rules([one for one in BREAKS if one.rule in RULES])
    assert [(one.rule, one.caught) for one in outcomes] == [(rule, True) for rule in RULES]
