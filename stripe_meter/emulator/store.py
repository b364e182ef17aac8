"""The objects of the emulated account: one table per kind of object, in order of creation.

Owns: adding, finding and removing rows, and the bound on how many there may be. Does not own: what a row means or
how it is shown (`views`). A missing row raises Stripe's `resource_missing`; a full table raises an API error that
says to restart the emulator, because dropping a row would corrupt the books.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from stripe_meter.emulator.errors import JSON, ApiError, missing

MAX_ROWS: Final = 200_000
MAX_EVENTS: Final = 10_000


class Store:
    """Tables named by Stripe's `object` values (`customer`, `billing.meter`, `checkout.session` …)."""

    def __init__(self) -> None:
        self._tables: defaultdict[str, dict[str, JSON]] = defaultdict(dict)

    def add(self, row: JSON) -> JSON:
        """Insert a new object under its own `object` and `id`, and return it."""
        table = self._tables[row["object"]]
        if row["object"] == "event" and len(table) >= MAX_EVENTS:
            del table[next(iter(table))]
        if len(table) >= MAX_ROWS:
            message = f"The emulator keeps at most {MAX_ROWS} objects of a kind; start a new one."
            raise ApiError(500, message, type="api_error")
        table[row["id"]] = row
        return row

    def find(self, kind: str, id: str | None) -> JSON | None:
        """The object, or None."""
        return self._tables[kind].get(id) if id is not None else None

    def get(self, kind: str, id: str, param: str = "id", status: int = 404) -> JSON:
        """The object; raises Stripe's "No such …" with `status` (404 in a path, 400 in a body)."""
        row = self._tables[kind].get(id)
        if row is None:
            raise missing(_spoken(kind), id, param, status)
        return row

    def remove(self, kind: str, id: str) -> None:
        """Forget an object that exists."""
        del self._tables[kind][id]

    def all(self, kind: str) -> Iterator[JSON]:
        """Every object of a kind, oldest first; a copy, so rows may be added meanwhile."""
        return iter(tuple(self._tables[kind].values()))

    def newest(self, kind: str) -> Iterator[JSON]:
        """Every object of a kind, newest first, the order of Stripe's lists."""
        return reversed(tuple(self._tables[kind].values()))

    def dump(self) -> dict[str, list[JSON]]:
        """All tables, for the control API."""
        return {kind: list(rows.values()) for kind, rows in sorted(self._tables.items())}


def _spoken(kind: str) -> str:
    """The word Stripe uses for a kind in its error messages."""
    return {
        "billing.meter": "meter",
        "billing.credit_grant": "credit grant",
        "entitlements.feature": "feature",
        "payment_method": "PaymentMethod",
    }.get(kind, kind)
