"""The file of usage that is simulated: CSV, one row for each call, one calendar month.

    time       2026-03-01T09:30:00Z; UTC
    customer   any name of yours
    plan       name of a plan on offer; empty for a customer who bought none
    tool       billing identity of the tool, as `@metered` names it
    units      what the call counted, for tools priced per something (empty where it failed); empty or 1 for the others
    outcome    ok, failed (the tool raised or answered an error) or cancelled

Owns reading it. Every mistake is one sentence with the file and the line.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal, cast

from stripe_meter.domain.tools import Tool
from stripe_meter.errors import ConfigurationError

COLUMNS: Final = ("time", "customer", "plan", "tool", "units", "outcome")
Outcome = Literal["ok", "failed", "cancelled"]

_OUTCOMES: Final = ("ok", "failed", "cancelled")
#: More would take the stand-in minutes.
MOST_ROWS: Final = 200_000
_YEARS: Final = range(2000, 2071)
_LONGEST_NAME: Final = 60
_LONGEST_SENTENCE: Final = 300
_MOST_UNITS: Final = 10**12


@dataclass(frozen=True, slots=True)
class Row:
    """One call; `plan` is None for a customer who bought none."""

    line: int
    time: datetime
    customer: str
    plan: str | None
    tool: Tool
    units: int
    outcome: Outcome

    @property
    def is_charged(self) -> bool:
        return self.outcome == "ok" or (self.outcome == "failed" and self.tool.charges_always)

    @property
    def charged_units(self) -> int:
        """What a call that was served counts, at most `max_units` of its tool."""
        most = self.units if self.tool.max_units is None else min(self.units, self.tool.max_units)
        return most if self.is_charged else 0

    @property
    def most_units(self) -> int:
        """What is set aside for the call before it runs."""
        return (self.tool.max_units or 1) if self.tool.is_dynamic else 1


def read(path: Path, tools: Iterable[Tool], plans: Iterable[str]) -> list[Row]:
    """The rows of `path`, by time.

    Args:
        path: The file.
        tools: What is on sale.
        plans: Names of the plans on offer.

    Raises:
        ConfigurationError: The file or a row of it cannot be used.
    """
    reader = _Reader(path, {tool.name: tool for tool in tools}, list(plans))
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(reader.rows(file))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}; name a CSV file of usage") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not UTF-8 text; save it as CSV in UTF-8") from None
    if not rows:
        raise ConfigurationError(f"{path} has no rows; write one for each call below {','.join(COLUMNS)}")
    return sorted(rows, key=lambda row: row.time)


class _Reader:
    def __init__(self, path: Path, tools: Mapping[str, Tool], plans: list[str]) -> None:
        self._path, self._tools, self._plans = path, tools, plans
        self._bought: dict[str, tuple[str | None, int]] = {}
        self._month: tuple[int, int] | None = None
        self._line = 1

    def rows(self, file: Iterable[str]) -> Iterator[Row]:
        reader = csv.reader(file, strict=True)
        try:
            header = tuple(next(reader, ()))
            if tuple(name.strip().lower() for name in header) != COLUMNS:
                raise self._wrong(f"the columns are {','.join(header) or 'missing'}", f"write {','.join(COLUMNS)}")
            for number, fields in enumerate(reader, 1):
                self._line = reader.line_num
                if number > MOST_ROWS:
                    raise self._wrong(f"there are more than {MOST_ROWS} calls", "take a sample of them")
                if fields:
                    yield self._row([field.strip() for field in fields])
        except csv.Error as error:
            self._line = reader.line_num
            if "field limit" in str(error):
                raise self._wrong("a field has no end", "close the quotes of a text that begins in it") from None
            raise self._wrong(f"this is no CSV ({error})", "quote texts with commas in them") from None

    def _row(self, fields: list[str]) -> Row:
        if len(fields) != len(COLUMNS):
            raise self._wrong(f"{len(fields)} fields where {len(COLUMNS)} belong", f"write {','.join(COLUMNS)}")
        time, customer, plan, name, units, outcome = fields
        tool = self._tools.get(name)
        if tool is None:
            raise self._wrong(f"tool {name!r} is not on sale", f"write one of {_few(self._tools)}")
        if outcome not in _OUTCOMES:
            raise self._wrong(f"outcome {outcome!r} is not known", f"write one of {', '.join(_OUTCOMES)}")
        if not customer or len(customer) > _LONGEST_NAME or not customer.isprintable():
            raise self._wrong(f"customer {customer[:_LONGEST_NAME]!r} is no name", "write 1 to 60 characters")
        known = self._plan(customer, plan)
        moment, counted = self._time(time), self._units(tool, units, outcome)
        return Row(self._line, moment, customer, known, tool, counted, cast("Outcome", outcome))

    def _time(self, text: str) -> datetime:
        try:
            time = datetime.fromisoformat(text)
        except ValueError:
            time = None
        if time is None or "T" not in text.upper().replace(" ", "T"):
            raise self._wrong(f"time {text!r} is not understood", "write it like 2026-03-01T09:30:00Z")
        if time.utcoffset() not in (None, timedelta(0)):
            raise self._wrong(f"time {text!r} is not in UTC", "write it like 2026-03-01T09:30:00Z")
        if time.year not in _YEARS:
            raise self._wrong(f"time {text!r} is in no year that can be simulated", "write one from 2000 to 2070")
        month = (time.year, time.month)
        if self._month not in (None, month):
            raise self._wrong(f"time {text!r} is in another month than the rows before", "simulate one month a file")
        self._month = month
        return time.replace(tzinfo=UTC)

    def _plan(self, customer: str, plan: str) -> str | None:
        bought = plan or None
        if bought is not None and bought not in self._plans:
            raise self._wrong(f"plan {plan!r} is not on offer", f"write one of {_few(self._plans)}, or nothing")
        before, line = self._bought.setdefault(customer, (bought, self._line))
        if before != bought:
            raise self._wrong(
                f"customer {customer!r} is on {plan or 'no plan'!r} here and on {before or 'no plan'!r} in line {line}",
                "give each customer one plan",
            )
        return bought

    def _units(self, tool: Tool, text: str, outcome: str) -> int:
        units = int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None
        if not text and tool.is_dynamic and outcome == "ok":
            counted = next(rate.unit for rate in tool.rates if rate.unit != "call")
            raise self._wrong(f"units is empty, but tool {tool.name!r} is priced per {counted}", "write how many")
        if not text:
            units = 0 if tool.is_dynamic else 1
        if units is None or units > _MOST_UNITS:
            raise self._wrong(f"units {text[:40]!r} is no number", "write a whole number, at least 0")
        if not tool.is_dynamic and units != 1:
            raise self._wrong(f"units is {units}, but tool {tool.name!r} is priced per call", "leave it empty")
        return units

    def _wrong(self, what: str, fix: str) -> ConfigurationError:
        if len(what) > _LONGEST_SENTENCE:
            what = f"{what[:_LONGEST_SENTENCE]}…"
        return ConfigurationError(f"{self._path} line {self._line}: {what}; {fix}")


def _few(names: Iterable[str]) -> str:
    sorted_names = sorted(names)
    more = f" and {len(sorted_names) - 8} more" if len(sorted_names) > 8 else ""
    return ", ".join(sorted_names[:8]) + more
