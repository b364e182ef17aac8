"""What an import costs: wall-clock time of cold processes, net of the bare interpreter.

Each round starts one process for the line and one that imports nothing, side by side because the machine drifts; a
figure is the median over the rounds, of the difference (`net_ms`) or of the whole (`total_ms`). Byte code is compiled
before the first round, as it is where a package was installed.
"""

from __future__ import annotations

import argparse
import compileall
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Final

import stripe_meter
from tests.benchmarks import harness

ROUNDS: Final = 11
_PATIENCE: Final = 60.0
_SCRIPT: Final = Path(sys.executable).with_name("stripe-meter")

INTERPRETER: Final = [sys.executable, "-c", "pass"]
LINES: Final = {
    "import_stripe_meter": [sys.executable, "-c", "import stripe_meter"],
    "metered_and_plans": [sys.executable, "-c", "from stripe_meter import metered, PayAsYouGo"],
    "stripe_meter_class": [sys.executable, "-c", "from stripe_meter import StripeMeter"],
    "help": [*([str(_SCRIPT)] if _SCRIPT.exists() else [sys.executable, "-m", "stripe_meter"]), "--help"],
}


def measure(rounds: int = ROUNDS, names: frozenset[str] = frozenset(LINES)) -> harness.Report:
    """Start pairs of processes, each line beside a bare interpreter, in turns and in changing order."""
    report: harness.Report = {"rounds": rounds}
    compileall.compile_dir(Path(stripe_meter.__file__).parent, quiet=1)
    for name in LINES:
        if name in names:
            _took(LINES[name])
            pairs = [_pair(LINES[name], is_first=bool(number % 2)) for number in range(rounds)]
            report[name] = {
                "total_ms": _ms(statistics.median(line for _, line in pairs)),
                "interpreter_ms": _ms(statistics.median(bare for bare, _ in pairs)),
                "net_ms": _ms(statistics.median(line - bare for bare, line in pairs)),
            }
    return report


def _pair(line: list[str], *, is_first: bool) -> tuple[float, float]:
    if is_first:
        took = _took(line)
        return _took(INTERPRETER), took
    return _took(INTERPRETER), _took(line)


def _took(line: list[str]) -> float:
    began = time.perf_counter()
    process = subprocess.Popen(line, cwd=harness.ROOT, stdout=subprocess.DEVNULL)
    # Popen.wait(timeout) polls with growing pauses, which would round the figure up.
    deadline = threading.Timer(_PATIENCE, process.kill)
    deadline.start()
    try:
        status = process.wait()
        took = time.perf_counter() - began
    finally:
        deadline.cancel()
    if status:
        raise subprocess.CalledProcessError(status, line)
    return took


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 2)


def run(chosen: argparse.Namespace) -> harness.Report:
    return measure(5 if chosen.quick else ROUNDS)


if __name__ == "__main__":
    raise SystemExit(harness.main("imports", __doc__, run))
