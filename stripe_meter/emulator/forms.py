"""Decoding of form bodies and query strings with Stripe's bracket nesting.

Owns: `a[b][0][c]=1` to nested dicts. Does not own: types (see `contract`). Everything stays a string; a level
whose keys are all numbers stays a dict, because only the contract knows whether a list or a map was meant.
A body with too many fields or too deep a nesting raises `ParameterError`.
"""

import re
from typing import Any, Final
from urllib.parse import parse_qsl

from stripe_meter.emulator.errors import JSON, ParameterError

MAX_FIELDS: Final = 2000
MAX_DEPTH: Final = 12
KEY: Final = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
PART: Final = re.compile(r"\[([^\[\]]*)\]")


def decode(text: str) -> JSON:
    """Nested dict of one form body or query string; raises ParameterError for keys that are not well formed."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise ParameterError(f"A request may hold at most {MAX_FIELDS} parameters.") from None
    tree: JSON = {}
    for key, value in pairs:
        _place(tree, key, value)
    return tree


def _place(tree: JSON, key: str, value: str) -> None:
    match = KEY.fullmatch(key)
    if match is None:
        raise ParameterError(f"Invalid parameter name: {key}", key)
    parts = [match[1], *PART.findall(match[2])]
    if len(parts) > MAX_DEPTH:
        raise ParameterError(f"Parameter nested too deeply: {match[1]}", match[1])
    node: Any = tree
    for part in parts[:-1]:
        node = node.setdefault(part or str(len(node)), {})
        if not isinstance(node, dict):
            raise ParameterError(f"Parameter given both as a value and as a hash: {match[1]}", match[1])
    last = parts[-1] or str(len(node))
    if isinstance(node.get(last), dict):
        raise ParameterError(f"Parameter given both as a value and as a hash: {match[1]}", match[1])
    node[last] = value


def as_lists(tree: Any) -> Any:
    """The same tree with every level that counts 0, 1, 2 … turned into a list; for logs and comparison."""
    if not isinstance(tree, dict):
        return tree
    values = [as_lists(value) for value in tree.values()]
    if values and list(tree) == [str(index) for index in range(len(tree))]:
        return values
    return dict(zip(tree, values, strict=True))
