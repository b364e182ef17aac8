"""From a received meter event to counted usage, whichever of the three roads it came by.

Owns: what makes an event countable, its wait for the lag, and repeated identifiers. Does not own: totals (`usage`) or
the three endpoints. An event that cannot be counted any more ends in the account's error report, never in an answer.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal

from stripe_meter.emulator import invoicing, thin_events, thresholds
from stripe_meter.emulator.account import Account
from stripe_meter.emulator.errors import JSON
from stripe_meter.emulator.resources import alerts
from stripe_meter.emulator.resources.meters import meter_for
from stripe_meter.emulator.usage import Record

Road = Literal["v1", "v2", "stream"]
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
    road: Road = "v1"
    request: str | None = None


class Rejected(Exception):
    """Why an event is not counted; `code` is one of Stripe's error report codes."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def mark(account: Account, road: Road, identifier: str) -> str:
    """The name under which an identifier is remembered: per road, unless the switch joins the roads."""
    return identifier if account.switches.shared_identifiers else f"{road}:{identifier}"


def repeated(account: Account, road: Road, identifier: str) -> bool:
    """Whether the identifier was used within its 24 hours."""
    return account.usage.seen(mark(account, road, identifier), account.clock.now())


def receive(account: Account, event: Received) -> None:
    """Remember the identifier and count the event once the lag has passed."""
    account.usage.remember(mark(account, event.road, event.identifier), event.received)
    account.usage.pending += 1
    account.usage.reported += 1
    number = account.usage.reported
    account.clock.schedule(event.received + account.switches.lag, lambda: _process(account, event, number))


def countable(account: Account, event: Received) -> tuple[JSON, str, Decimal]:
    """Meter, customer and value of an event; raises Rejected when it cannot be counted."""
    meter = meter_for(account, event.event_name)
    if meter is None:
        raise Rejected("no_meter", f"No meter found for event_name {event.event_name}")
    if meter["status"] != "active":
        raise Rejected("archived_meter", f"Meter {meter['id']} is inactive")
    if event.timestamp > event.received + FUTURE_SECONDS:
        raise Rejected("timestamp_in_future", "The timestamp is more than 5 minutes in the future")
    if event.timestamp < event.received - PAST_SECONDS:
        raise Rejected("timestamp_too_far_in_past", "The timestamp is more than 35 days in the past")
    return meter, _customer(account, meter, event), _value(meter, event.payload)


def _process(account: Account, event: Received, number: int) -> None:
    """Count an event, or write down why not."""
    account.usage.pending -= 1
    try:
        meter, customer, value = countable(account, event)
    except Rejected as reason:
        known = meter_for(account, event.event_name)
        thin_events.rejected(account, None if known is None else known["id"], reason.code, str(reason), event.request)
        account.meter_errors.append(
            {
                "code": reason.code,
                "message": str(reason),
                "event_name": event.event_name,
                "identifier": event.identifier,
                "at": account.now(),
            }
        )
        return
    name = mark(account, event.road, event.identifier)
    account.usage.add(meter["id"], customer, Record(event.timestamp, value, event.received, name, number))
    refresh_drafts(account, customer)
    thresholds.check(account, customer)
    alerts.check(account, meter, customer)


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
