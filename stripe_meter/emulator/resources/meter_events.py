"""Meter events and their adjustments.

Owns: POST /v1/billing/meter_events and /meter_event_adjustments. Does not own: totals (`usage`). A 200 means
received: the event is checked against meter and customer and counted only after the lag, and what is wrong then ends
in the account's error report, not in an answer.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from stripe_meter.emulator import invoicing
from stripe_meter.emulator.account import Account
from stripe_meter.emulator.errors import JSON, ApiError, invalid
from stripe_meter.emulator.resources.meters import meter_for
from stripe_meter.emulator.routing import Operation
from stripe_meter.emulator.usage import IDENTIFIER_SECONDS, Record

MAX_LENGTH: Final = 100
MAX_DIGITS: Final = 15
PAST_SECONDS: Final = 35 * 86400
FUTURE_SECONDS: Final = 300
NUMBER: Final = re.compile(r"-?\d+(\.\d+)?")


@dataclass(frozen=True, slots=True)
class Received:
    """A meter event that was answered with 200 and waits to be counted."""

    event_name: str
    payload: dict[str, str]
    identifier: str
    timestamp: int
    received: float


class Rejected(Exception):
    """Why an accepted event is not counted; `code` is one of Stripe's error report codes."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def _create(account: Account, params: JSON) -> JSON:
    name, now = params["event_name"], account.clock.now()
    if account.switches.unknown_meter == "sync" and meter_for(account, name) is None:
        raise invalid(f"No active meter found for event_name {name}.", "event_name", "no_meter")
    identifier = params.get("identifier") or account.ids.new("evtid")
    if len(identifier) > MAX_LENGTH:
        raise invalid(f"Invalid string: identifier must be at most {MAX_LENGTH} characters", "identifier")
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
    if account.usage.seen(identifier, now):
        if account.switches.duplicate_identifier == "error":
            raise invalid(f"An event already exists with identifier {identifier}.", "identifier")
        return echo
    account.usage.remember(identifier, now)
    event = Received(name, params["payload"], identifier, timestamp, now)
    account.usage.pending += 1
    account.clock.schedule(now + account.switches.lag, lambda: _process(account, event))
    return echo


def _process(account: Account, event: Received) -> None:
    """Count an event, or write down why not."""
    account.usage.pending -= 1
    try:
        _apply(account, event)
    except Rejected as reason:
        account.meter_errors.append(
            {
                "code": reason.code,
                "message": str(reason),
                "event_name": event.event_name,
                "identifier": event.identifier,
                "at": account.now(),
            }
        )


def _apply(account: Account, event: Received) -> None:
    meter = meter_for(account, event.event_name)
    if meter is None:
        raise Rejected("no_meter", f"No meter found for event_name {event.event_name}")
    if meter["status"] != "active":
        raise Rejected("archived_meter", f"Meter {meter['id']} is inactive")
    if event.timestamp > event.received + FUTURE_SECONDS:
        raise Rejected("timestamp_in_future", "The timestamp is more than 5 minutes in the future")
    if event.timestamp < event.received - PAST_SECONDS:
        raise Rejected("timestamp_too_far_in_past", "The timestamp is more than 35 days in the past")
    customer = _customer(account, meter, event)
    value = _value(meter, event.payload)
    account.usage.add(meter["id"], customer, Record(event.timestamp, value, event.received, event.identifier))
    refresh_drafts(account, customer)


def _customer(account: Account, meter: JSON, event: Received) -> str:
    key = meter["customer_mapping"]["event_payload_key"]
    id = event.payload.get(key)
    if not id:
        raise Rejected("meter_event_no_customer_defined", f"The payload has no {key}")
    row = account.store.find("customer", id)
    if row is None or row.get("deleted"):
        raise Rejected("meter_event_customer_not_found", f"No such customer: '{id}'")
    return id


def _value(meter: JSON, payload: dict[str, str]) -> Decimal:
    if meter["default_aggregation"]["formula"] == "count":
        return Decimal(1)
    text = payload.get(meter["value_settings"]["event_payload_key"], "")
    if not NUMBER.fullmatch(text):
        raise Rejected("meter_event_invalid_value", f"Invalid value: '{text}'")
    if sum(letter.isdigit() for letter in text) > MAX_DIGITS:
        raise Rejected("meter_event_value_too_many_digits", f"More than {MAX_DIGITS} digits: '{text}'")
    return Decimal(text)


def refresh_drafts(account: Account, customer: str) -> None:
    """Price the customer's drafts again: late usage shows up on a draft while its grace lasts."""
    for id in tuple(account.invoice_specs):
        invoice = account.store.get("invoice", id)
        if invoice["customer"] == customer:
            invoicing.refresh(account, invoice)


def _adjust(account: Account, params: JSON) -> JSON:
    """Cancel an event within 24 hours of its receipt; the whole event, never a part."""
    identifier = (params.get("cancel") or {}).get("identifier")
    if identifier is None:
        raise invalid("Missing required param: cancel[identifier].", "cancel[identifier]", "parameter_missing")
    now = account.clock.now()
    if not account.usage.seen(identifier, now):
        hours = IDENTIFIER_SECONDS // 3600
        message = f"No event received within the last {hours} hours has the identifier {identifier}."
        raise ApiError(400, message, code="resource_missing", param="cancel[identifier]")
    account.clock.schedule(now + account.switches.lag, lambda: _cancel(account, identifier))
    return {
        "object": "billing.meter_event_adjustment",
        "cancel": {"identifier": identifier},
        "event_name": params["event_name"],
        "livemode": False,
        "status": "pending",
        "type": "cancel",
    }


def _cancel(account: Account, identifier: str) -> None:
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
