"""Requests and responses against an OpenAPI 3.0 description of Stripe, when somebody names one.

Owns: turning its schemas into JSON Schema and checking with them. Does not own: the file, or jsonschema-rs, which is
needed here only and imported only then: without it the file is ignored, and a warning says so. Objects of the emulator
are closed: a field that the file does not list is a problem. The answer of an operation that the file lacks is checked
by the names of its objects.
"""

import importlib.util
import json
import logging
import re
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Final

from stripe_meter.emulator.errors import JSON

LOG: Final = logging.getLogger("stripe_meter.emulator")
DROPPED: Final = frozenset({"description", "title", "discriminator", "format"})
BODIES: Final = ("application/x-www-form-urlencoded", "application/json")


class OpenApi:
    """The compiled schemas of one file; compiled per operation when it is first used."""

    def __init__(self, document: JSON) -> None:
        self._rs: Any = importlib.import_module("jsonschema_rs")
        self._definitions = {name: as_json_schema(schema) for name, schema in document["components"]["schemas"].items()}
        self._operations = {
            (method.upper(), shape_of(path)): operation
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
        }
        self._validators: dict[tuple[str, str, str], Any] = {}

    def request(self, method: str, path: str, params: JSON) -> str | None:
        """Why the parameters are not what the file allows, or None."""
        # The cursor of API v2 pages stands in `next_page_url` only, not among the parameters.
        given = {name: value for name, value in params.items() if not (name == "page" and path.startswith("/v2/"))}
        return self._check("request", method, path, _without_deleted(_as_json(given)))

    def response(self, method: str, path: str, answer: JSON) -> str | None:
        """Why the answer is not what the file allows, or None."""
        # Files made from the SDK's types describe an API v2 list by what it holds, because the SDK hides its pages.
        rows = answer["data"] if "next_page_url" in answer else [answer]
        listed = (method, shape_of(path)) in self._operations
        problems = (self._check("response", method, path, row) if listed else self.by_name(row) for row in rows)
        return next((problem for problem in problems if problem is not None), None)

    def by_name(self, row: JSON) -> str | None:
        """Check what belongs to no operation of the file by the components that its objects name."""
        if row.get("object") == "list":
            return next((problem for one in row["data"] if (problem := self.by_name(one)) is not None), None)
        name = f"deleted_{row.get('object')}" if row.get("deleted") is True else str(row.get("object"))
        return self.object(name, row) if name in self._definitions else None

    def object(self, name: str, row: JSON) -> str | None:
        """Why an object is not what the component of that name allows, or None."""
        return next(iter(self.differences(name, row)), None)

    def differences(self, name: str, row: JSON) -> list[str]:
        """Everything in which an object differs from the component of that name."""
        key = ("object", name, "")
        if key not in self._validators:
            self._validators[key] = self._compile({"$ref": f"#/$defs/{name}"})
        return [_told(error) for found in self._validators[key].iter_errors(row) for error in _closest(found)]

    def _check(self, what: str, method: str, path: str, value: Any) -> str | None:
        key = (what, method, shape_of(path))
        if key not in self._validators:
            operation = self._operations.get(key[1:])
            schema = operation and (_request_schema(operation) if what == "request" else _response_schema(operation))
            self._validators[key] = self._compile(as_json_schema(schema)) if schema else None
        validator = self._validators[key]
        return None if validator is None else _first(validator, value)

    def _compile(self, schema: JSON) -> Any:
        """A validator that carries along only the components its schema can reach."""
        reached: JSON = {}
        waiting = [schema]
        while waiting:
            for name in set(re.findall(r'"#/\$defs/([^"]+)"', json.dumps(waiting.pop()))) - reached.keys():
                reached[name] = self._definitions[name]
                waiting.append(reached[name])
        return self._rs.validator_for({**schema, "$defs": reached})


@cache
def load(path: str) -> OpenApi | None:
    """Read a file once per process; None without jsonschema-rs. Raises OSError or ValueError for an unreadable file."""
    if importlib.util.find_spec("jsonschema_rs") is None:
        LOG.warning("the OpenAPI file %s is ignored, because jsonschema-rs is not installed", path)
        return None
    return OpenApi(json.loads(Path(path).read_text(encoding="utf-8")))


def shape_of(path: str) -> str:
    """A path template without the names of its parameters."""
    return re.sub(r"\{\w+\}", "{}", path)


def as_json_schema(node: Any) -> Any:
    """OpenAPI 3.0 to JSON Schema: nullable becomes a type, references move, objects are closed."""
    if isinstance(node, list):
        return [as_json_schema(one) for one in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return {"$ref": node["$ref"].replace("#/components/schemas/", "#/$defs/")}
    kept = {key: value for key, value in node.items() if key not in DROPPED and not key.startswith("x-")}
    nullable = kept.pop("nullable", False)
    made = {
        key: {name: as_json_schema(one) for name, one in value.items()}
        if key == "properties"
        else as_json_schema(value)
        for key, value in kept.items()
    }
    if made.get("properties"):
        made.setdefault("additionalProperties", False)
    return {"anyOf": [made, {"type": "null"}]} if nullable else made


def _request_schema(operation: JSON) -> JSON:
    """The body's schema, or an object made of the query's parameters; a GET of the file has an empty body as well."""
    content = operation.get("requestBody", {}).get("content", {})
    for kind in BODIES:
        if kind in content and content[kind]["schema"].get("properties"):
            schema: JSON = content[kind]["schema"]
            return schema
    query = [one for one in operation.get("parameters", ()) if one["in"] == "query"]
    return {
        "type": "object",
        "properties": {one["name"]: one["schema"] for one in query},
        "required": [one["name"] for one in query if one.get("required")],
        "additionalProperties": False,
    }


def _response_schema(operation: JSON) -> JSON:
    schema: JSON = operation["responses"]["200"]["content"]["application/json"]["schema"]
    return schema


def _as_json(value: Any) -> Any:
    """Parameters as the file's types write them: decimals are strings."""
    if isinstance(value, dict):
        return {key: _as_json(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_as_json(one) for one in value]
    return str(value) if isinstance(value, Decimal) else value


def _without_deleted(params: JSON) -> JSON:
    """Without `items[].deleted`, which a file made from the SDK's types may lack: the name marks deleted objects."""
    if not isinstance(params.get("items"), list):
        return params
    return {**params, "items": [{key: item[key] for key in item if key != "deleted"} for item in params["items"]]}


def _first(validator: Any, value: Any) -> str | None:
    if validator.is_valid(value):
        return None
    return _told(_closest(next(validator.iter_errors(value)))[0])


def _closest(error: Any) -> list[Any]:
    """The errors of the alternative that fits best: not of another type, and wrong as deep down as possible."""
    branches = getattr(error.kind, "context", ())
    fitting = [branch for branch in branches if branch and branch[0].kind.name != "type"]
    if not fitting:
        return [error]
    best = max(reversed(fitting), key=lambda branch: max(len(one.instance_path) for one in branch))
    return [closest for one in best for closest in _closest(one)]


def _told(error: Any) -> str:
    where = "".join(f".{part}" if isinstance(part, str) else f"[{part}]" for part in error.instance_path)
    return f"{where}: {error.message[:200]}"
