"""Events: what Stripe tells of its own accord, delivered to us or looked up.

Owns telling a genuine delivery from any other, and reading events that were delivered before. Of an event only ids and
metadata come out, for the object in it is as old as the delivery; whoever wants money or states asks Stripe.

https://docs.stripe.com/webhooks · https://docs.stripe.com/event-destinations#thin-payload
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeGuard

import stripe

from stripe_meter.domain.meter_errors import MeterError
from stripe_meter.errors import WebhookRefused
from stripe_meter.gateway.connection import Connection

#: Seconds by which a signature may be old.
TOLERANCE: Final = 300
#: Stripe lists events back to thirty days; types that one request may name.
_TYPES: Final = 20
#: Reports about meter events that were taken and not counted.
METER_REPORTS: Final = ("v1.billing.meter.error_report_triggered", "v1.billing.meter.no_meter_found")
_PAGE: Final = 100
_ID: Final = re.compile(r"[A-Za-z0-9_]{1,255}")


@dataclass(frozen=True, slots=True)
class Event:
    """What one event is about.

    Attributes:
        id: `evt_…`.
        type: Stripe's word, such as `invoice.paid`.
        subject: Id of the object it is about; empty where the object has none.
        customer: `cus_…` that the object names, or None.
        metadata: Of the object, as it was then.
    """

    id: str
    type: str
    subject: str = ""
    customer: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


def opened(body: bytes, signature: str, secrets: Sequence[str]) -> Event:
    """The event of a delivery that one of our secrets signed within the last five minutes.

    Raises:
        WebhookRefused: It is not genuine, too old, or no event; the sentence may be shown to whoever sent it.
    """
    is_stale = False
    # The SDK compares as text, and fails on what is not ASCII.
    for secret in secrets if signature.isascii() else ():
        try:
            stripe.WebhookSignature.verify_header(body, signature, secret)
        except (stripe.SignatureVerificationError, UnicodeDecodeError):
            continue
        try:
            stripe.WebhookSignature.verify_header(body, signature, secret, TOLERANCE)
        except stripe.SignatureVerificationError:
            is_stale = True
            continue
        return _event(_parsed(body))
    if is_stale:
        raise WebhookRefused(f"The signature is older than {TOLERANCE} seconds; check the clocks, and send it again.")
    raise WebhookRefused("The signature does not fit this body and any signing secret of this server.")


class Events:
    """Reads events that happened."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def recent(self, types: Sequence[str], since: int, most: int) -> list[Event]:
        """Snapshot events of at most twenty types since then (Unix seconds): the newest `most`, oldest first."""
        assert len(types) <= _TYPES
        params: Any = {"types": list(types), "created": {"gte": since}, "limit": min(most, _PAGE)}
        found: list[Event] = []
        while True:
            listed = await self._connection.read(lambda client: client.v1.events.list_async(params))
            found.extend(_event(row.to_dict()) for row in listed.data)
            if not listed.has_more or len(found) >= most:
                return found[most - 1 :: -1] if len(found) > most else found[::-1]
            params["starting_after"] = listed.data[-1].id

    async def report(self, event: str) -> list[MeterError]:
        """What a thin event (`evt_…`) about meter events reports; the delivery itself does not say."""
        found = await self._connection.read(lambda client: client.v2.core.events.retrieve_async(event))
        return _errors(found.to_dict())

    async def reports(self, types: Sequence[str], since: str) -> list[MeterError]:
        """The newest reports since then (RFC 3339), at most a page of them."""
        params: Any = {"types": list(types), "limit": _PAGE}
        listed = await self._connection.read(lambda client: client.v2.core.events.list_async(params))
        return [error for row in listed.data if str(row.created) >= since for error in _errors(row.to_dict())]


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise WebhookRefused("The body is no event.")
    return value


def _event(value: Mapping[str, Any]) -> Event:
    id, kind = value.get("id"), value.get("type")
    is_thin = value.get("object") == "v2.core.event"
    row = _mapping(value.get("related_object") if is_thin else _mapping(value.get("data")).get("object"))
    if not _is_id(id) or not isinstance(kind, str) or not (is_thin or value.get("object") == "event"):
        raise WebhookRefused("The body is no event.")
    subject, customer = row.get("id"), row.get("customer")
    if row.get("object") == "customer":
        customer = subject
    return Event(
        id,
        kind,
        subject if _is_id(subject) else "",
        customer if _is_id(customer) else None,
        _mapping(row.get("metadata")),
    )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _is_id(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def _errors(event: Mapping[str, Any]) -> list[MeterError]:
    data = event.get("data") or {}
    meter = (event.get("related_object") or {}).get("id")
    found = []
    for kind in (data.get("reason") or {}).get("error_types") or ():
        samples = kind.get("sample_errors") or [{}]
        request = samples[0].get("request") or {}
        found.append(
            MeterError(
                str(event["id"]),
                meter,
                str(kind.get("code")),
                int(kind.get("error_count") or 0),
                str(samples[0].get("error_message") or "")[:300],
                str(request.get("identifier") or ""),
                str(data.get("validation_end") or event.get("created")),
            )
        )
    return found
