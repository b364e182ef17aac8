"""Suites of authors, run by a pytest of their own: the page in docs/, and what a suite must never touch."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import stripe_meter

ROOT = Path(stripe_meter.__file__).parents[1]
PAGE = (Path(__file__).parents[2] / "docs/testing.md").read_text().partition("## Cassettes")[0]
#: Each snippet says in its first line which file it belongs to.
SNIPPETS = re.findall(r"```python\n# (\S+)\n(.*?)```", PAGE, re.DOTALL)
PLUGIN = 'pytest_plugins = ["stripe_meter.testing.plugin"]\n'
SERVER = next(code for name, code in SNIPPETS if name == "server.py")
#: What a careless developer has in the shell.
SHELL = {
    "STRIPE_SECRET_KEY": "sk_live_of_the_developer",
    "STRIPE_METER_API_KEY": "smk_cus_live_of_the_developer",
    "STRIPE_METER_ENABLED": "false",
    "STRIPE_METER_PUBLIC_URL": "https://tools.example.com",
}


def run(directory: Path, files: Mapping[str, str], **shell: str) -> str:
    """Write a suite, run it with every warning an error, and return what pytest said."""
    for name, code in files.items():
        (directory / name).write_text(code)
    kept = {
        name: value for name, value in os.environ.items() if name in {"PATH", "HOME"} or name.startswith("COVERAGE")
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-W", "error", "-p", "no:cacheprovider", "-rA", f"--rootdir={directory}"],
        cwd=directory,
        env={**kept, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **shell},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return done.stdout + done.stderr


def test_the_page_about_testing_is_a_suite_that_passes(tmp_path: Path) -> None:
    """Its snippets, written into the files they name, in the shell of somebody who has a live key."""
    files: dict[str, str] = {}
    for name, code in SNIPPETS:
        files[name] = files.get(name, "") + "\n\n" + code
    said = run(tmp_path, files, **SHELL)
    assert re.search(r"=+ 9 passed in", said), said
    assert PAGE.count("async def test_") == 9


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """A test without our fixtures finds environment and process default as if they did not exist."""
    suite = """
import os
import pytest
from stripe_meter.enforcement import current

BEFORE = dict(os.environ)

@pytest.mark.parametrize("_", range(2))
def test_with_the_emulator(_, stripe_emulator):
    assert os.environ["STRIPE_METER_EMULATOR"] == stripe_emulator.url
    assert not {"STRIPE_SECRET_KEY", "STRIPE_METER_API_KEY", "STRIPE_METER_ENABLED"} & set(os.environ)
    os.environ["STRIPE_METER_NAMESPACE"] = "left-by-a-test"
    assert current.find(None).settings.emulator == stripe_emulator.url
    assert stripe_emulator.emulator.account.ids.new("cus") == "cus_test_1"

def test_with_the_rest(stripe_clock, stripe_billing):
    assert current.override.engine is stripe_billing.engine

def test_without():
    seen = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    assert seen == {name: BEFORE[name] for name in seen}
    assert seen.keys() == BEFORE.keys() - {"PYTEST_CURRENT_TEST"}
    assert current.override.engine is None
    assert current._default.engine is None
    assert current._default.is_configured is False
"""
    said = run(tmp_path, {"conftest.py": PLUGIN, "test_suite.py": suite}, **SHELL)
    assert "4 passed" in said, said


def test_a_bare_tool_is_billed_on_the_emulator_of_its_own_test(tmp_path: Path) -> None:
    """Where nobody builds a StripeMeter, the process default of one test must not outlive that test."""
    suite = """
import pytest
from mcp import Client
from mcp.server.mcpserver import MCPServer
from stripe_meter import metered

mcp = MCPServer("tools")

@mcp.tool()
@metered("$0.05")
async def ping() -> str:
    return "pong"

@pytest.mark.anyio
@pytest.mark.parametrize("_", range(2))
async def test_it(_, stripe_emulator):
    async with Client(mcp) as client:
        result = await client.call_tool("ping", {})
    link = result.meta["stripe-meter/payment-required"]["checkout_url"]
    assert link.startswith(stripe_emulator.url)
"""
    conftest = PLUGIN + "import pytest\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n"
    said = run(tmp_path, {"conftest.py": conftest, "test_suite.py": suite}, **SHELL)
    assert "2 passed" in said, said


@pytest.mark.parametrize(
    ("statement", "printed"),
    [
        ("import stripe_meter.testing as t; t.use, t.customer, t.HandClock, t.emulated_stripe; print('fine')", "fine"),
        ("import stripe_meter.testing.plugin", "ImportError: stripe_meter.testing.plugin is for pytest, which is not"),
    ],
    ids=["the rest", "the plugin"],
)
def test_only_the_fixtures_need_pytest(statement: str, printed: str) -> None:
    """It is no dependency of the library; where it is needed, one sentence says so."""
    code = f"import sys; sys.modules['pytest'] = None\n{statement}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert printed in (done.stdout + done.stderr).splitlines()[-1]
    assert "pip install pytest" in done.stderr or done.returncode == 0
