"""What parameters each operation may have, as JSON Schema: from the OpenAPI file, or from the SDK's own types.

Owns: reading both sources into one form, and deciding by jsonschema-rs whether parameters have the right shape. Does
not own: parameters to try (`cases`). Nothing of the emulator's own reading of the file is used; of its reading of the
SDK's types only the resolving of names, which cannot be done twice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import jsonschema_rs
from typing_extensions import is_typeddict

from stripe_meter.emulator.contract import options_of, params_class, shape_of
from stripe_meter.emulator.routing import Operation

JSON = dict[str, Any]
WHOLE = re.compile(r"-?\d+")
NUMBER = re.compile(r"-?\d+(\.\d+)?")
TYPES = {str: "string", int: "integer", bool: "boolean", float: "number", Decimal: "number"}


@dataclass(frozen=True)
class Contract:
    """The parameters of one operation. `speaks` is how they travel: a JSON body, a form body, or the query."""

    method: str
    path: str
    schema: JSON
    speaks: Literal["json", "form", "query"]

    @property
    def name(self) -> str:
        """The operation as people name it."""
        return f"{self.method} {self.path}"

    def validator(self) -> jsonschema_rs.Validator:
        """Decides whether typed parameters have the right shape."""
        return jsonschema_rs.validator_for(_strict(self.schema, self.speaks != "json"))

    def typed(self, tree: Any) -> Any:
        """Decoded parameters as values of the schema's types; strings that cannot be converted stay strings."""
        return tree if self.speaks == "json" else _typed(self.schema, tree)


def from_file(file: Path, operations: Iterable[Operation]) -> list[Contract]:
    """The contracts of those operations that the file describes."""
    paths = json.loads(file.read_text(encoding="utf-8"))["paths"]
    described = {(method.upper(), _nameless(path)): one for path, row in paths.items() for method, one in row.items()}
    wanted = [(one, described.get((one.method, _nameless(one.path)))) for one in operations]
    return [Contract(op.method, op.path, _parameters(row), _speaks(op)) for op, row in wanted if row is not None]


def from_types(operations: Iterable[Operation]) -> list[Contract]:
    """The contracts of all operations by the parameter types of the SDK."""
    made = []
    for one in operations:
        made.append(Contract(one.method, one.path, _of_type(params_class(one.params)), _speaks(one)))
    return made


def _speaks(operation: Operation) -> Literal["json", "form", "query"]:
    if operation.method != "POST":
        return "query"
    return "json" if operation.path.startswith("/v2/") else "form"


def _nameless(path: str) -> str:
    return re.sub(r"\{\w+\}", "{}", path)


def _parameters(row: JSON) -> JSON:
    """Query and body together: Stripe takes a parameter from either."""
    query = [one for one in row.get("parameters", ()) if one["in"] == "query"]
    bodies = [one["schema"] for one in row.get("requestBody", {}).get("content", {}).values()]
    properties = {one["name"]: one["schema"] for one in query}
    required = [one["name"] for one in query if one.get("required")]
    for body in bodies:
        properties |= body.get("properties", {})
        required += body.get("required", [])
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    made: JSON = _corrected(schema, times=str(row["operationId"]).startswith("GET_v2"))
    return made


def _corrected(node: Any, times: bool) -> Any:
    """Where the file says less than its SDK: `*_decimal` is a decimal, times of API v2 are strings (RFC 3339)."""
    if isinstance(node, list):
        return [_corrected(one, times) for one in node]
    if not isinstance(node, dict):
        return node
    made = {key: _corrected(value, times) for key, value in node.items()}
    for name, field in made.get("properties", {}).items() if isinstance(made.get("properties"), dict) else ():
        if name.endswith("_decimal") and field.get("type") == "string":
            made["properties"][name] = {**field, "type": "number"}
        if times and name in ("gt", "gte", "lt", "lte"):
            made["properties"][name] = {"type": "string"}
    return made


def _of_type(hint: Any) -> JSON:
    """The schema of an annotation of the SDK."""
    options = options_of(hint)
    if any(get_origin(option) is Literal and get_args(option) != ("",) for option in options):
        # The SDK leaves enums open (`Literal | str`), because an older SDK must not refuse a newer value.
        options = [option for option in options if option is not str]
    if len(options) > 1:
        return {"anyOf": [_of_type(option) for option in options]}
    [only] = options
    origin = get_origin(only) or only
    if is_typeddict(only):
        shape = shape_of(only)
        fields = {name: _of_type(field) for name, field in shape.fields.items()}
        return {"type": "object", "properties": fields, "required": shape.required, "additionalProperties": False}
    if origin is Literal:
        return {"enum": list(get_args(only))}
    if origin is list:
        return {"type": "array", "items": _of_type(get_args(only)[0])}
    if origin in TYPES:
        return {"type": TYPES[origin]}
    return {"type": "object", "additionalProperties": _of_type(get_args(only)[-1])}


def _strict(schema: JSON, form: bool) -> JSON:
    """OpenAPI 3.0 as JSON Schema. In a form an empty string unsets, so a plain string is never empty."""
    if "anyOf" in schema:
        made: JSON = {"anyOf": [_strict(one, form) for one in schema["anyOf"]]}
    elif "enum" in schema:
        made = {"enum": schema["enum"]}
    else:
        made = {key: schema[key] for key in ("type", "maxLength", "required") if key in schema}
        if schema.get("type") == "string" and form:
            made["minLength"] = 1
        if "items" in schema:
            made["items"] = _strict(schema["items"], form)
        if "properties" in schema:
            made["properties"] = {name: _strict(one, form) for name, one in schema["properties"].items()}
        if isinstance(schema.get("additionalProperties"), Mapping):
            made["additionalProperties"] = _entry(_strict(schema["additionalProperties"], form), form)
        elif "additionalProperties" in schema:
            made["additionalProperties"] = schema["additionalProperties"]
    return {"anyOf": [made, {"type": "null"}]} if schema.get("nullable") else made


def _entry(schema: JSON, form: bool) -> JSON:
    """An entry of a map: an empty string removes it."""
    return {"anyOf": [schema, {"enum": [""]}]} if form else schema


def _typed(schema: JSON, raw: Any) -> Any:
    options: list[JSON] = schema.get("anyOf", [schema])
    if isinstance(raw, dict):
        return _typed_level(options, raw)
    if raw == "" and any(option.get("nullable") for option in (schema, *options)):
        return None
    for option in options:
        kind = option.get("type")
        if kind == "integer" and WHOLE.fullmatch(raw):
            return int(raw)
        if kind == "number" and NUMBER.fullmatch(raw):
            return float(raw)
        if kind == "boolean" and raw in ("true", "false"):
            return raw == "true"
    return raw


def _typed_level(options: list[JSON], raw: dict[str, Any]) -> Any:
    for option in options:
        if option.get("type") == "array" and all(key.isdigit() for key in raw):
            return [_typed(option["items"], raw[key]) for key in sorted(raw, key=int)]
        if option.get("type") == "object":
            known, more = option.get("properties", {}), option.get("additionalProperties")
            other = more if isinstance(more, Mapping) else {}
            return {key: _typed(known.get(key, other), value) for key, value in raw.items()}
    return raw
