"""Usage: meter events that were applied, and their totals.

Owns: the records per (meter, customer), identifier uniqueness, aggregation. Does not own: validation of events or
when they are applied. Values are Decimals, never floats. Identifiers are remembered for exactly 24 hours of the
emulator's clock; the number of records is bounded and reaching the bound is an error, not a loss.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

IDENTIFIER_SECONDS: Final = 24 * 3600
MAX_RECORDS: Final = 2_000_000


@dataclass(slots=True)
class Record:
    """One applied event: epoch seconds, value, its number among all received, and whether it was cancelled."""

    timestamp: int
    value: Decimal
    received: float
    identifier: str
    number: int
    cancelled: bool = False


class Usage:
    """All applied usage of the account."""

    def __init__(self) -> None:
        self._records: defaultdict[tuple[str, str], list[Record]] = defaultdict(list)
        self._identifiers: OrderedDict[str, float] = OrderedDict()
        self._by_identifier: dict[str, Record] = {}
        self._count = 0
        self.pending = 0
        # How many events were reported so far: it orders events that share a second.
        self.reported = 0

    def seen(self, identifier: str, now: float) -> bool:
        """Whether the identifier was used within the last 24 hours."""
        while self._identifiers:
            oldest, at = next(iter(self._identifiers.items()))
            if at > now - IDENTIFIER_SECONDS:
                break
            del self._identifiers[oldest]
            self._by_identifier.pop(oldest, None)
        return identifier in self._identifiers

    def remember(self, identifier: str, now: float) -> None:
        """Mark the identifier as used."""
        self._identifiers[identifier] = now

    def forget(self, identifier: str) -> None:
        """Mark the identifier as free again."""
        self._identifiers.pop(identifier, None)

    def add(self, meter: str, customer: str, record: Record) -> None:
        """Apply one event; raises OverflowError when the emulator is full."""
        if self._count >= MAX_RECORDS:
            raise OverflowError(f"the emulator keeps at most {MAX_RECORDS} meter events")
        self._count += 1
        self._records[meter, customer].append(record)
        self._by_identifier[record.identifier] = record

    def find(self, identifier: str) -> Record | None:
        """The record of an identifier used within the last 24 hours."""
        return self._by_identifier.get(identifier)

    def between(self, meter: str, customer: str, start: int, end: int) -> list[Record]:
        """Records with `start <= timestamp < end`, in order of application."""
        rows = self._records.get((meter, customer), [])
        return [row for row in rows if start <= row.timestamp < end and not row.cancelled]

    def customers(self, meter: str) -> list[str]:
        """Customers with usage on a meter."""
        return [customer for owner, customer in self._records if owner == meter]


def aggregate(formula: str, records: Iterable[Record]) -> Decimal:
    """Total of the records by the meter's formula: `sum`, `count` or `last` (by timestamp)."""
    rows = list(records)
    if formula == "count":
        return Decimal(len(rows))
    if formula == "last":
        return max(rows, key=lambda row: row.timestamp).value if rows else Decimal(0)
    return sum((row.value for row in rows), Decimal(0))
