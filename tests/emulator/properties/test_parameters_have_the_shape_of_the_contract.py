"""Generated good and bad parameters: the emulator refuses a shape exactly where the contract refuses it.

The contract is the OpenAPI file where `STRIPE_OPENAPI_SPEC` names one, else the SDK's own types. Every operation is
tried with each of its parameters alone, right in all its alternatives, and wrong in type, enum, key and length.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.emulator.properties.cases import Cases
from tests.emulator.properties.decisions import compare
from tests.emulator.properties.desk import Desk
from tests.emulator.properties.effort import DEEP, effort
from tests.emulator.properties.schemas import Contract, from_file, from_types
from tests.emulator.properties.world import World

SPEC = os.environ.get("STRIPE_OPENAPI_SPEC")
OPERATIONS = Desk().emulator.api.operations
FILE = from_file(Path(SPEC), OPERATIONS) if SPEC else []
#: Beside a file, the types are tried where the file says nothing, and on a few that bill usage to keep this way alive.
NEAR = ("/v1/billing/", "/v2/")
BOTH = {one.name for one in FILE if not DEEP and not one.path.startswith(NEAR)}
TYPES = [one for one in from_types(OPERATIONS) if one.name not in BOTH]
CONTRACTS = [*(pytest.param(one, id=f"file: {one.name}") for one in FILE)]
CONTRACTS += [pytest.param(one, id=f"types: {one.name}") for one in TYPES]


@pytest.mark.parametrize("contract", CONTRACTS)
def test_each_parameter_is_refused_exactly_where_the_contract_refuses_it(contract: Contract) -> None:
    """Code that passes here must not meet its first `parameter_unknown` on the real service."""
    world = World()
    outcome = compare(world, contract, Cases(world.names).all(contract.schema))
    assert outcome.disagreements == []
    assert outcome.accepted
    assert outcome.refused
    assert world.desk.emulator.violations == []


@effort(examples=100, deep_examples=1_000)
@given(contract=st.sampled_from(FILE or TYPES), dice=st.randoms(use_true_random=False))
def test_parameters_together_are_refused_exactly_where_the_contract_refuses_them(
    contract: Contract, dice: random.Random
) -> None:
    """Parameters are read side by side and nested: a fault must be found wherever it sits."""
    world = World()
    cases = Cases(world.names)
    values = [cases.mixed(contract.schema, dice, dice.choice([0.0, 0.0, 0.1, 0.3])) for _ in range(20)]
    values = [value for value in values if isinstance(value, dict)]
    outcome = compare(world, contract, values)
    assert outcome.disagreements == []
    assert world.desk.emulator.violations == []
