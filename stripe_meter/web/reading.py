"""What a request brings, read once and checked before anybody uses it.

Owns sizes, content types, encodings, and that every field is one we know. The sentence of a refusal names the field and
never what was sent.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.requests import Request

from stripe_meter.domain.metadata import has_controls
from stripe_meter.web.answers import Refused

FORM: Final = "application/x-www-form-urlencoded"
JSON: Final = "application/json"
#: Bytes of a body; ours need a tenth of it.
LONGEST_BODY: Final = 16 * 1024
#: Seconds in which a body has to arrive.
PATIENCE: Final = 10.0
_MOST_FIELDS: Final = 50


@dataclass(frozen=True, slots=True)
class Field:
    """One thing a request may say.

    Attributes:
        name: As it travels.
        pattern: What a text has to match as a whole; None for an object of texts.
        says: For the OpenAPI document.
        required: Whether a body without it is refused.
    """

    name: str
    pattern: str | None
    says: str
    required: bool = False


Fields = Mapping[str, Any]


def from_query(request: Request, known: Sequence[Field]) -> Fields:
    """What we know of the query; whatever has not its form counts as absent, for links get mangled on their way."""
    sent = request.query_params
    return {
        field.name: sent[field.name]
        for field in known
        if field.name in sent and field.pattern is not None and re.fullmatch(field.pattern, sent[field.name])
    }


async def from_body(request: Request, known: Sequence[Field]) -> Fields:
    """The fields of a form or of a JSON object. Raises `Refused`."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (FORM, JSON):
        raise Refused(415, "unsupported_media_type", f"Send {FORM} or {JSON}.")
    body = await _body(request)
    sent = _json(body) if kind == JSON else _form(body)
    by_name = {field.name: field for field in known}
    if unknown := sent.keys() - by_name.keys():
        names = ", ".join(by_name) or "nothing"
        raise Refused(400, "unknown_field", f"{len(unknown)} field(s) are not understood; this takes {names}.")
    for field in known:
        if field.name in sent:
            _check(field, sent[field.name], is_form=kind == FORM)
        elif field.required:
            raise Refused(400, "missing_field", f"{field.name} is missing.")
    return sent


async def _body(request: Request) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:18]) > LONGEST_BODY:
        raise _too_long()
    sent = bytearray()
    try:
        async with asyncio.timeout(PATIENCE):
            async for chunk in request.stream():
                sent += chunk
                if len(sent) > LONGEST_BODY:
                    raise _too_long()
    except TimeoutError:
        raise Refused(408, "timeout", "The request took too long to arrive.") from None
    return bytes(sent)


def _too_long() -> Refused:
    return Refused(413, "too_long", f"A request may have {LONGEST_BODY} bytes.", {"Connection": "close"})


def _json(body: bytes) -> dict[str, Any]:
    try:
        sent = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        raise Refused(400, "bad_json", "The body is no JSON in UTF-8.") from None
    if not isinstance(sent, dict):
        raise Refused(400, "bad_json", "The body has to be a JSON object.")
    return sent


def _form(body: bytes) -> dict[str, Any]:
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(body),
            errors="strict",
            max_num_fields=_MOST_FIELDS,
        )
    except ValueError:
        raise Refused(400, "bad_form", "The body is no form in UTF-8.") from None
    sent = dict(pairs)
    if len(sent) != len(pairs):
        raise Refused(400, "bad_form", "The body names a field twice.")
    return sent


def _check(field: Field, value: Any, *, is_form: bool) -> None:
    if field.pattern is None:
        is_sound = (
            not is_form and isinstance(value, dict) and all(map(_is_text, value)) and all(map(_is_text, value.values()))
        )
    else:
        is_sound = _is_text(value) and re.fullmatch(field.pattern, value) is not None
    if not is_sound:
        raise Refused(400, "bad_field", f"{field.name} cannot be used; it is {field.says}.")


def _is_text(value: object) -> bool:
    """No control characters, none that turn text around, and no lone surrogates, which cannot be sent on."""
    return isinstance(value, str) and not has_controls(value)
