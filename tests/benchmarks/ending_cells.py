"""Which endings make sense for which framework and transport, and how each server is started.

Owns the table of `endings` and the command lines. The older framework lines live in the environments that `nox` makes.
Where an ending cannot be had here, `missing` says why.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.benchmarks import harness

#: Each framework line, and the interpreter that has it.
FRAMEWORKS: Final = {
    "mcp": Path(sys.executable),
    "fastmcp": Path(sys.executable),
    "mcp1": harness.ROOT / ".nox/mcp-1/bin/python",
    "fastmcp3": harness.ROOT / ".nox/fastmcp-3/bin/python",
}
_APP: Final = "tests.benchmarks.ending_app"

#: Endings on stdio; `sigint` leaves a server of both frameworks waiting for its stdin, so that is closed afterwards.
#: `bare` is SIGTERM for a server without a StripeMeter, whose tools run in worker threads.
STDIO: Final = (
    "sigterm", "sigterm_twice", "sigterm_running", "bare", "sighup", "sigint", "eof", "exit", "exception", "fork",
    "multiprocessing", "kill",
)  # fmt: skip
#: Endings over HTTP; those with the name of a server in front are ended by SIGTERM.
HTTP: Final = (
    "sigterm", "sigterm_twice", "sigterm_running", "bare", "sighup", "sigint", "exit", "exception", "fork",
    "multiprocessing", "uvicorn_factory", "uvicorn_factory_running", "uvloop", "uvloop_running", "gunicorn",
    "gunicorn_running", "gunicorn_preload", "kill",
)  # fmt: skip
QUICK: Final = (
    "sigterm", "sigterm_twice", "sigterm_running", "bare", "sighup", "eof", "fork", "kill", "uvicorn_factory_running",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination."""

    framework: str
    transport: str
    ending: str

    @property
    def name(self) -> str:
        return f"{self.framework} {self.transport} {self.ending}"

    @property
    def is_running(self) -> bool:
        """Whether tools are still running when the end comes."""
        return self.ending.endswith("_running")

    def command(self, port: int) -> list[str]:
        """How to start the server."""
        python, where = str(FRAMEWORKS[self.framework]), f"127.0.0.1:{port}"
        if self.ending.startswith("gunicorn"):
            options = ["-k", "uvicorn_worker.UvicornWorker", "-w", "2", "-b", where, "--log-level", "error"]
            if self.ending == "gunicorn_preload":
                options.append("--preload")
            return [python, "-m", "gunicorn", *options, f"{_APP}:app()"]
        if self.ending.startswith(("uvicorn", "uvloop")):
            loop = "uvloop" if self.ending.startswith("uvloop") else "asyncio"
            options = ["--factory", "--port", str(port), "--loop", loop, "--log-level", "error"]
            return [python, "-m", "uvicorn", *options, f"{_APP}:app"]
        return [python, "-m", _APP, self.framework, self.transport, self.ending, str(port)]

    def missing(self) -> str | None:
        """Why this cell cannot be run here; None when it can."""
        python = FRAMEWORKS[self.framework]
        if not python.exists():
            return f"{python.parent.parent.name} is not there; run nox first"
        wanted = {"uvloop": ["uvloop"], "gunicorn": ["gunicorn", "uvicorn_worker"]}
        for kind, modules in wanted.items():
            for module in modules if self.ending.startswith(kind) else ():
                if not list(python.parent.parent.glob(f"lib/*/site-packages/{module}")):
                    return f"{module} is not installed"
        return None


def cells(*, quick: bool, only: str) -> Iterator[Cell]:
    """The table, row by row; `only` keeps those whose name contains it."""
    for transport, endings in (("stdio", STDIO), ("http", HTTP)):
        for ending in endings:
            for framework in FRAMEWORKS:
                cell = Cell(framework, transport, ending)
                if only in cell.name and (not quick or ending in QUICK):
                    yield cell
