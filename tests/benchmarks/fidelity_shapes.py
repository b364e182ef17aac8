"""Sabotage of what the emulator sends and accepts: one thing wrong at a time, until the driver notices.

Each answer of every type is broken in a new emulator that is told the stories: required fields dropped or null, a field
of our own added, values outside an enum or of another type. For requests one check of the contract is switched off, for
the checker its counters. A mutation is caught when the telling, clean before, finds anything wrong.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin
from unittest import mock

from stripe_meter.emulator import contract, sdk_types
from stripe_meter.emulator.errors import JSON, ParameterError
from stripe_meter.emulator.fidelity import SPEC_VARIABLE
from tests.benchmarks.fidelity_bad import fault_of
from tests.benchmarks.fidelity_story import Teller, fresh, in_process

How = Literal["dropped", "null", "added", "enum", "type"]
HOWS: Final = get_args(How)
STRANGE: Final = "sabotage"
PACKAGE: Final = "stripe_meter.emulator"
V2_PAGE: Final = "v2 page"
WRONG: Final[tuple[tuple[type, Any], ...]] = ((bool, "yes"), (str, 7), (int, "seven"), (float, "seven"))


@dataclass(frozen=True, slots=True)
class Mutation:
    """One thing wrong in one type of answer; `path` is where inside the object."""

    kind: str
    how: How
    path: tuple[str, ...]
    value: Any = None

    def apply(self, answer: Any) -> Any:
        """The answer with every object of the type changed."""
        made = copy.deepcopy(answer)
        for row in objects(made):
            if kind_of(row) == self.kind:
                self._change(row)
        return made

    def _change(self, row: JSON) -> None:
        holder: Any = row
        for part in self.path[:-1]:
            holder = holder.get(part)
            if not isinstance(holder, dict):
                return
        name = self.path[-1]
        if self.how == "dropped":
            holder.pop(name, None)
        elif self.how == "added" or (name in holder and holder[name] is not None):
            holder[name] = self.value


def kind_of(row: JSON) -> str:
    """What type of answer an object is."""
    if "object" not in row:
        return V2_PAGE
    return f"deleted_{row['object']}" if row.get("deleted") is True else str(row["object"])


def objects(answer: Any) -> Iterator[JSON]:
    """Every object in an answer; what is inside a snapshot event was checked when the event was made."""
    if isinstance(answer, list):
        for one in answer:
            yield from objects(one)
    if isinstance(answer, dict):
        if "object" in answer or "next_page_url" in answer:
            yield answer
        if answer.get("object") != "event":
            for value in answer.values():
                yield from objects(value)


@contextlib.contextmanager
def replaced(target: str, make: Callable[[Any], Any]) -> Iterator[None]:
    """Put `make(original)` in place of `module:attribute` of the emulator."""
    module, _, path = target.partition(":")
    holder: Any = importlib.import_module(f"{PACKAGE}.{module}")
    *parents, name = path.split(".")
    for parent in parents:
        holder = getattr(holder, parent)
    with mock.patch.object(holder, name, make(getattr(holder, name))):
        yield


def noticed(*, with_bad: bool = False) -> str | None:
    """Tell the stories to a new emulator until something is wrong: the first problem, or None."""
    emulator = fresh()
    with quiet():
        return next(Teller(emulator, in_process(emulator), with_bad=with_bad).told(), None)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the log lines of an emulator that is broken on purpose."""
    log = logging.getLogger(PACKAGE)
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def samples() -> dict[str, list[JSON]]:
    """Objects of every type that a clean telling answers, and of those that only events carry."""
    found: dict[str, list[JSON]] = {}

    def keep(original: Any) -> Any:
        def present(*args: Any) -> Any:
            answer = original(*args)
            for row in objects(answer):
                found.setdefault(kind_of(row), []).append(copy.deepcopy(row))
            return answer

        return present

    with replaced("api:present", keep), replaced("events:view", keep):
        problem = noticed()
    if problem is not None:
        raise RuntimeError(f"the emulator is not clean before any sabotage: {problem}")
    return found


