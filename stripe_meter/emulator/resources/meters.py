"""Billing meters and the summaries of their usage.

Owns: /v1/billing/meters. Does not own: meter events. An event name belongs to one active meter; formulas and names
never change after creation; a meter cannot be deleted, only deactivated.
"""

import hashlib
from decimal import Decimal
from typing import Any, Final

from stripe_meter.emulator.account import Account
from stripe_meter.emulator.errors import JSON, invalid
from stripe_meter.emulator.listing import page
from stripe_meter.emulator.resources.customers import existing
from stripe_meter.emulator.routing import PAGING, Operation
from stripe_meter.emulator.usage import Record, aggregate

MAX_DISPLAY_NAME: Final = 250
MAX_EVENT_NAME: Final = 100
MAX_PAYLOAD_KEY: Final = 100
WINDOWS: Final = {"minute": 60, "hour": 3600, "day": 86400}


def _create(account: Account, params: JSON) -> JSON:
    name = params["event_name"]
    check_length(name, "event_name", MAX_EVENT_NAME)
    check_length(params["display_name"], "display_name", MAX_DISPLAY_NAME)
    for part in ("customer_mapping", "value_settings"):
        if part in params:
            check_length(params[part]["event_payload_key"], f"{part}[event_payload_key]", MAX_PAYLOAD_KEY)
    _check_free(account, name)
    now = account.now()
    mapping = params.get("customer_mapping", {"type": "by_id", "event_payload_key": "stripe_customer_id"})
    meter: JSON = {
        "id": account.ids.new("mtr"),
        "object": "billing.meter",
        "created": now,
        "customer_mapping": mapping,
        "default_aggregation": params["default_aggregation"],
        "display_name": params["display_name"],
        "event_name": name,
        "event_time_window": None,
        "livemode": False,
        "status": "active",
        "status_transitions": {"deactivated_at": None},
        "updated": now,
        "value_settings": params.get("value_settings", {"event_payload_key": "value"}),
    }
    return account.store.add(meter)


def check_length(text: str, param: str, most: int) -> None:
    """Refuse a text of more than `most` characters."""
    if len(text) > most:
        raise invalid(f"Invalid string: {param} must be at most {most} characters", param)


def _check_free(account: Account, name: str) -> None:
    for row in account.store.all("billing.meter"):
        if row["event_name"] == name and row["status"] == "active":
            message = f"There is already an active meter with the event name {name}: {row['id']}."
            raise invalid(message, "event_name", "resource_already_exists")


def meter_for(account: Account, event_name: str) -> JSON | None:
    """The active meter of an event name, else an inactive one, else None."""
    rows = [row for row in account.store.all("billing.meter") if row["event_name"] == event_name]
    active = [row for row in rows if row["status"] == "active"]
    found = active or rows
    return found[-1] if found else None


def _retrieve(account: Account, params: JSON, id: str) -> JSON:
    return account.store.get("billing.meter", id)


def _update(account: Account, params: JSON, id: str) -> JSON:
    meter = account.store.get("billing.meter", id)
    if "display_name" in params:
        check_length(params["display_name"], "display_name", MAX_DISPLAY_NAME)
        meter.update(display_name=params["display_name"], updated=account.now())
    return meter


def _list(account: Account, params: JSON) -> JSON:
    status = params.get("status")
    rows = account.store.newest("billing.meter")
    return page([row for row in rows if status in (None, row["status"])], params, "/v1/billing/meters")


def _deactivate(account: Account, params: JSON, id: str) -> JSON:
    meter = account.store.get("billing.meter", id)
    if meter["status"] == "inactive":
        raise invalid("This meter is already deactivated.")
    now = account.now()
    meter.update(status="inactive", updated=now, status_transitions={"deactivated_at": now})
    return meter


def _reactivate(account: Account, params: JSON, id: str) -> JSON:
    meter = account.store.get("billing.meter", id)
    if meter["status"] == "active":
        raise invalid("This meter is already active.")
    _check_free(account, meter["event_name"])
    meter.update(status="active", updated=account.now(), status_transitions={"deactivated_at": None})
    return meter


def _summaries(account: Account, params: JSON, id: str) -> JSON:
    """Totals of a customer's usage; the end is exclusive, both ends must be aligned (SDK documentation)."""
    meter = account.store.get("billing.meter", id)
    customer = existing(account, params["customer"])["id"]
    window: str | None = params.get("value_grouping_window")
    start, end = params["start_time"], params["end_time"]
    for name in ("start_time", "end_time"):
        if params[name] % WINDOWS[window or "minute"]:
            raise invalid(f"{name} must align with {window or 'minute'} boundaries in UTC.", name)
    if end <= start:
        raise invalid("end_time must be after start_time.", "end_time")
    buckets: dict[int, list[Record]] = {}
    for record in account.usage.between(id, customer, start, end):
        at = record.timestamp - record.timestamp % WINDOWS[window] if window else start
        buckets.setdefault(at, []).append(record)
    formula = meter["default_aggregation"]["formula"]
    rows = []
    for at in sorted(buckets, reverse=True):
        until = at + WINDOWS[window] if window else end
        rows.append(_summary(id, customer, at, until, aggregate(formula, buckets[at])))
    return page(rows, params, f"/v1/billing/meters/{id}/event_summaries")


def _summary(meter: str, customer: str, start: int, end: int, total: Decimal) -> JSON:
    mark = hashlib.sha256(f"{meter} {customer} {start} {end}".encode()).hexdigest()[:24]
    value: Any = int(total) if total == total.to_integral_value() else float(total)
    return {
        "id": f"mtrusg_test_{mark}",
        "object": "billing.meter_event_summary",
        "aggregated_value": value,
        "end_time": end,
        "livemode": False,
        "meter": meter,
        "start_time": start,
    }


ROOT: Final = "/v1/billing/meters"
KEY: Final = "billing_meter"
CREATE: Final = "customer_mapping default_aggregation display_name event_name value_settings"
SUMMARY: Final = "customer start_time end_time value_grouping_window limit starting_after ending_before"
OPERATIONS: Final = (
    Operation("POST", ROOT, "billing.MeterCreateParams", _create, KEY, CREATE),
    Operation("GET", ROOT, "billing.MeterListParams", _list, KEY, f"status {PAGING}"),
    Operation("GET", ROOT + "/{id}", "billing.MeterRetrieveParams", _retrieve, KEY),
    Operation("POST", ROOT + "/{id}", "billing.MeterUpdateParams", _update, KEY, "display_name"),
    Operation("POST", ROOT + "/{id}/deactivate", "billing.MeterDeactivateParams", _deactivate, KEY),
    Operation("POST", ROOT + "/{id}/reactivate", "billing.MeterReactivateParams", _reactivate, KEY),
    Operation("GET", ROOT + "/{id}/event_summaries", "billing.MeterEventSummaryListParams", _summaries, KEY, SUMMARY),
)
