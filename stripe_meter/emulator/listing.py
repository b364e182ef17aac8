"""Lists: paging, the `created` filter and the list object.

Owns: `limit` (default 10, 1 to 100), `starting_after`, `ending_before`, `has_more` (docs.stripe.com/api/pagination).
Does not own: which rows a list holds. A cursor that names no row of the kind is a 400.
"""

from collections.abc import Iterable
from typing import Any, Final

from stripe_meter.emulator.errors import JSON, ParameterError, missing

DEFAULT_LIMIT: Final = 10
MAX_LIMIT: Final = 100


def limit_of(params: JSON) -> int:
    """The page size; raises ParameterError outside 1 to 100."""
    limit: int = params.get("limit", DEFAULT_LIMIT)
    if limit > MAX_LIMIT:
        message = f"This value must be less than or equal to {MAX_LIMIT}."
        raise ParameterError(message, "limit", "parameter_invalid_integer")
    if limit < 1:
        raise ParameterError("This value must be greater than or equal to 1.", "limit", "parameter_invalid_integer")
    return limit


def matching(rows: Iterable[JSON], params: JSON, *names: str) -> list[JSON]:
    """The rows that have the value of each of the parameters `names` that was sent."""
    sent = [name for name in names if name in params]
    return [row for row in rows if all(row[name] == params[name] for name in sent)]


def page(rows: Iterable[JSON], params: JSON, url: str) -> JSON:
    """One page of `rows` (newest first) as a list object; rows are matched by the `created` filter too."""
    found = [row for row in rows if _in_range(row.get("created", 0), params.get("created"))]
    limit = limit_of(params)
    after, before = params.get("starting_after"), params.get("ending_before")
    if after and before:
        raise ParameterError("You cannot use both starting_after and ending_before.", "starting_after")
    start = 0
    if after:
        start = _position(found, after, "starting_after") + 1
    if before:
        end = _position(found, before, "ending_before")
        start = max(0, end - limit)
        return _list(found[start:end], start > 0, url)
    return _list(found[start : start + limit], start + limit < len(found), url)


def _list(rows: list[JSON], more: bool, url: str) -> JSON:
    return {"object": "list", "data": rows, "has_more": more, "url": url}


def _position(rows: list[JSON], id: str, param: str) -> int:
    for index, row in enumerate(rows):
        if row["id"] == id:
            return index
    raise missing("object", id, param, status=400)


def _in_range(value: int, bounds: Any) -> bool:
    if bounds is None:
        return True
    if isinstance(bounds, int):
        return value == bounds
    checks = {"gt": value > bounds.get("gt", 0), "gte": value >= bounds.get("gte", 0)}
    checks["lt"] = value < bounds.get("lt", value + 1)
    checks["lte"] = value <= bounds.get("lte", value)
    return all(checks[name] for name in bounds)
