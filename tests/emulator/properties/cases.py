"""Good and bad parameters, generated from a schema.

Owns: for every node of a schema a smallest value, all that should be accepted alone, and one of each kind of fault:
wrong type, wrong enum, unknown key, missing key, too long. Does not own: the decision; whoever compares asks the schema
and the emulator about each value. Values are JSON; how they travel is the business of `wire`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

JSON = dict[str, Any]
WORD = "text"
UNKNOWN = "no_such_parameter"


class Cases:
    """A generator; `names` are values for strings by the name of the parameter, such as an id that exists."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names

    def all(self, schema: JSON) -> Iterator[Any]:
        """Everything to try with an operation."""
        yield {}
        yield from self.good(schema)
        yield from self._bad_object(schema)

    def least(self, schema: JSON, name: str = "") -> Any:
        """A small right value: only what is required, but never an empty object, which a form cannot say."""
        if "anyOf" in schema:
            return self.least(next(one for one in schema["anyOf"] if one.get("enum") != [""]), name)
        if "enum" in schema:
            return schema["enum"][0]
        kind = schema.get("type")
        if kind == "array":
            return [self.least(schema["items"], name.removesuffix("s"))]
        if kind != "object":
            return {"integer": 1, "number": 0.5, "boolean": True}.get(str(kind)) or self._names.get(name, WORD)
        if isinstance(schema.get("additionalProperties"), Mapping):
            return {"key": self.least(schema["additionalProperties"])}
        fields = schema.get("properties", {})
        return {key: self.least(fields[key], key) for key in schema.get("required") or list(fields)[:1]}

    def good(self, schema: JSON, name: str = "") -> Iterator[Any]:
        """Right values, each using one more part of the schema than the smallest."""
        for option in schema.get("anyOf", [schema]):
            if "enum" in option:
                yield from option["enum"]
            elif option.get("type") == "array":
                items = option["items"]
                yield from ([value] for value in self.good(items, name.removesuffix("s")))
                yield [self.least(items, name.removesuffix("s"))] * 2
            elif option.get("type") == "object":
                yield from self._good_object(option)
            else:
                yield self.least(option, name)
                yield from (False, 0, -3)[: {"boolean": 1, "integer": 3}.get(option["type"], 0)]

    def _good_object(self, schema: JSON) -> Iterator[Any]:
        least = self.least(schema)
        yield least
        more = schema.get("additionalProperties")
        if isinstance(more, Mapping):
            yield from ({"key": value} for value in self.good(dict(more)))
        required = {key: least[key] for key in schema.get("required", ())}
        for key, field in schema.get("properties", {}).items():
            yield from ({**required, key: value} for value in self.good(field, key))

    def bad(self, schema: JSON, name: str = "") -> Iterator[Any]:
        """Wrong values, each with one fault."""
        for option in schema.get("anyOf", [schema]):
            kind = option.get("type")
            yield from self._wrong_type("enum" if "enum" in option else str(kind))
            if "maxLength" in option:
                yield "x" * (option["maxLength"] + 1)
            if kind == "array":
                yield from ([value] for value in self.bad(option["items"], name.removesuffix("s")))
                yield [self.least(option["items"], name.removesuffix("s")), *list(self.bad(option["items"]))[:1]]
            if kind == "object":
                yield from self._bad_object(option)

    def _wrong_type(self, kind: str) -> Iterator[Any]:
        """Values of every other kind; some are right by another alternative, which is for the schema to say."""
        yield from {"object": (WORD, 5), "array": (WORD, {"x": 1})}.get(kind, ({UNKNOWN: 1}, [WORD]))
        yield from {"integer": (WORD, 1.5, True), "number": (WORD, True), "boolean": (WORD, 1), "enum": (WORD, 1)}.get(
            kind, ()
        )
        yield ""

    def _bad_object(self, schema: JSON) -> Iterator[Any]:
        least = self.least(schema)
        if not isinstance(schema.get("additionalProperties"), Mapping):
            yield {**least, UNKNOWN: WORD}
            yield {**least, UNKNOWN: {"x": 1}}
        else:
            yield from ({"key": value} for value in self.bad(dict(schema["additionalProperties"])))
        required = {key: least[key] for key in schema.get("required", ())}
        for key in required:
            yield {name: least[name] for name in required if name != key}
        for key, field in schema.get("properties", {}).items():
            yield from ({**required, key: value} for value in self.bad(field, key))

    def mixed(self, schema: JSON, dice: random.Random, faults: float, name: str = "") -> Any:
        """Many parameters at once; each part is wrong with the probability `faults`."""
        option = dice.choice(schema.get("anyOf", [schema]))
        if dice.random() < faults:
            return dice.choice(list(self._wrong_type("enum" if "enum" in option else str(option.get("type")))))
        if "enum" in option:
            return dice.choice(option["enum"])
        if option.get("type") == "array":
            item = name.removesuffix("s")
            return [self.mixed(option["items"], dice, faults, item) for _ in range(dice.randint(1, 2))]
        if option.get("type") != "object":
            return self.least(option, name)
        more = option.get("additionalProperties")
        if isinstance(more, Mapping):
            return {"key": self.mixed(dict(more), dice, faults)}
        fields = option.get("properties", {})
        chosen = [key for key in option.get("required", ()) if dice.random() > faults / 4]
        chosen += dice.sample(list(fields), min(len(fields), dice.randint(0, 3)))
        made = {key: self.mixed(fields[key], dice, faults, key) for key in chosen}
        return {**made, UNKNOWN: WORD} if dice.random() < faults / 4 else made
