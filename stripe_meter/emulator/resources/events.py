"""Reading events.

Owns: /v1/events. Does not own: recording (`emulator.events`). Events older than 30 days are no longer listed.
"""

from typing import Final

from stripe_meter.emulator.account import Account
from stripe_meter.emulator.errors import JSON, invalid
from stripe_meter.emulator.listing import page
from stripe_meter.emulator.routing import PAGING, Operation

KEPT_SECONDS: Final = 30 * 86400


def _list(account: Account, params: JSON) -> JSON:
    if "type" in params and "types" in params:
        raise invalid("You may only specify one of `type` and `types`.", "types")
    wanted = params.get("types") or ([params["type"]] if "type" in params else None)
    oldest = account.now() - KEPT_SECONDS
    rows = [row for row in account.store.newest("event") if row["created"] >= oldest]
    return page([row for row in rows if wanted is None or _matches(row["type"], wanted)], params, "/v1/events")


def _matches(type: str, wanted: list[str]) -> bool:
    """Whether a type is among the wanted ones; `invoice.*` stands for all of a kind."""
    return any(type == one or (one.endswith("*") and type.startswith(one[:-1])) for one in wanted)


def _retrieve(account: Account, params: JSON, id: str) -> JSON:
    return account.store.get("event", id)


OPERATIONS: Final = (
    Operation("GET", "/v1/events", "EventListParams", _list, "event", f"type types {PAGING}"),
    Operation("GET", "/v1/events/{id}", "EventRetrieveParams", _retrieve, "event"),
)
