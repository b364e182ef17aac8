"""The compatibility matrix: `tests/compat` against each framework line, in an environment of its own.

Owns which versions make up the matrix. Installs come from wherever this machine's pip is told to look. A session writes
what passed to .nox/compat; `table` makes the README's table of that, and `git diff --exit-code README.md` proves that
it was current. A failing test fails its session, and its results are written all the same.
"""

import sys

import nox

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "venv"
nox.options.stop_on_first_error = False

LINES = {"mcp-2": "mcp==2.3.0", "mcp-1": "mcp==1.30.0", "fastmcp-4": "fastmcp==4.1.2", "fastmcp-3": "fastmcp==3.4.4"}


def compatibility(session: nox.Session, line: str) -> None:
    """Install the package with one framework and nothing else of the development tools, and test it there."""
    session.install("--quiet", "--no-compile", ".", LINES[line], "pytest>=9.1", "pytest-timeout>=2.4")
    # Appended, the checkout gives us the tests, and the installed package is what they test.
    options = ["--import-mode=append", "-p", "no:cacheprovider", "-W", "default"]
    results = session.cache_dir.parent / "compat" / f"{line}.json"
    results.unlink(missing_ok=True)
    session.run(
        "pytest", "tests/compat", *options, *session.posargs, env={"COMPAT_LINE": line, "COMPAT_RESULTS": str(results)}
    )


@nox.session(name="mcp-2", reuse_venv=False)
def mcp_2(session: nox.Session) -> None:
    """MCPServer of the MCP SDK 2.x."""
    compatibility(session, "mcp-2")


@nox.session(name="mcp-1", reuse_venv=False)
def mcp_1(session: nox.Session) -> None:
    """FastMCP of the MCP SDK 1.x."""
    compatibility(session, "mcp-1")


@nox.session(name="fastmcp-4", reuse_venv=False)
def fastmcp_4(session: nox.Session) -> None:
    """Standalone FastMCP 4."""
    compatibility(session, "fastmcp-4")


@nox.session(name="fastmcp-3", reuse_venv=False)
def fastmcp_3(session: nox.Session) -> None:
    """Standalone FastMCP 3."""
    compatibility(session, "fastmcp-3")


@nox.session(venv_backend="none")
def table(session: nox.Session) -> None:
    """Write the README's table from the results."""
    results = session.cache_dir.parent / "compat"
    session.run(sys.executable, "tests/compat/table.py", str(results), "README.md", external=True)
