"""Bad requests, made from a good one and the SDK's parameter types: one thing wrong in each.

Unknown parameters, missing ones, values outside an enum, and values of another type. Stripe answers each with a 400
that names the parameter; so must the emulator.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal, get_args, get_origin
from urllib.parse import parse_qsl, urlencode

import typing_extensions

from stripe_meter.emulator.contract import options_of, params_class, shape_of
from stripe_meter.emulator.routing import Operation

Fault = Literal["unknown", "missing", "enum", "type"]
FAULTS: Final = get_args(Fault)
UNKNOWN: Final = "sabotage"
STRANGE: Final = "nonsense"


@dataclass(frozen=True, slots=True)
class Bad:
    """One bad request: the parameter at fault, and the text of all of them."""

    fault: Fault
    param: str
    text: str


def bad_requests(operation: Operation, good: str, as_json: bool) -> Iterator[Bad]:
    """Every bad variant of a good request of the operation."""
    change = _json if as_json else _form
    shape = shape_of(params_class(operation.params))
    yield Bad("unknown", UNKNOWN, change(good, UNKNOWN, "1"))
    for name in shape.required:
        yield Bad("missing", name, change(good, name, None))
    for name, hint in sorted(shape.fields.items()):
        options = options_of(hint)
        if not as_json and any(typing_extensions.is_typeddict(option) for option in options):
            yield Bad("unknown", f"{name}[{UNKNOWN}]", change(good, f"{name}[{UNKNOWN}]", "1"))
        fault = fault_of(options)
        if fault is not None:
            yield Bad(fault, name, change(good, name, STRANGE))
        elif as_json:
            yield Bad("type", name, change(good, name, 7))


def fault_of(options: list[Any]) -> Fault | None:
    """What is wrong with a strange word in such a field; None when it takes any text."""
    if any(get_origin(option) is Literal and set(get_args(option)) - {""} for option in options):
        return "enum"
    texts = {str, Any} & {option for option in options if isinstance(option, type)}
    return None if texts - {int, bool, float, Decimal} else "type"


def _form(good: str, name: str, value: Any) -> str:
    pairs = parse_qsl(good, keep_blank_values=True)
    inside = name.endswith(f"[{UNKNOWN}]")
    kept = [(key, old) for key, old in pairs if inside or (key != name and not key.startswith(f"{name}["))]
    return urlencode([*kept, (name, value)] if value is not None else kept)


def _json(good: str, name: str, value: Any) -> str:
    kept = {key: old for key, old in json.loads(good or "{}").items() if key != name}
    return json.dumps({**kept, name: value} if value is not None else kept)
