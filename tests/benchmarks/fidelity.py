"""Is the emulator true to Stripe's contract, and would we notice if it were not?

Plain, it tells stories that touch every operation, with good requests and bad ones, to an emulator over HTTP, and
prints what its checker looked at. Every request and answer is held against the SDK's own types, and against the
OpenAPI file when STRIPE_OPENAPI_SPEC names one. `--sabotage` breaks one thing at a time and reports whether it was
caught. The exit status is 1 when an operation was not touched, anything was wrong, or a sabotage survived.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from typing import Any, Final

import httpx

from stripe_meter.emulator import EmulatorServer
from tests.benchmarks import harness
from tests.benchmarks.fidelity_rules import MEANING, break_rules, rules_tested
from tests.benchmarks.fidelity_shapes import CONTRACT, HOWS, break_answer, break_contract, mutations, noticed, samples
from tests.benchmarks.fidelity_story import Request, Teller, fresh, in_process, over_http

ROUNDS: Final = 5
WORKERS: Final = 2
COUNTED: Final = ("requests_checked", "responses_checked", "violations")


def measure(rounds: int = ROUNDS) -> harness.Report:
    """Tell the stories over HTTP; then time requests with the checks and without."""
    with EmulatorServer(fresh()) as server, httpx.Client(base_url=server.url, timeout=30) as client:
        teller = Teller(server.emulator, over_http(client))
        problems = list(teller.told())
        counted = server.emulator.fidelity()
        openapi = server.emulator.api.fidelity.openapi
    checked, unchecked = _medians(rounds)
    return {
        "operations": len(counted),
        **{name: sum(row[name] for row in counted.values()) for name in COUNTED},
        "untouched": [name for name, row in counted.items() if not (row[COUNTED[0]] and row[COUNTED[1]])],
        "bad_requests": dict(teller.refused),
        "problems": problems,
        "openapi": openapi,
        "rules_tested": rules_tested(),
        "rules_tested_means": MEANING,
        "checked_request_p50_us": checked,
        "unchecked_request_p50_us": unchecked,
        "per_operation": counted,
    }


def _medians(rounds: int) -> tuple[float, float]:
    """Microseconds of a request without HTTP around it: with all checks, and with those of parameters only."""
    taken: dict[bool, list[int]] = {True: [], False: []}
    for number in range(2 * rounds + 2):
        with_checks = number % 2 == 0
        emulator = fresh(check_responses=with_checks)
        answer = in_process(emulator)
        spent: list[int] = []

        def timed(request: Request, answer: Any = answer, spent: list[int] = spent) -> tuple[int, Any]:
            began = harness.clock()
            found: tuple[int, Any] = answer(request)
            spent.append(harness.clock() - began)
            return found

        list(Teller(emulator, timed, with_bad=False).told())
        if number > 1:  # the first of each compile the types
            taken[with_checks] += spent
    return harness.micros(statistics.median(taken[True])), harness.micros(statistics.median(taken[False]))


def sabotage() -> harness.Report:
    """Break answers of every type, the checks of parameters, and the rules; one thing at a time."""
    problem = noticed(with_bad=True)
    if problem is not None:
        raise RuntimeError(f"the emulator is not clean before any sabotage: {problem}")
    found = samples()
    kinds = sorted(found)
    harness.tell(f"breaking answers of {len(kinds)} types")
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
        answers = dict(zip(kinds, pool.map(_break_kind, kinds, [found[kind] for kind in kinds]), strict=True))
        contract = dict(zip(CONTRACT, pool.map(break_contract, CONTRACT), strict=True))
    harness.tell("taking out rules")
    rules = break_rules()
    survived = [one for row in answers.values() for one in row["survived"]]
    survived += [name for name, caught in contract.items() if caught is None]
    survived += [f"{one.rule}: {one.noticed}" for one in rules if not one.caught]
    made = sum(row[how]["made"] for row in answers.values() for how in HOWS) + len(contract) + len(rules)
    return {
        "made": made,
        "caught": made - len(survived),
        "survived": survived,
        "openapi": fresh().api.fidelity.openapi,
        "responses": answers,
        "requests": contract,
        "rules": [asdict(one) for one in rules],
    }


def _break_kind(kind: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Every mutation of one type of answer: how many were made and caught, and what survived."""
    report: dict[str, Any] = {how: {"made": 0, "caught": 0} for how in HOWS}
    survived = []
    for mutation in mutations(kind, rows):
        caught = break_answer(mutation) is not None
        report[mutation.how]["made"] += 1
        report[mutation.how]["caught"] += caught
        if not caught:
            survived.append(f"{kind}.{'.'.join(mutation.path)} {mutation.how}")
    return {**report, "survived": survived}


def wrong(report: harness.Report) -> list[str]:
    """What makes the exit status 1."""
    if "made" in report:
        return [f"survived: {one}" for one in report["survived"]]
    return [*(f"never checked: {name}" for name in report["untouched"]), *report["problems"]]


def show(report: harness.Report) -> str:
    """The table of either form."""
    lines = _sabotages(report) if "made" in report else _operations(report)
    return "\n".join([*lines, *wrong(report)])


def _operations(report: harness.Report) -> list[str]:
    lines = [f"{'operation':<68}{'requests':>9}{'responses':>10}{'violations':>11}"]
    for name, row in report["per_operation"].items():
        lines.append(f"{name:<68}{row[COUNTED[0]]:>9}{row[COUNTED[1]]:>10}{row[COUNTED[2]]:>11}")
    total = [report[name] for name in COUNTED]
    lines.append(f"{str(report['operations']) + ' operations':<68}{total[0]:>9}{total[1]:>10}{total[2]:>11}")
    left_out = ("per_operation", "operations", "untouched", "problems", *COUNTED)
    rest = {name: value for name, value in report.items() if name not in left_out}
    return [*lines, "", harness.table("fidelity", rest)]


def _sabotages(report: harness.Report) -> list[str]:
    lines = [f"{'caught of made':<48}{''.join(f'{how:>10}' for how in HOWS)}"]
    for kind, row in report["responses"].items():
        cells = "".join(f"{row[how]['caught']}/{row[how]['made']}".rjust(10) for how in HOWS)
        lines.append(f"{kind:<48}{cells}")
    lines.append("")
    for name, caught in report["requests"].items():
        lines.append(f"{'caught' if caught else 'SURVIVED':<10}{name:<48}{(caught or 'nothing')[:90]}")
    lines.append("")
    for one in report["rules"]:
        lines.append(f"{'caught' if one['caught'] else 'SURVIVED':<10}{one['rule']:<48}{one['noticed'][:90]}")
    summary = f"{report['caught']} of {report['made']} sabotages caught"
    return [*lines, "", f"{summary}, OpenAPI file checked: {report['openapi']}"]


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.fidelity", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--sabotage", action="store_true", help="break one thing at a time; takes minutes")
    chosen = parser.parse_args(arguments)
    report = sabotage() if chosen.sabotage else measure()
    print(json.dumps(report, indent=2) if chosen.json else show(report))
    return 1 if wrong(report) else 0


if __name__ == "__main__":
    sys.exit(main())
