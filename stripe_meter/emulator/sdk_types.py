"""Checkers for API objects, compiled from the annotations of the SDK's resource classes.

Owns: what a field may hold by the SDK's own types, one compiled function per type. Does not own: when to check
(`fidelity`). A checker returns None or where and why a value is wrong; it never raises on any JSON value. Compiling is
lazy and kept per class. The SDK writes "may be null" and "may be left out" the same way, so a field it calls Optional
may be missing here; enums, which it leaves open for readers, are closed: the emulator sends known values only.
"""

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import cache
from types import SimpleNamespace, UnionType
from typing import Any, ClassVar, Final, Literal, Union, get_args, get_origin, get_type_hints

from stripe import ListObject, SearchResultObject
from stripe._object_classes import OBJECT_CLASSES, V2_OBJECT_CLASSES
from stripe._stripe_object import StripeObject, UntypedStripeObject
from stripe.events._event_classes import get_v2_event_class

from stripe_meter.emulator.errors import JSON

Checker = Callable[[Any], str | None]
DECIMAL: Final = re.compile(r"-?\d+(\.\d+)?")
PRIMITIVES: Final = {str: "a string", int: "an integer", bool: "a boolean"}
DELETED: Final = frozenset({"id", "object", "deleted"})
DELETED_V2: Final = frozenset({"id", "object"})
# The one kind that keeps its fields when it is deleted (OpenAPI: deleted_discount).
WHOLE_WHEN_DELETED: Final = frozenset({"discount"})
V2_PAGE: Final = frozenset({"data", "next_page_url", "previous_page_url"})


def check(answer: Any) -> str | None:
    """Whether a response body is what Stripe could send: an object, a list of objects, or nothing ({})."""
    if not isinstance(answer, dict):
        return f" is {_shown(answer)} where an object belongs"
    if not answer:
        return None
    if "object" not in answer:
        if V2_PAGE - answer.keys():
            return " has no `object`"
        return _page_of(answer)
    return known_object(answer)


def known_object(row: Any) -> str | None:
    """Check an object by the class that its `object` value names."""
    if not isinstance(row, dict):
        return f" is {_shown(row)} where an object belongs"
    if row.get("object") == "list":
        return _list_of(row, known_object)
    if row.get("object") == "search_result":
        return _search_of(row, known_object)
    if row.keys() == DELETED_V2 and str(row["object"]).startswith("v2."):
        return _deleted(row)
    cls = class_of(row)
    if cls is None:
        return f".object: Stripe has no object named {row.get('object')!r}"
    return _object(cls)(row)


def class_of(row: JSON) -> Any:
    """The SDK's class of an object, or None; a fetched v2 event has the class of its type."""
    cls = _event_class(str(row.get("type"))) if row.get("object") == "v2.core.event" else None
    return cls or resource_class(str(row.get("object")))


@cache
def resource_class(name: str) -> type | None:
    """The SDK's class of an `object` value, or None."""
    place = OBJECT_CLASSES.get(name) or V2_OBJECT_CLASSES.get(name)
    if place is None:
        return None
    found: type = getattr(importlib.import_module(place[0]), place[1])
    return found


@cache
def _event_class(type: str) -> Any:
    """The SDK's class of a fetched v2 event, which knows its `data`, or None."""
    found = get_v2_event_class(type)
    return None if found is StripeObject else found


@cache
def fields_of(cls: type) -> dict[str, Any]:
    """The annotated fields of a class; names imported for type checking only are looked up as well."""
    hints: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if base.__module__ in (cls.__module__, "stripe.v2.core._event"):
            module = sys.modules[base.__module__]
            namespace = SimpleNamespace(__annotations__=inspect.get_annotations(base))
            hints.update(get_type_hints(namespace, globalns=vars(module), localns=_typing_names(base.__module__)))
    return {name: hint for name, hint in hints.items() if get_origin(hint) is not ClassVar}


@cache
def _typing_names(module_name: str) -> dict[str, Any]:
    """What a module of the SDK imports under `if TYPE_CHECKING:`, without the parameter types."""
    names: dict[str, Any] = {}
    for node in ast.parse(inspect.getsource(sys.modules[module_name])).body:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for one in node.body:
                if isinstance(one, ast.ImportFrom) and one.module and not one.module.startswith("stripe.params"):
                    module = importlib.import_module(one.module)
                    names.update({name.asname or name.name: getattr(module, name.name) for name in one.names})
    return names


@cache
def _object(cls: Any) -> Checker:
    """The checker of one class: every field known, every required field there, every value of its type."""
    hints = fields_of(cls)
    deletable = "deleted" in hints and _kind(cls) not in WHOLE_WHEN_DELETED
    required = frozenset(name for name, hint in hints.items() if type(None) not in get_args(hint))
    checkers: dict[str, Checker] = {}

    def checker(row: Any) -> str | None:
        if not isinstance(row, dict):
            return f" is {_shown(row)} where {cls.__name__} belongs"
        if deletable and row.get("deleted") is True:
            only = f": a deleted {cls.__name__} has id, object and deleted only"
            return _deleted(row) if row.keys() == DELETED else only
        if not checkers:
            checkers.update({name: _compiled(hint) for name, hint in hints.items()})
        for name, value in row.items():
            field = checkers.get(name)
            if field is None:
                return f".{name}: {cls.__name__} has no such field"
            problem = field(value)
            if problem is not None:
                return f".{name}{problem}"
        missing = required - row.keys()
        return f".{min(missing)}: missing in {cls.__name__}" if missing else None

    return checker


