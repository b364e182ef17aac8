"""The request contract of API v2: JSON bodies checked against the SDK's parameter types.

Owns: refusing unknown, missing and ill-typed parameters of a JSON body. Does not own: resolving the types (`contract`)
or rules between parameters. Types are never converted: a number where a string belongs is a 400.
"""

import json
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

import typing_extensions
from stripe._stripe_object import UntypedStripeObject

from stripe_meter.emulator.contract import Shape, options_of, shape_of
from stripe_meter.emulator.errors import JSON, ParameterError


def decode(text: str) -> JSON:
    """The object of a JSON body, {} for an empty one; raises ParameterError for anything else."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        found = None
    except RecursionError:
        raise ParameterError("The JSON body is nested too deeply.") from None
    if not isinstance(found, dict):
        raise ParameterError("The body of an API v2 request must be a JSON object.")
    return found


def read(cls: type, raw: Mapping[str, Any]) -> JSON:
    """Checked parameters of one request."""
    return _object(shape_of(cls), raw, "")


def _object(shape: Shape, raw: Mapping[str, Any], path: str) -> JSON:
    for key in raw:
        if key not in shape.fields:
            raise ParameterError(f"Received unknown parameter: {path}{key}", path + key, "parameter_unknown")
    for key in shape.required:
        if key not in raw:
            raise ParameterError(f"Missing required param: {path}{key}.", path + key, "parameter_missing")
    return {key: _value(shape.fields[key], value, path + key) for key, value in raw.items()}


def _value(hint: Any, raw: Any, path: str) -> Any:
    options = options_of(hint)
    if any(get_origin(option) is Literal for option in options):
        # The SDK leaves enums open (`Literal | str`), because an older SDK must pass on newer values; the API does not.
        options = [option for option in options if option is not str]
    for option in options:
        origin = get_origin(option) or option
        if origin is Literal and raw in get_args(option):
            return raw
        if isinstance(raw, list) and origin is list:
            inner = get_args(option)[0]
            return [_value(inner, one, f"{path}[{number}]") for number, one in enumerate(raw)]
        if isinstance(raw, dict) and typing_extensions.is_typeddict(option):
            return _object(shape_of(option), raw, f"{path}.")
        if isinstance(raw, dict) and _is_map(origin):
            inner = get_args(option)[-1]
            return {key: _value(inner, one, f"{path}.{key}") for key, one in raw.items()}
        if origin in (str, int, float, bool) and type(raw) is origin:
            return raw
    raise ParameterError(f"Invalid value for {path}: {_wanted(options)} expected.", path, "parameter_invalid")


def _is_map(origin: Any) -> bool:
    return origin is dict or (isinstance(origin, type) and issubclass(origin, UntypedStripeObject))


def _wanted(options: list[Any]) -> str:
    names = []
    for option in options:
        origin = get_origin(option) or option
        literal = origin is Literal
        names.append(" or ".join(map(str, get_args(option))) if literal else getattr(origin, "__name__", "object"))
    return " or ".join(names)
