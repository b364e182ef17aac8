"""How parameters travel, written down once more for the tests: forms with brackets, and JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlencode


def encode(value: Any) -> str:
    """A form of nested values; empty lists and objects leave no trace."""
    return urlencode(list(_pairs(value, "")))


def _pairs(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _pairs(one, f"{path}[{key}]" if path else str(key))
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from _pairs(one, f"{path}[{number}]")
    elif isinstance(value, bool):
        yield path, "true" if value else "false"
    else:
        yield path, "" if value is None else str(value)


def decode(text: str) -> dict[str, Any]:
    """The nested strings of a form; a list is an object whose keys are numbers."""
    tree: dict[str, Any] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        *parents, last = re.findall(r"[^\[\]]+", name)
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return tree


def as_json(value: Any) -> str:
    """A JSON body."""
    return json.dumps(value)
