"""Meter events of API v1 and their adjustments.

Owns: POST /v1/billing/meter_events and /meter_event_adjustments. Does not own: what makes an event count
(`metering`). A 200 means received: the event is checked against meter and customer only after the lag.
"""

from typing import Final, get_args

from stripe_meter.emulator.account import Account
from stripe_meter.emulator.errors import JSON, ApiError, invalid
from stripe_meter.emulator.metering import Received, Road, mark, receive, refresh_drafts, repeated
from stripe_meter.emulator.resources.meters import check_length, meter_for
from stripe_meter.emulator.routing import Operation
from stripe_meter.emulator.usage import IDENTIFIER_SECONDS

MAX_LENGTH: Final = 100


def _create(account: Account, params: JSON) -> JSON:
    name, now = params["event_name"], account.clock.now()
    check_length(name, "event_name", MAX_LENGTH)
    if account.switches.unknown_meter == "sync" and meter_for(account, name) is None:
        raise invalid(f"No active meter found for event_name {name}.", "event_name", "no_meter")
    identifier = params.get("identifier") or account.ids.new("evtid")
    check_length(identifier, "identifier", MAX_LENGTH)
    timestamp = params.get("timestamp", int(now))
    echo: JSON = {
        "object": "billing.meter_event",
        "created": int(now),
        "event_name": name,
        "identifier": identifier,
        "livemode": False,
        "payload": params["payload"],
        "timestamp": timestamp,
    }
    if repeated(account, "v1", identifier):
        if account.switches.duplicate_identifier == "error":
            raise invalid(f"An event already exists with identifier {identifier}.", "identifier")
        return echo
    key = account.caller.idempotency_key
    receive(account, Received(name, params["payload"], identifier, timestamp, now, "v1", key))
    return echo


def _adjust(account: Account, params: JSON) -> JSON:
    """Cancel an event within 24 hours of its receipt; the whole event, never a part."""
    identifier = (params.get("cancel") or {}).get("identifier")
    if identifier is None:
        raise invalid("Missing required param: cancel[identifier].", "cancel[identifier]", "parameter_missing")
    check_length(identifier, "cancel[identifier]", MAX_LENGTH)
    check_length(params["event_name"], "event_name", MAX_LENGTH)
    roads: tuple[Road, ...] = get_args(Road)
    known = [mark(account, road, identifier) for road in roads if repeated(account, road, identifier)]
    if not known:
        hours = IDENTIFIER_SECONDS // 3600
        message = f"No event received within the last {hours} hours has the identifier {identifier}."
        raise ApiError(400, message, code="resource_missing", param="cancel[identifier]")
    account.clock.schedule(account.clock.now() + account.switches.lag, lambda: _cancel(account, known))
    return {
        "object": "billing.meter_event_adjustment",
        "cancel": {"identifier": identifier},
        "event_name": params["event_name"],
        "livemode": False,
        "status": "pending",
        "type": "cancel",
    }


def _cancel(account: Account, known: list[str]) -> None:
    for identifier in known:
        record = account.usage.find(identifier)
        if record is not None:
            record.cancelled = True
    for id in {account.store.get("invoice", id)["customer"] for id in account.invoice_specs}:
        refresh_drafts(account, id)


OPERATIONS: Final = (
    Operation(
        "POST",
        "/v1/billing/meter_events",
        "billing.MeterEventCreateParams",
        _create,
        "billing_meter_event",
        "event_name identifier payload timestamp",
    ),
    Operation(
        "POST",
        "/v1/billing/meter_event_adjustments",
        "billing.MeterEventAdjustmentCreateParams",
        _adjust,
        "billing_meter_event_adjustment",
        "cancel event_name type",
    ),
)
