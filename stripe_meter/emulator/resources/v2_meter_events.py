"""Meter events of API v2: single ones checked at once, and the stream of batches with its short-lived tokens.

Owns: POST /v2/billing/meter_events, /meter_event_session and /meter_event_stream. Does not own: what makes an event
count (`metering`) or how a token is checked (`auth`). A single event that cannot count is a 400 with Stripe's code;
an event of the stream that cannot count is answered 200 and reported later.
"""

from datetime import datetime
from typing import Any, Final

from stripe_meter.emulator.account import Account
from stripe_meter.emulator.errors import JSON, ApiError, invalid
from stripe_meter.emulator.metering import Received, Rejected, Road, countable, receive, repeated
from stripe_meter.emulator.resources.meter_events import MAX_LENGTH
from stripe_meter.emulator.routing import Operation
from stripe_meter.emulator.thin_events import rfc3339

SESSION_SECONDS: Final = 15 * 60
MAX_EVENTS: Final = 100
LIVE_ONLY: Final = "The meter event stream is only available in live mode."


def _seconds(text: str, param: str) -> int:
    """Epoch seconds of an RFC 3339 time; a 400 for anything else."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or "T" not in text.upper():
        raise invalid(f"Invalid timestamp: '{text}' is not an RFC 3339 date and time with an offset.", param)
    return int(moment.timestamp())


def _received(account: Account, fields: JSON, road: Road, where: str) -> Received:
    """An event as given, with the generated identifier and time where they were left out."""
    now = account.clock.now()
    identifier = fields.get("identifier") or account.ids.new("evtid")
    if len(identifier) > MAX_LENGTH:
        raise invalid(f"Invalid string: identifier must be at most {MAX_LENGTH} characters", f"{where}identifier")
    timestamp = _seconds(fields["timestamp"], f"{where}timestamp") if "timestamp" in fields else int(now)
    key = account.caller.idempotency_key
    return Received(fields["event_name"], fields["payload"], identifier, timestamp, now, road, key)


def _create(account: Account, params: JSON) -> JSON:
    event = _received(account, params, "v2", "")
    if repeated(account, "v2", event.identifier):
        if account.switches.duplicate_identifier == "error":
            message = f"An event already exists with identifier {event.identifier}."
            raise invalid(message, "identifier", "duplicate_meter_event")
    else:
        try:
            countable(account, event)
        except Rejected as reason:
            raise invalid(str(reason), code=reason.code) from None
        receive(account, event)
    return {
        "object": "v2.billing.meter_event",
        "created": rfc3339(event.received),
        "event_name": event.event_name,
        "identifier": event.identifier,
        "livemode": False,
        "payload": event.payload,
        "timestamp": params.get("timestamp") or rfc3339(event.timestamp),
    }


def _session(account: Account, params: JSON) -> JSON:
    _check_stream(account)
    now = account.clock.now()
    token = account.ids.secret("mes_test")
    account.stream_tokens.add(token, now + SESSION_SECONDS, now)
    return {
        "id": account.ids.new("mes"),
        "object": "v2.billing.meter_event_session",
        "authentication_token": token,
        "created": rfc3339(now),
        "expires_at": rfc3339(now + SESSION_SECONDS),
        "livemode": False,
    }


def _stream(account: Account, params: JSON) -> JSON:
    """Accept a batch whole or not at all; what is in it is looked at later."""
    _check_stream(account)
    wanted: list[Any] = params["events"]
    if not 1 <= len(wanted) <= MAX_EVENTS:
        raise invalid(f"`events` must hold between 1 and {MAX_EVENTS} events.", "events")
    batch = [_received(account, fields, "stream", f"events[{number}].") for number, fields in enumerate(wanted)]
    for event in batch:
        if not repeated(account, "stream", event.identifier):
            receive(account, event)
    return {}


def _check_stream(account: Account) -> None:
    if account.switches.stream == "refused":
        raise ApiError(400, LIVE_ONLY, code="livemode_only")


EVENT: Final = "event_name identifier payload timestamp"
OPERATIONS: Final = (
    Operation(
        "POST", "/v2/billing/meter_events", "v2.billing.MeterEventCreateParams", _create, "billing_meter_event", EVENT
    ),
    Operation(
        "POST",
        "/v2/billing/meter_event_session",
        "v2.billing.MeterEventSessionCreateParams",
        _session,
        "billing_meter_event",
    ),
    Operation(
        "POST",
        "/v2/billing/meter_event_stream",
        "v2.billing.MeterEventStreamCreateParams",
        _stream,
        "billing_meter_event",
        "events",
        "session",
    ),
)
