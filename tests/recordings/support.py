"""Running the scenario suite as a process of its own, on a copy of the recordings that a test may spoil."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[2]
CASSETTES: Final = ROOT / "cassettes"


def copied(folder: Path) -> Path:
    """The scenarios and their recordings, in `folder`."""
    for part in ("tests/scenarios", "tests/guard", "cassettes"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    for part in ("tests/__init__.py", "tests/conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / part, folder / part)
    return folder


def pytest_in(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`pytest ARGUMENTS` in `folder`, without anything that configures us but `environment`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("STRIPE_", "PYTEST_", "COV_"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments],
        cwd=folder,
        env={**kept, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]), **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def failed(result: subprocess.CompletedProcess[str]) -> set[str]:
    """The names of the tests that failed or ended in an error."""
    return set(re.findall(r"^(?:FAILED|ERROR) \S+?::(\w+)", result.stdout, re.MULTILINE))


def edit(cassette: Path, change: Callable[[list[Any]], object]) -> None:
    """Change the interactions of a recording."""
    text: Any = yaml.safe_load(cassette.read_text())
    change(text["interactions"])
    cassette.write_text(yaml.safe_dump(text, sort_keys=False))
