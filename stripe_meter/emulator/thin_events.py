"""Thin events of API v2: reports of meter events that were not counted.

Owns: grouping rejected events into reports, and the event objects. Does not own: rejecting (`metering`) or delivery
(`webhooks`). Rejections of one meter within the window make one report; those without a meter make `no_meter_found`.
The delivered body has no `data`; it must be fetched.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from stripe_meter.emulator.errors import JSON
from stripe_meter.emulator.events import deliver

if TYPE_CHECKING:
    from stripe_meter.emulator.account import Account

REPORT: Final = "v1.billing.meter.error_report_triggered"
NO_METER: Final = "v1.billing.meter.no_meter_found"
KIND: Final = "v2.core.event"
MAX_SAMPLES: Final = 5


def rfc3339(seconds: float) -> str:
    """A time as API v2 writes it: `2026-11-01T12:00:00.000Z`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def rejected(account: Account, meter: str | None, code: str, message: str, request: str | None) -> None:
    """Note one rejected meter event; the first of a window schedules the report."""
    waiting = account.rejections.setdefault(meter, [])
    waiting.append({"code": code, "message": message, "request": request or "", "at": account.clock.now()})
    if len(waiting) == 1:
        at = account.clock.now() + account.switches.report_window
        account.clock.schedule(at, lambda: _report(account, meter))


def _report(account: Account, meter: str | None) -> None:
    rows = account.rejections.pop(meter)
    counts = Counter(row["code"] for row in rows)
    types = []
    for code, count in counts.items():
        samples = [row for row in rows if row["code"] == code][:MAX_SAMPLES]
        shown = [{"error_message": row["message"], "request": {"identifier": row["request"]}} for row in samples]
        types.append({"code": code, "error_count": count, "sample_errors": shown})
    noun = "event" if len(rows) == 1 else "events"
    event: JSON = {
        "id": account.ids.new("evt_test"),
        "object": KIND,
        "created": rfc3339(account.clock.now()),
        "data": {
            "developer_message_summary": f"There is {len(rows)} invalid {noun}",
            "reason": {"error_count": len(rows), "error_types": types},
            "validation_end": rfc3339(account.clock.now()),
            "validation_start": rfc3339(rows[0]["at"]),
        },
        "livemode": False,
        "type": NO_METER if meter is None else REPORT,
    }
    if meter is not None:
        event["related_object"] = {"id": meter, "type": "billing.meter", "url": f"/v1/billing/meters/{meter}"}
    account.store.add(event)
    account.watch_event(event["type"], event)
    deliver(account, event["id"], event["type"], thin=True)


def delivered(event: JSON) -> JSON:
    """The body that a destination receives: without `data`."""
    return {key: value for key, value in event.items() if key != "data"}
