"""What all benchmarks share: interleaved runs, percentiles, medians of several runs, and how figures are shown.

A figure of this machine is noise unless something else was measured beside it. So a metered call is always timed in
turns with the bare call, in short blocks. What is reported as added at the median is the median over the pairs of
blocks, each the difference of its two medians: a shared machine takes from 180 to 290 µs for the same bare call, stays
with a speed for a few milliseconds, and one speed must not be compared with another. What is added at p99 is the
difference of the two percentiles of a run. Of several runs the median counts. Garbage collection stays on, as it is in
a server.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.targets import TARGETS

ROOT: Final = Path(__file__).parents[2]
#: Calls of one side before it is the other's turn; short against the drift of a shared machine.
BLOCK: Final = 20

clock = time.perf_counter_ns
Call = Callable[[], Awaitable[object]]
Report = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured: so many runs, of so many calls for each side after so many to warm up."""

    runs: int
    calls: int
    warm_up: int = 200


@dataclass(frozen=True, slots=True)
class Added:
    """Nanoseconds; medians over the runs. `added_p50` is no difference of the two columns beside it."""

    bare_p50: float
    metered_p50: float
    added_p50: float
    added_p99: float

    def micros(self) -> Report:
        """As it stands in a report."""
        return {
            "bare_p50_us": micros(self.bare_p50),
            "metered_p50_us": micros(self.metered_p50),
            "added_p50_us": micros(self.added_p50),
            "added_p99_us": micros(self.added_p99),
        }


def micros(nanoseconds: float) -> float:
    return round(nanoseconds / 1000, 2)


def percentile(samples: Sequence[float], share: float) -> float:
    """The sample that `share` of all do not exceed (nearest rank)."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


async def interleaved(bare: Call, metered: Call, effort: Effort) -> Added:
    """Time both calls in turns."""
    runs = []
    for _ in range(effort.runs):
        with on_one_core():
            for call in (bare, metered):
                await _timed(call, effort.warm_up)
            runs.append(await _one_run(bare, metered, effort.calls))
    return summed_up(runs)


@contextlib.contextmanager
def on_one_core() -> Iterator[None]:
    """Keep the calling thread, with both sides' calls, on the core that is the fastest at the moment.

    Other machines share a core of a virtual one, for seconds at a time, and everything takes half as long again there.
    Other threads and processes run anywhere; what is started meanwhile stays here. Does nothing where a thread cannot
    be kept (macOS).
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    anywhere = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(anywhere, key=_loop_on)})
        yield
    finally:
        os.sched_setaffinity(0, anywhere)


def _loop_on(core: int) -> float:
    os.sched_setaffinity(0, {core})
    return machine_loop()


def summed_up(runs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Added:
    """Medians over runs; each is the samples of the bare side and those of the other one, in the order of the calls."""
    p50 = [(percentile(bare, 0.5), percentile(other, 0.5)) for bare, other in runs]
    p99 = [(percentile(bare, 0.99), percentile(other, 0.99)) for bare, other in runs]
    return Added(
        statistics.median(bare for bare, _ in p50),
        statistics.median(other for _, other in p50),
        statistics.median(_paired(bare, other) for bare, other in runs),
        statistics.median(other - bare for bare, other in p99),
    )


def _paired(bare: Sequence[float], other: Sequence[float]) -> float:
    """What the other side takes longer, from blocks that were timed next to each other."""
    blocks = range(0, len(bare), BLOCK)
    return statistics.median(
        statistics.median(other[at : at + BLOCK]) - statistics.median(bare[at : at + BLOCK]) for at in blocks
    )


async def _one_run(bare: Call, metered: Call, calls: int) -> tuple[list[int], list[int]]:
    samples: tuple[list[int], list[int]] = [], []
    for turn in range(0, calls, BLOCK):
        sides = (0, 1) if turn // BLOCK % 2 else (1, 0)
        for side in sides:
            samples[side].extend(await _timed((bare, metered)[side], min(BLOCK, calls - turn)))
    return samples


async def _timed(call: Call, times: int) -> list[int]:
    taken = []
    for _ in range(times):
        began = clock()
        await call()
        taken.append(clock() - began)
    return taken


def machine_loop() -> float:
    """Microseconds this machine needs for a thousand steps of plain Python: tells a slow moment from slow code."""
    taken = []
    for _ in range(101):
        began = clock()
        total = 0
        for step in range(1000):
            total += step
        taken.append(clock() - began)
    return micros(statistics.median(taken))


def main(
    name: str,
    about: str | None,
    measure: Callable[[argparse.Namespace], Report],
    *options: tuple[str, Callable[[str], Any]],
    show: Callable[[Report], str] | None = None,
) -> int:
    """The command line of one benchmark: measure, and print one table or one JSON object.

    Args:
        name: Of the benchmark, under which its targets are found.
        about: Its documentation; the first line is shown by `--help`.
        measure: Makes the report.
        options: Further options and what makes values of their text.
        show: Makes the table, where one figure a line is not readable.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m tests.benchmarks.{name}", description=(about or "").partition("\n")[0]
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--quick", action="store_true", help="measure less: for CI and while optimising")
    for option, kind in options:
        parser.add_argument(f"--{option}", type=kind, default=None)
    chosen = parser.parse_args()
    machine = {"cores": os.cpu_count(), "load_before": round(os.getloadavg()[0], 2), "loop_us": machine_loop()}
    report = {**measure(chosen), "machine": machine}
    if chosen.json:
        print(json.dumps(report, indent=2))
    else:
        print(show(report) if show is not None else table(name, report))
    return 0


def table(name: str, report: Report) -> str:
    """One line for each figure, with its target where it has one."""
    targets, lines = TARGETS.get(name, {}), []
    for path, value in flat(report):
        target = targets.get(path)
        shown = f"{path:<48}{value!s:>14}"
        if target is not None and isinstance(value, int | float):
            shown += f"   target {target:g}: {'met' if value <= target else f'missed, {value / target:.2f} times'}"
        lines.append(shown)
    return "\n".join(lines)


def flat(report: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a report, each with the dotted path of its names."""
    if isinstance(report, dict):
        for name, value in report.items():
            yield from flat(value, f"{path}.{name}" if path else str(name))
    elif isinstance(report, list) and any(isinstance(value, dict) for value in report):
        for number, value in enumerate(report):
            yield from flat(value, f"{path}[{number}]")
    else:
        yield path, report


def tell(text: str) -> None:
    """Progress, on stderr: stdout belongs to the report."""
    print(text, file=sys.stderr, flush=True)
