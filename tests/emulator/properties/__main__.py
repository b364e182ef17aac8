"""`python -m tests.emulator.properties`: how many decisions about parameters were compared, as JSON."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from tests.emulator.properties.cases import Cases
from tests.emulator.properties.decisions import Outcome, compare
from tests.emulator.properties.desk import Desk
from tests.emulator.properties.schemas import Contract, from_file, from_types
from tests.emulator.properties.world import World


def figures(contracts: list[Contract]) -> tuple[dict[str, object], list[str]]:
    """Counts over all operations of one source, and the disagreements."""
    total, started = Outcome(), time.perf_counter()
    for contract in contracts:
        world = World()
        total.add(compare(world, contract, Cases(world.names).all(contract.schema)))
    row = {key: value for key, value in vars(total).items() if key != "disagreements"}
    row |= {"disagreements": len(total.disagreements), "seconds": round(time.perf_counter() - started, 1)}
    return {"operations": len(contracts), **row}, total.disagreements


def main() -> int:
    """Print the figures of each source; 1 when anything disagrees."""
    operations = Desk().emulator.api.operations
    sources = {"types": from_types(operations)}
    if spec := os.environ.get("STRIPE_OPENAPI_SPEC"):
        sources["file"] = from_file(Path(spec), operations)
    told, wrong = {}, []
    for name, contracts in sources.items():
        told[name], disagreements = figures(contracts)
        wrong += [f"{name}: {one}" for one in disagreements]
    print(json.dumps(told, indent=2))
    print("\n".join(wrong), file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