def mutations(kind: str, rows: list[JSON]) -> Iterator[Mutation]:
    """What can be wrong in one type of answer, judged by the SDK's class and, when named, the OpenAPI file."""
    hints = {} if kind in FRAMES or kind.startswith("deleted_") else sdk_types.fields_of(sdk_types.class_of(rows[0]))
    required = {name for name, hint in hints.items() if type(None) not in get_args(hint)} or set(rows[0])
    for name in sorted(required | (_required_by_file(kind) & set(rows[0]))):
        yield Mutation(kind, "dropped", (name,))
    for name in sorted(required):
        if all(row.get(name) is not None for row in rows):
            yield Mutation(kind, "null", (name,))
    yield Mutation(kind, "added", (STRANGE,), 1)
    for path in sorted(set(_enums(hints, rows))):
        yield Mutation(kind, "enum", path, STRANGE)
    for name in sorted({name for row in rows for name in row if row[name] is not None}):
        value = next(row[name] for row in rows if row.get(name) is not None)
        wrong = next((wrong for cls, wrong in WRONG if isinstance(value, cls)), STRANGE)
        yield Mutation(kind, "type", (name,), wrong)


FRAMES: Final = frozenset({"list", "search_result", V2_PAGE})


def _enums(hints: dict[str, Any], rows: list[JSON], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Where an object of the samples holds a value of an enum, also in its parts that are no objects of their own."""
    for name, hint in hints.items():
        values = [row[name] for row in rows if row.get(name) is not None]
        options = contract.options_of(hint)
        if values and name != "object" and any(get_origin(option) is Literal for option in options):
            yield (*above, name)
        parts = [value for value in values if isinstance(value, dict) and "object" not in value]
        nested = [option for option in options if isinstance(option, type) and option.__module__.startswith("stripe.")]
        if parts and len(nested) == 1:
            yield from _enums(sdk_types.fields_of(nested[0]), parts, (*above, name))


def _required_by_file(kind: str) -> set[str]:
    path = os.environ.get(SPEC_VARIABLE)
    if not path:
        return set()
    schemas = json.loads(Path(path).read_text(encoding="utf-8"))["components"]["schemas"]
    return set(schemas.get(kind, {}).get("required", ()))


def break_answer(mutation: Mutation) -> str | None:
    """What the driver notices of a mutation."""

    def break_it(original: Any) -> Any:
        return lambda *args: mutation.apply(original(*args))

    with replaced("api:present", break_it), replaced("events:view", break_it):
        return noticed()


def _known_only(original: Any) -> Any:
    return lambda shape, raw, path: original(shape, {key: raw[key] for key in raw if key in shape.fields}, path)


def _nothing_required(original: Any) -> Any:
    def read(shape: contract.Shape, raw: Any, path: str) -> JSON:
        with mock.patch.object(shape, "required", []):
            return dict(original(shape, raw, path))

    return read


def _lenient(enum: bool) -> Callable[[Any], Any]:
    """Let through values that the original refuses: those of fields with an enum, or all others."""

    def make(original: Any) -> Any:
        def value(hint: Any, raw: Any, path: str) -> Any:
            try:
                return original(hint, raw, path)
            except ParameterError:
                options = hint if isinstance(hint, list) else contract.options_of(hint)
                if enum == (fault_of(options) == "enum"):
                    return raw
                raise

        return value

    return make


#: What is switched off, and where.
CONTRACT: Final[dict[str, tuple[str, Callable[[Any], Any]]]] = {
    "unknown parameters are let through": ("contract:_object", _known_only),
    "missing parameters are let through": ("contract:_object", _nothing_required),
    "values outside an enum are let through": ("contract:_scalar", _lenient(enum=True)),
    "values of another type are let through": ("contract:_scalar", _lenient(enum=False)),
    "v2: unknown parameters are let through": ("contract_json:_object", _known_only),
    "v2: missing parameters are let through": ("contract_json:_object", _nothing_required),
    "v2: values outside an enum are let through": ("contract_json:_value", _lenient(enum=True)),
    "v2: values of another type are let through": ("contract_json:_value", _lenient(enum=False)),
    "parameters are not checked at all": ("contract:read", lambda original: lambda cls, raw: dict(raw)),
    "v2: parameters are not checked at all": ("contract_json:read", lambda original: lambda cls, raw: dict(raw)),
    "requests are not counted": ("fidelity:Fidelity.request", lambda original: lambda self, operation: None),
    "responses are not checked": ("fidelity:Fidelity.response", lambda original: lambda self, operation, answer: None),
}


def break_contract(name: str) -> str | None:
    """What the driver notices of a switched off check."""
    target, make = CONTRACT[name]
    with replaced(target, make):
        return noticed(with_bad=True)
