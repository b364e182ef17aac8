"""What the command line says about itself, and what that costs."""

import json
import subprocess
import sys

import pytest

from stripe_meter import __version__
from tests.cli.support import environment, run

HEAVY = ["mcp", "stripe", "rich", "starlette", "uvicorn", "pydantic", "aiohttp", "asyncio", "importlib.metadata"]
PROBE = """
import json, sys
from stripe_meter.cli import main
sys.argv = ["stripe-meter", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    print(json.dumps([end.code, sorted(sys.modules)]), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["demo", "--help"], ["keys", "--help"], ["doctor", "--help"], ["simulate", "--help"]],
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    """Asking for help must not pay for an MCP framework or the Stripe SDK."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        env={name: value for name, value in environment().items() if not name.startswith("COV")},
    )
    status, modules = json.loads(done.stderr)
    assert not status
    assert [name for name in HEAVY if name in modules] == []


def test_help_names_every_command() -> None:
    """`--help` teaches what there is."""
    shown = run("--help")
    assert shown.returncode == 0
    for command in ("demo", "dev", "emulator", "keys", "plan", "apply", "doctor", "simulate"):
        assert f"  {command} " in shown.stdout


@pytest.mark.parametrize(
    "command",
    [
        "demo",
        "dev",
        "emulator",
        "keys",
        "keys create",
        "keys list",
        "keys revoke",
        "plan",
        "apply",
        "doctor",
        "simulate",
    ],
)
def test_every_command_explains_itself(command: str) -> None:
    """Each command has a help text of its own and exits with 0."""
    shown = run(*command.split(), "--help")
    assert shown.returncode == 0
    assert shown.stderr == ""
    assert len(shown.stdout.splitlines()) > 5


def test_version_is_the_packages() -> None:
    """`--version` tells the version of the package."""
    assert run("--version").stdout.strip() == f"stripe-meter, version {__version__}"


@pytest.mark.parametrize("arguments", [["nonsense"], ["demo", "--nonsense"], ["keys"], ["dev"], ["apply"]])
def test_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    """What cannot be understood is a usage error."""
    done = run(*arguments)
    assert done.returncode == 2
    assert "Usage:" in done.stderr
