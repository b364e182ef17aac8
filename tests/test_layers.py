"""The layers of the design, read from the imports themselves."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import stripe_meter

PACKAGE = Path(stripe_meter.__file__).parent
MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))

#: From the innermost outwards; a module imports only from its own layer and those before it.
LAYERS = [
    {"errors"},
    {"domain"},
    {"settings"},
    {"gateway"},
    {"enforcement"},
    {"mcp", "web"},
    {"meter"},
    {"testing"},
    {"cli"},
    {"__main__"},
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}

#: Who alone may import a library.
ONLY = {
    "stripe": {"gateway", "emulator"},
    "aiohttp": {"gateway"},
    "tenacity": {"gateway"},
    "jwt": {"enforcement"},
    "mcp": {"mcp", "cli"},
    "mcp_types": {"mcp", "cli"},
    "fastmcp": {"mcp"},
    "starlette": {"web", "emulator"},
    "uvicorn": {"web", "emulator", "cli"},
    "pydantic_settings": {"settings"},
    "click": {"cli"},
    "pytest": {"testing"},
    "rich": {"cli"},
}


def imports(path: Path, *, types: bool = True) -> Iterator[str]:
    """Every module that a file imports, at the top, inside functions and (unless told otherwise) for types."""
    tree = ast.parse((PACKAGE / path).read_text())
    only_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in only_types and not types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield node.module or ""


def part(path: Path) -> str:
    return path.parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_module_imports_only_from_the_layers_before_it(path: Path) -> None:
    """errors < domain < settings < gateway < enforcement < edges < composition root < outermost (design 2)."""
    here = part(path)
    for name in imports(path):
        top, _, rest = name.partition(".")
        if top != "stripe_meter" or not rest:
            continue
        there = rest.partition(".")[0]
        if here == "emulator" or there == "emulator":
            assert here == there or (there == "emulator" and here in {"cli", "testing"}), f"{path} imports {name}"
        elif here != "__init__":
            assert RANK[there] < RANK[here] or there == here, f"{path} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_library_is_imported_only_where_it_belongs(path: Path) -> None:
    """A boundary that is not checked is no boundary; naming a foreign type costs nothing and is allowed."""
    for name in imports(path, types=False):
        top = name.partition(".")[0]
        assert part(path) in ONLY.get(top, {part(path)}), f"{path} imports {name}"


def test_the_domain_needs_only_the_standard_library() -> None:
    """So that money can be read and tested without anything installed."""
    import sys

    for path in MODULES:
        if part(path) in {"domain", "errors"}:
            foreign = {name.partition(".")[0] for name in imports(path)} - {"stripe_meter"} - sys.stdlib_module_names
            assert not foreign, f"{path} imports {foreign}"


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_module_stays_small_and_says_what_it_owns(path: Path) -> None:
    """At most 400 lines, and a docstring at the top."""
    text = (PACKAGE / path).read_text()
    assert len(text.splitlines()) <= 400
    assert ast.get_docstring(ast.parse(text)), f"{path} has no docstring"
