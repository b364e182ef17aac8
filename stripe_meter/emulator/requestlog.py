"""The log of API requests, for tests and demos that look at what was sent.

Owns: bounded records in memory and an optional file of JSON lines. Does not own: pages and control requests, which
are never logged. The Authorization header is not part of a record. A file that cannot be written raises OSError.
"""

import json
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stripe_meter.emulator.api import Call
from stripe_meter.emulator.errors import JSON, ParameterError
from stripe_meter.emulator.forms import as_lists

MAX_RECORDS: Final = 100_000


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One API request: `index` counts from 0, `body` is the decoded form or query, `status` None for a lost answer."""

    index: int
    method: str
    path: str
    body: JSON
    status: int | None
    idempotency_key: str | None


class RequestLog:
    """Records in order of completion."""

    def __init__(self, file: str | Path | None) -> None:
        self.records: deque[RequestRecord] = deque(maxlen=MAX_RECORDS)
        self._file = Path(file) if file is not None else None
        self._next = 0

    def add(self, call: Call, status: int | None) -> None:
        """Record one request."""
        try:
            body = as_lists(call.parameters())
        except ParameterError:
            body = {}
        record = RequestRecord(self._next, call.method, call.path, body, status, call.headers.get("idempotency-key"))
        self._next += 1
        self.records.append(record)
        if self._file is not None:
            line = {"method": call.method, "path": call.path, "body": body, "status": status}
            with self._file.open("a", encoding="utf-8") as out:
                out.write(json.dumps({**line, "idempotency_key": record.idempotency_key}) + "\n")
