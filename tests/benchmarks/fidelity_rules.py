"""Running the tests of rules that were taken out of the emulator.

A worker is a process that has the heavy imports done and forks for each rule, so a broken emulator is never used twice.
Its tests must pass before anything is broken; a test that is not there, or fails by itself, catches nothing.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

from tests.benchmarks import harness
from tests.benchmarks.fidelity_breaks import BREAKS, Break
from tests.benchmarks.fidelity_shapes import noticed, replaced

TESTS: Final = Path("tests/emulator")
WORKERS: Final = 2
PATIENCE: Final = 900.0
FEW: Final = 8
OK: Final = 0
FAILED: Final = 1
SOURCES: Final = (
    r"docs\.stripe\.com|docs/verified\.md|API reference|API v2 overview|OpenAPI|SDK|billing/entitlements"
    r"|billing credits|billing grace"
)
# The worker imported what pytest would like to import first; its children share that on purpose.
OPTIONS: Final = (
    "-q",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:hypothesispytest",
    "-W",
    "ignore::pytest.PytestAssertRewriteWarning",
)
#: What `rules_tested` counts.
MEANING: Final = (
    "test functions in tests/emulator (without those of the checker itself) whose docstring names in parentheses where "
    "Stripe states the rule; a parametrised test counts once, and the tests of the emulator's own design do not count"
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one rule taken out: `noticed` is how its test failed."""

    rule: str
    test: str
    caught: bool
    noticed: str


def rules_tested() -> int:
    """The number of rules of Stripe that have a test of their own."""
    named = re.compile(rf"\([^()]*({SOURCES})")
    count = 0
    for path in sorted((harness.ROOT / TESTS).rglob("test_*.py")):
        if not path.name.startswith("test_emulated_fidelity"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                    count += bool(named.search(ast.get_docstring(node) or ""))
    return count


def break_rules(breaks: Sequence[Break] = BREAKS) -> list[Outcome]:
    """Take out each rule and run its test, two at a time."""
    numbers = [str(BREAKS.index(one)) for one in breaks]
    with ThreadPoolExecutor(WORKERS) as pool:
        found = pool.map(_worker, [numbers[start::WORKERS] for start in range(WORKERS)])
        outcomes = {outcome.rule: outcome for some in found for outcome in some}
    lost = Outcome("", "", caught=False, noticed="its worker ended before it was run")
    return [outcomes.get(one.rule, Outcome(one.rule, one.test, lost.caught, lost.noticed)) for one in breaks]


def _worker(numbers: list[str]) -> list[Outcome]:
    if not numbers:
        return []
    command = [sys.executable, "-m", "tests.benchmarks.fidelity_rules", *numbers]
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    done = subprocess.run(command, cwd=harness.ROOT, env=bare, stdout=subprocess.PIPE, timeout=PATIENCE, check=True)
    return [Outcome(**json.loads(line)) for line in done.stdout.splitlines()]


def main(numbers: Sequence[str]) -> None:
    """The worker: one line of JSON for each rule."""
    chosen = [BREAKS[int(number)] for number in numbers]
    _warm_up(thoroughly=len(chosen) > FEW)
    dirty = dict(_forked(None, sorted({_place(one) for one in chosen})))
    for one in chosen:
        place = _place(one)
        before = dirty.get(place) or dirty.get("")
        if before is not None:
            outcome = Outcome(one.rule, place, caught=False, noticed=f"not clean before: {before}")
        else:
            failures = _forked(one, [place])
            noticed = failures[0][1] if failures else "nothing"
            outcome = Outcome(one.rule, place, caught=bool(failures) and failures[0][0] == place, noticed=noticed)
        print(json.dumps(asdict(outcome)), flush=True)


def _warm_up(*, thoroughly: bool) -> None:
    """Do once what every child would do again: imports, and compiling all types by telling the stories."""
    import tests.conftest  # noqa: F401

    for plugin in entry_points(group="pytest11"):
        plugin.load()
    if thoroughly:
        noticed()


def _place(one: Break) -> str:
    return f"{TESTS}/test_emulated_{one.test}"


def _forked(broken: Break | None, places: list[str]) -> list[tuple[str, str]]:
    """Run tests in a child, with one rule taken out or none: which failed, and how."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            found: Any = _failures(broken, places)
        except BaseException as error:
            found = [("", f"it could not be broken: {type(error).__name__}: {error}")]
        os.write(writing, json.dumps(found).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    return [(place, how) for place, how in json.loads(told or b'[["", "the child died"]]')]


def _failures(broken: Break | None, places: list[str]) -> list[tuple[str, str]]:
    import pytest

    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    notes = _Notes()
    with ExitStack() as stack:
        if broken is not None:
            stack.enter_context(replaced(broken.target, broken.make))
        status = pytest.main([*places, *OPTIONS], plugins=[notes])
    if status not in (OK, FAILED):
        missing = [place for place in places if place not in notes.run]
        notes.failed += [(place, f"it did not run (pytest ended with {int(status)})") for place in missing]
    return [(place, how[:200]) for place, how in notes.failed]


class _Notes:
    """What failed; a parametrised test by its name without parameters."""

    def __init__(self) -> None:
        self.failed: list[tuple[str, str]] = []
        self.run: set[str] = set()

    def pytest_runtest_logreport(self, report: Any) -> None:
        place = report.nodeid.partition("[")[0]
        self.run.add(place)
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            self.failed.append((place, str(crash.message if crash else report.longrepr).partition("\n")[0]))


if __name__ == "__main__":
    main(sys.argv[1:])
