"""Events: what happened in the account, kept for `GET /v1/events` and handed to the webhooks.

Owns: making event objects and deciding which endpoints want one. Does not own: sending (`webhooks`). A snapshot is
taken when the event happens, as Stripe does, so a later change of the object does not show in it. The queue of
deliveries is bounded; the oldest delivery gives way.
"""

from __future__ import annotations

import copy
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from stripe_meter.emulator.errors import JSON
from stripe_meter.emulator.views import view

if TYPE_CHECKING:
    from stripe_meter.emulator.account import Account

MAX_QUEUE: Final = 10_000
MAX_LOG: Final = 1_000


@dataclass(slots=True)
class Delivery:
    """One event on its way to one endpoint; `status` is the last HTTP status or None."""

    event: str
    type: str
    endpoint: str
    url: str
    attempt: int = 1
    status: int | None = None
    error: str | None = None


class Journal:
    """Deliveries that wait and a bounded log of those that were tried."""

    def __init__(self) -> None:
        self.waiting: deque[Delivery] = deque(maxlen=MAX_QUEUE)
        self.log: deque[Delivery] = deque(maxlen=MAX_LOG)
        self.in_flight = 0


def emit(account: Account, type: str, row: JSON, previous: JSON | None = None) -> JSON:
    """Record an event of `type` about `row`; `previous` holds the old values of changed fields."""
    data: JSON = {"object": copy.deepcopy(view(account, row))}
    account.watch_event(type, data["object"])
    if previous is not None:
        data["previous_attributes"] = copy.deepcopy(previous)
    endpoints = _takers(account, type, thin=False)
    event = account.store.add(
        {
            "id": account.ids.new("evt"),
            "object": "event",
            "api_version": "2026-10-28.endive",
            "created": account.now(),
            "data": data,
            "livemode": False,
            "pending_webhooks": len(endpoints),
            "request": {"id": account.caller.id, "idempotency_key": account.caller.idempotency_key},
            "type": type,
        }
    )
    deliver(account, event["id"], type, thin=False)
    return event


def deliver(account: Account, event: str, type: str, *, thin: bool) -> None:
    """Queue an event for everyone who wants it, as many times as the switch says."""
    for endpoint in _takers(account, type, thin=thin):
        url = endpoint["url"] if "url" in endpoint else account.destination_urls[endpoint["id"]]
        for _ in range(1 + account.switches.webhook_duplicates):
            account.journal.waiting.append(Delivery(event, type, endpoint["id"], url))


def _takers(account: Account, type: str, *, thin: bool) -> list[JSON]:
    """Webhook endpoints (snapshots only) and event destinations with the right payload that want the type."""
    rows = [] if thin else list(account.store.all("webhook_endpoint"))
    payload = "thin" if thin else "snapshot"
    rows += [row for row in account.store.all("v2.core.event_destination") if row["event_payload"] == payload]
    return [row for row in rows if _wants(row, type)]


def changed(old: JSON, new: JSON) -> JSON:
    """Old values of the fields that differ, the form of `previous_attributes`."""
    return {key: old.get(key) for key in new if old.get(key) != new[key]}


def _wants(endpoint: JSON, type: str) -> bool:
    return endpoint["status"] == "enabled" and bool({"*", type} & set(endpoint["enabled_events"]))
