"""Events and event destinations of API v2.

Owns: /v2/core/events and /v2/core/event_destinations. Does not own: what happens (`thin_events`, `events`) or delivery
(`webhooks`). Destinations are webhook endpoints on this machine; the address and the signing secret are shown only
when asked for with `include`, the secret at creation only.
"""

from typing import Any, Final

from stripe_meter.emulator.account import Account
from stripe_meter.emulator.errors import JSON, ParameterError, invalid, not_emulated
from stripe_meter.emulator.listing import limit_of
from stripe_meter.emulator.metadata import merged
from stripe_meter.emulator.resources.webhook_endpoints import check_url
from stripe_meter.emulator.routing import Operation
from stripe_meter.emulator.thin_events import KIND, rfc3339

DESTINATION: Final = "v2.core.event_destination"
URL: Final = "webhook_endpoint.url"
SIGNING: Final = "webhook_endpoint.signing_secret"


def _page(rows: list[JSON], params: JSON, url: str) -> JSON:
    """One page of an API v2 list; the SDK follows `next_page_url`."""
    cursor = params.get("page", "0")
    if not cursor.isdigit():
        raise ParameterError(f"Invalid page: {cursor}", "page")
    start, limit = int(cursor), limit_of({"limit": 20, **params})
    more = f"{url}?page={start + limit}&limit={limit}" if start + limit < len(rows) else None
    back = f"{url}?page={max(0, start - limit)}&limit={limit}" if start else None
    return {"data": rows[start : start + limit], "next_page_url": more, "previous_page_url": back}


def _events(account: Account, params: JSON) -> JSON:
    rows = list(account.store.newest(KIND))
    if "types" in params:
        rows = [row for row in rows if row["type"] in params["types"]]
    if "object_id" in params:
        rows = [row for row in rows if (row.get("related_object") or {}).get("id") == params["object_id"]]
    return _page(rows, params, EVENTS)


def _event(account: Account, params: JSON, id: str) -> JSON:
    return account.store.get(KIND, id)


def _create(account: Account, params: JSON) -> JSON:
    if params["type"] != "webhook_endpoint":
        raise not_emulated(f"event destinations of type {params['type']}")
    url = (params.get("webhook_endpoint") or {}).get("url")
    if url is None:
        raise invalid("Missing required param: webhook_endpoint.url.", URL, "parameter_missing")
    check_url(account, url, URL)
    if not params["enabled_events"]:
        raise invalid("You must enable at least one event.", "enabled_events")
    now = rfc3339(account.clock.now())
    row: JSON = {
        "id": account.ids.new("ed_test"),
        "object": DESTINATION,
        "created": now,
        "description": params.get("description", ""),
        "enabled_events": params["enabled_events"],
        "event_payload": params["event_payload"],
        "events_from": ["self"],
        "livemode": False,
        "metadata": merged({}, params.get("metadata")),
        "name": params["name"],
        "status": "enabled",
        "type": "webhook_endpoint",
        "updated": now,
    }
    account.store.add(row)
    account.destination_urls[row["id"]] = url
    account.webhook_secrets[row["id"]] = account.ids.secret("whsec")
    return _shown(account, row, params)


def _shown(account: Account, row: JSON, params: JSON) -> JSON:
    wanted = params.get("include") or ()
    endpoint = {}
    if URL in wanted:
        endpoint["url"] = account.destination_urls[row["id"]]
    if SIGNING in wanted:
        endpoint["signing_secret"] = account.webhook_secrets[row["id"]]
    return {**row, "webhook_endpoint": endpoint} if endpoint else row


def _retrieve(account: Account, params: JSON, id: str) -> JSON:
    return _shown(account, account.store.get(DESTINATION, id), params)


def _update(account: Account, params: JSON, id: str) -> JSON:
    row = account.store.get(DESTINATION, id)
    url = (params.get("webhook_endpoint") or {}).get("url")
    if url is not None:
        check_url(account, url, URL)
        account.destination_urls[id] = url
    row.update({name: params[name] for name in ("description", "enabled_events", "name") if name in params})
    row["metadata"] = merged(row["metadata"], params.get("metadata"))
    row["updated"] = rfc3339(account.clock.now())
    return _shown(account, row, params)


def _list(account: Account, params: JSON) -> JSON:
    rows = [_shown(account, row, params) for row in account.store.newest(DESTINATION)]
    return _page(rows, params, DESTINATIONS)


def _delete(account: Account, params: JSON, id: str) -> JSON:
    account.store.get(DESTINATION, id)
    account.store.remove(DESTINATION, id)
    del account.destination_urls[id], account.webhook_secrets[id]
    return {"id": id, "object": DESTINATION}


def _switch(account: Account, id: str, status: str) -> JSON:
    row = account.store.get(DESTINATION, id)
    row.update(status=status, updated=rfc3339(account.clock.now()))
    details: Any = {"disabled": {"reason": "user"}}
    if status == "disabled":
        row["status_details"] = details
    else:
        row.pop("status_details", None)
    return row


def _disable(account: Account, params: JSON, id: str) -> JSON:
    return _switch(account, id, "disabled")


def _enable(account: Account, params: JSON, id: str) -> JSON:
    return _switch(account, id, "enabled")


EVENTS: Final = "/v2/core/events"
DESTINATIONS: Final = "/v2/core/event_destinations"
ONE: Final = DESTINATIONS + "/{id}"
KEY: Final = "event_destination"
UPDATE: Final = "description enabled_events include metadata name webhook_endpoint"
OPERATIONS: Final = (
    Operation("GET", EVENTS, "v2.core.EventListParams", _events, "event", "limit object_id page types"),
    Operation("GET", EVENTS + "/{id}", "v2.core.EventRetrieveParams", _event, "event"),
    Operation(
        "POST", DESTINATIONS, "v2.core.EventDestinationCreateParams", _create, KEY, f"event_payload type {UPDATE}"
    ),
    Operation("GET", DESTINATIONS, "v2.core.EventDestinationListParams", _list, KEY, "include limit page"),
    Operation("GET", ONE, "v2.core.EventDestinationRetrieveParams", _retrieve, KEY, "include"),
    Operation("POST", ONE, "v2.core.EventDestinationUpdateParams", _update, KEY, UPDATE),
    Operation("DELETE", ONE, "v2.core.EventDestinationDeleteParams", _delete, KEY),
    Operation("POST", ONE + "/disable", "v2.core.EventDestinationDisableParams", _disable, KEY),
    Operation("POST", ONE + "/enable", "v2.core.EventDestinationEnableParams", _enable, KEY),
)
