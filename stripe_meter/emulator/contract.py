"""The request contract of each operation, read from the SDK's own parameter types.

Owns: resolving `stripe.params…` TypedDicts, turning decoded form strings into typed values, and refusing unknown,
missing and ill-typed parameters in Stripe's words. Does not own: rules between parameters, which the endpoints
check. Resolving is lazy and cached per class; a class the SDK lacks raises AttributeError when it is first used.
"""

import importlib
import re
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from types import UnionType
from typing import Any, Final, Literal, NotRequired, Required, Union, get_args, get_origin, get_type_hints

import typing_extensions
from stripe import StripeContext
from stripe._request_options import RequestOptions
from stripe._stripe_object import UntypedStripeObject

from stripe_meter.emulator.errors import JSON, ParameterError

# Keys that steer the SDK itself and never travel as parameters.
SDK_ONLY: Final = frozenset(RequestOptions.__annotations__)
WHOLE: Final = re.compile(r"-?\d{1,18}")
DECIMAL: Final = re.compile(r"-?\d{1,18}(\.\d{1,18})?")
WRAPPERS: Final = (NotRequired, Required, typing_extensions.NotRequired, typing_extensions.Required)
BOOLEANS: Final = {"true": True, "false": False}


class Shape:
    """One TypedDict of the SDK: its fields with resolved types, and which of them are required."""

    def __init__(self, cls: type) -> None:
        names = {"Mapping": Mapping, "StripeContext": StripeContext}
        hints = get_type_hints(cls, localns=names)
        self.fields: dict[str, Any] = {key: _bare(hint) for key, hint in hints.items() if key not in SDK_ONLY}
        required: frozenset[str] = cls.__required_keys__  # type: ignore[attr-defined]  # every TypedDict has it
        self.required = sorted(required - SDK_ONLY)


@cache
def shape_of(cls: type) -> Shape:
    """The resolved shape of a TypedDict class."""
    return Shape(cls)


@cache
def params_class(name: str) -> type:
    """The class named like `CustomerCreateParams` or `billing.MeterCreateParams` under `stripe.params`."""
    package, _, attribute = name.rpartition(".")
    module = importlib.import_module(f"stripe.params.{package}".rstrip("."))
    found: type = getattr(module, attribute)
    return found


def read(cls: type, raw: Mapping[str, Any]) -> JSON:
    """Typed parameters of one request; raises ParameterError as Stripe answers (docs.stripe.com/error-codes)."""
    return _object(shape_of(cls), raw, "")


def _bare(hint: Any) -> Any:
    while get_origin(hint) in WRAPPERS:
        hint = get_args(hint)[0]
    return hint


def _join(path: str, key: str) -> str:
    return f"{path}[{key}]" if path else key


def _object(shape: Shape, raw: Mapping[str, Any], path: str) -> JSON:
    for key in raw:
        if key not in shape.fields:
            name = _join(path, key)
            raise ParameterError(f"Received unknown parameter: {name}", name, "parameter_unknown")
    for key in shape.required:
        if key not in raw:
            name = _join(path, key)
            raise ParameterError(f"Missing required param: {name}.", name, "parameter_missing")
    return {key: _value(shape.fields[key], value, _join(path, key)) for key, value in raw.items()}


def _value(hint: Any, raw: Any, path: str) -> Any:
    options = options_of(hint)
    if raw == "" and any(get_origin(option) is Literal and "" in get_args(option) for option in options):
        return ""
    if isinstance(raw, dict):
        return _nested(options, raw, path)
    return _scalar(options, raw, path)


def options_of(hint: Any) -> list[Any]:
    """The alternatives of a type, without None."""
    if get_origin(hint) in (Union, UnionType):
        return [option for option in get_args(hint) if option is not type(None)]
    return [hint]


def _nested(options: list[Any], raw: dict[str, Any], path: str) -> Any:
    for option in options:
        origin = get_origin(option) or option
        if origin is list:
            return _list(get_args(option)[0], raw, path)
        if origin is dict or (isinstance(origin, type) and issubclass(origin, UntypedStripeObject)):
            inner = get_args(option)[-1]
            return {key: _entry(inner, value, _join(path, key)) for key, value in raw.items()}
        if typing_extensions.is_typeddict(option):
            return _object(shape_of(option), raw, path)
    raise ParameterError(f"Invalid string: {path} was given as a hash or list", path)


def _entry(hint: Any, raw: Any, path: str) -> Any:
    # An empty string inside a free map is a value (metadata uses it to remove a key), not an attempt to unset.
    return "" if raw == "" else _value(hint, raw, path)


def _list(inner: Any, raw: dict[str, Any], path: str) -> list[Any]:
    if not all(key.isdigit() for key in raw):
        raise ParameterError("Invalid array", path)
    keys = sorted(raw, key=int)
    return [_value(inner, raw[key], _join(path, key)) for key in keys]


def _scalar(options: list[Any], raw: str, path: str) -> Any:
    literals = [value for option in options if get_origin(option) is Literal for value in get_args(option)]
    if raw in literals:
        return raw
    enum = [value for value in literals if value != ""]
    plain = [option for option in options if isinstance(option, type) and get_origin(option) is None]
    if int in plain and WHOLE.fullmatch(raw):
        return int(raw)
    if (Decimal in plain or float in plain) and DECIMAL.fullmatch(raw):
        return Decimal(raw)
    if bool in plain and raw in BOOLEANS:
        return BOOLEANS[raw]
    if str in plain and not enum and raw:
        return raw
    raise _refusal(plain, enum, raw, path)


def _refusal(plain: list[type], literals: list[str], raw: str, path: str) -> ParameterError:
    if raw == "":
        message = f"You passed an empty string for '{path}', which cannot be unset. Leave it out or give it a value."
        return ParameterError(message, path, "parameter_invalid_empty")
    if literals and int not in plain:
        return ParameterError(f"Invalid {path}: must be one of {', '.join(literals)}", path)
    if int in plain:
        return ParameterError(f"Invalid integer: {raw}", path, "parameter_invalid_integer")
    if Decimal in plain or float in plain:
        return ParameterError(f"Invalid decimal: {raw}", path)
    if bool in plain:
        return ParameterError(f"Invalid boolean: {raw}", path)
    return ParameterError("Invalid object" if list not in plain else "Invalid array", path)