def _compiled(hint: Any) -> Checker:
    """The checker of an annotation."""
    origin = get_origin(hint) or hint
    if origin in (Union, UnionType):
        return _union([option for option in get_args(hint) if option is not type(None)], type(None) in get_args(hint))
    if origin is Literal:
        return _literal(frozenset(get_args(hint)))
    if origin is list:
        inner = _compiled(get_args(hint)[0])
        return lambda value: _in_list(value, inner)
    if isinstance(origin, type):
        return _of_class(origin, get_args(hint))
    return lambda value: None


def _of_class(cls: type, arguments: tuple[Any, ...]) -> Checker:
    if cls in PRIMITIVES:
        return lambda value: None if type(value) is cls else f" is {_shown(value)}, not {PRIMITIVES[cls]}"
    if cls is float:
        return lambda value: None if type(value) in (int, float) else f" is {_shown(value)}, not a number"
    if cls is Decimal:
        return _decimal
    if cls is dict or issubclass(cls, (UntypedStripeObject, Mapping)):
        inner = _compiled(arguments[-1]) if arguments else _anything
        return lambda value: _map(value, inner)
    if cls in (ListObject, SearchResultObject):
        inner, frame = _compiled(arguments[0]), _list_of if cls is ListObject else _search_of
        return lambda value: frame(value, inner)
    if issubclass(cls, StripeObject) and cls is not StripeObject:
        hashable: Any = cls
        return _object(hashable)
    return _anything


def _anything(value: Any) -> str | None:
    return None


def _union(options: list[Any], nullable: bool) -> Checker:
    """An enum is closed (`Literal | str`); objects are told apart by `object`; else any alternative may fit."""
    literals = [value for option in options if get_origin(option) is Literal for value in get_args(option)]
    others = [option for option in options if get_origin(option) is not Literal and not (literals and option is str)]
    checkers = [_compiled(option) for option in others]
    if literals:
        checkers.insert(0, _literal(frozenset(literals)))
    if len(checkers) == 1 and not nullable:
        return checkers[0]
    by_kind = {_kind(option): _compiled(option) for option in others if _kind(option)}

    def checker(value: Any) -> str | None:
        if value is None and nullable:
            return None
        chosen = by_kind.get(value.get("object")) if isinstance(value, dict) else None
        if chosen is not None:
            return chosen(value)
        problem: str | None = " is null"
        for one in checkers:
            problem = one(value)
            if problem is None:
                return None
        return problem

    return checker


def _kind(option: Any) -> str | None:
    return getattr(option, "OBJECT_NAME", None) if isinstance(option, type) else None


def _literal(values: frozenset[Any]) -> Checker:
    shown = ", ".join(sorted(map(repr, values))[:8])
    return lambda value: (
        None if isinstance(value, (str, bool, int)) and value in values else f" is {_shown(value)}, not one of {shown}"
    )


def _decimal(value: Any) -> str | None:
    if isinstance(value, str) and DECIMAL.fullmatch(value):
        return None
    return f" is {_shown(value)}, not a decimal string"


def _in_list(value: Any, inner: Checker) -> str | None:
    if not isinstance(value, list):
        return f" is {_shown(value)}, not a list"
    for number, one in enumerate(value):
        problem = inner(one)
        if problem is not None:
            return f"[{number}]{problem}"
    return None


def _map(value: Any, inner: Checker) -> str | None:
    if not isinstance(value, dict):
        return f" is {_shown(value)}, not a map"
    for key, one in value.items():
        problem = inner(one)
        if problem is not None:
            return f"[{key}]{problem}"
    return None


def _frame(value: Any, kind: str, fields: Mapping[str, Checker]) -> str | None:
    if not isinstance(value, dict) or value.get("object") != kind:
        return f" is {_shown(value)}, not a {kind}"
    for name in value:
        if name not in fields:
            return f".{name}: a {kind} has no such field"
    for name, field in fields.items():
        problem = field(value[name]) if name in value else ": missing"
        if problem is not None:
            return f".{name}{problem}"
    return None


_STRING: Final = _of_class(str, ())
_BOOLEAN: Final = _of_class(bool, ())
_PAGE: Final[JSON] = {"object": _STRING, "has_more": _BOOLEAN, "url": _STRING}
_NEXT: Final = _union([str], True)


def _deleted(row: JSON) -> str | None:
    problem = _STRING(row["id"])
    return f".id{problem}" if problem else None


def _list_of(value: Any, inner: Checker) -> str | None:
    return _frame(value, "list", {**_PAGE, "data": lambda rows: _in_list(rows, inner)})


def _page_of(answer: JSON) -> str | None:
    """A list of API v2, which has a frame without a name."""
    for name in answer.keys() - V2_PAGE:
        return f".{name}: a list of API v2 has no such field"
    for name in ("next_page_url", "previous_page_url"):
        problem = _NEXT(answer[name])
        if problem is not None:
            return f".{name}{problem}"
    return _in_list(answer["data"], known_object)


def _search_of(value: Any, inner: Checker) -> str | None:
    fields = {**_PAGE, "next_page": _NEXT, "data": lambda rows: _in_list(rows, inner)}
    return _frame(value, "search_result", fields)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
