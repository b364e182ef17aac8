"""The lines under test, a payer's key, what reached Stripe, and the record of results that the README's table is of."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from stripe_meter.emulator import EmulatorServer
from stripe_meter.enforcement.engine import Engine
from tests.compat import drivers
from tests.conftest import a_tool, pay

#: The one line to test, where an environment was made for it; else every line that is installed.
ONLY = os.environ.get("COMPAT_LINE")
#: Where to write what passed; nowhere unless it is set.
RESULTS = os.environ.get("COMPAT_RESULTS")

_WORSE: Final = ("passed", "skipped", "failed")
_results: dict[str, str] = {}


@pytest.fixture(params=[ONLY] if ONLY else [name for name in drivers.LINES if drivers.installed(name)])
def line(request: pytest.FixtureRequest) -> str:
    """Each framework line that is installed here."""
    return str(request.param)


@pytest.fixture(params=[ONLY] if ONLY else drivers.LINES)
def wanted_line(request: pytest.FixtureRequest) -> str:
    """Each framework line that is supported, installed or not."""
    return str(request.param)


@pytest.fixture(autouse=True)
def _quiet(quiet_frameworks: None) -> None:
    """Every test here has tools that fail."""


@pytest.fixture
async def api_key(engine: Engine, stripe: EmulatorServer) -> str:
    """The key of somebody who was refused, has paid, and came back."""
    caller = await pay(engine, stripe, a_tool("entry", "$1"))
    assert caller.api_key is not None
    return caller.api_key


@pytest.fixture
def billed(stripe: EmulatorServer) -> Callable[..., dict[str, int]]:
    """What has reached Stripe by tool, once it is as much as `expect`; usage may come from another process."""

    def look(expect: int) -> dict[str, int]:
        deadline = time.monotonic() + drivers.WAIT
        while sum(total := _usage(stripe)) < expect and time.monotonic() < deadline:
            time.sleep(0.02)
        assert sum(total) >= expect
        return _by_tool(stripe)

    return look


def _events(stripe: EmulatorServer) -> list[Any]:
    return [record.body for record in stripe.emulator.log.records if record.path.endswith("/billing/meter_events")]


def _usage(stripe: EmulatorServer) -> list[int]:
    return [int(body["payload"]["value"]) for body in _events(stripe)]


def _by_tool(stripe: EmulatorServer) -> dict[str, int]:
    total: dict[str, int] = {}
    for body in _events(stripe):
        name = body["event_name"].rpartition(".")[2]
        total[name] = total.get(name, 0) + int(body["payload"]["value"])
    return total


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep the worst outcome of each test over its phases, under its name and parameters without the line."""
    name, _, parameters = report.nodeid.rpartition("::")[2].rstrip("]").partition("[")
    chosen = parameters.removeprefix(str(ONLY)).strip("-")
    if ONLY and "tests/compat/" in report.nodeid and (report.when == "call" or report.outcome != "passed"):
        key = f"{name}[{chosen}]" if chosen else name
        _results[key] = max(_results.get(key, "passed"), report.outcome, key=_WORSE.index)


def pytest_sessionfinish() -> None:
    if ONLY and RESULTS:
        record = {"line": ONLY, "version": drivers.installed(ONLY), "tests": dict(sorted(_results.items()))}
        path = Path(RESULTS)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record, indent=2) + "\n")
