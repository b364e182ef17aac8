"""The OpenAPI document of our routes, made from their table.

Owns how an operation is described; knows no route itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

from stripe_meter import __version__
from stripe_meter.web.health import METRICS
from stripe_meter.web.operations import Media, Operation
from stripe_meter.web.reading import FORM, JSON, LONGEST_BODY, Field

_TEXT: Final = {"type": "string"}
_COUNT: Final = {"type": "integer", "minimum": 0}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


_SCHEMAS: Final[dict[str, Any]] = {
    "Error": _object(error={"anyOf": [_TEXT, _object(code=_TEXT, message=_TEXT)]}),
    "Key": _object(api_key={"type": "string", "pattern": "^smk_"}),
    "Received": _object(received={"type": "boolean"}),
    "Status": _object(status=_TEXT),
    "Stats": _object(
        version=_TEXT,
        mode={"enum": ["test", "live", "emulator"]},
        namespace=_TEXT,
        ready={"type": "boolean"},
        plans={"type": "array", "items": _TEXT},
        tools=_COUNT,
        usage=_object(
            accepted=_COUNT,
            delivered=_COUNT,
            pending=_COUNT,
            rejected=_COUNT,
            meter_events=_COUNT,
            unsent_seconds={"type": "number", "minimum": 0},
            uncounted=_COUNT,
            late=_COUNT,
        ),
        meter_errors={"type": "array", "items": {"type": "object"}},
    ),
    "Url": _object(url={"type": "string", "format": "uri"}),
}
#: What every route may answer: closed to this network, asked too often, Stripe away.
_ALWAYS: Final = (403, 429, 503)


def document(operations: Sequence[Operation], server: str) -> dict[str, Any]:
    """The whole document.

    Args:
        server: Where the routes are found: an address, or a path at the address that this document came from.
    """
    paths: dict[str, Any] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "stripe-meter",
            "version": __version__,
            "description": "Where callers of a paid MCP server buy, manage what they bought, and return from Stripe.",
        },
        "servers": [{"url": server or "/"}],
        "security": [{}, {"key": []}, {"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": f"{operation.method.lower()}{operation.path.replace('/', '_')}",
        "summary": operation.says,
        "responses": _responses(operation),
    }
    if operation.method == "GET":
        described["parameters"] = [
            {"name": field.name, "in": "query", "required": False, "description": field.says, "schema": _schema(field)}
            for field in operation.fields
        ]
    elif operation.is_raw:
        described["parameters"] = [
            {"name": "Stripe-Signature", "in": "header", "required": False, "schema": {"type": "string"}}
        ]
        described["requestBody"] = {"required": True, "content": {JSON: {"schema": {"type": "object"}}}}
    else:
        described["requestBody"] = {
            "required": True,
            "description": f"At most {LONGEST_BODY} bytes. A form needs the token of a signed link.",
            "content": {JSON: {"schema": _body(operation.fields)}, FORM: {"schema": _body(_texts(operation.fields))}},
        }
    return described


def _responses(operation: Operation) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, media in operation.answers:
        answer = responses.setdefault(str(status), {"description": HTTPStatus(status).phrase})
        if media == "nothing":
            answer["headers"] = {"Location": {"required": True, "schema": {"type": "string", "format": "uri"}}}
        else:
            answer.setdefault("content", {}).update(_content(operation, media))
    for status in sorted({*_ALWAYS, *operation.refusals}):
        responses[str(status)] = {
            "description": HTTPStatus(status).phrase,
            "content": {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}, "text/html": {"schema": _TEXT}},
        }
    if operation.path == "/readyz":
        responses["503"]["content"][JSON]["schema"] = {"$ref": "#/components/schemas/Status"}
    return responses


def _content(operation: Operation, media: Media) -> dict[str, Any]:
    if media == "json":
        return {JSON: {"schema": {"$ref": f"#/components/schemas/{operation.schema}"}}}
    return {"text/html" if media == "page" else METRICS: {"schema": _TEXT}}


def _texts(fields: Sequence[Field]) -> list[Field]:
    return [field for field in fields if field.pattern is not None]


def _body(fields: Sequence[Field]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {field.name: _schema(field) for field in fields},
        "required": [field.name for field in fields if field.required],
        "additionalProperties": False,
    }


def _schema(field: Field) -> dict[str, Any]:
    if field.pattern is None:
        return {"type": "object", "additionalProperties": {"type": "string", "minLength": 1, "maxLength": 500}}
    return {"type": "string", "pattern": f"^({field.pattern})$", "description": field.says}
