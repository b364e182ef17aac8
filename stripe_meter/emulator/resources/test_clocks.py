"""Test clocks.

Owns: /v1/test_helpers/test_clocks. Does not own: time itself. The emulator has one clock, so advancing a test clock
moves the time of the whole emulator; Stripe moves the clock's own objects only. Time never goes back, and a clock takes
three customers and moves two billing intervals at a time, as on Stripe.
"""

from typing import Final

from stripe_meter.emulator import cycle
from stripe_meter.emulator.account import Account
from stripe_meter.emulator.billing import boundary
from stripe_meter.emulator.errors import JSON, invalid, not_emulated
from stripe_meter.emulator.events import emit
from stripe_meter.emulator.listing import page
from stripe_meter.emulator.routing import Operation
from stripe_meter.emulator.views import items_of

KIND: Final = "test_helpers.test_clock"
KEPT_SECONDS: Final = 30 * 86400
TOLERANCE_SECONDS: Final = 300
MAX_INTERVALS: Final = 2


def _create(account: Account, params: JSON) -> JSON:
    wanted, now = params["frozen_time"], account.now()
    if wanted < now - TOLERANCE_SECONDS:
        raise not_emulated("test clocks that start in the past: its own clock only moves forward")
    if wanted > now:
        account.clock.advance(wanted - account.clock.now())
    row: JSON = {
        "id": account.ids.new("clock"),
        "object": KIND,
        "created": account.now(),
        "deletes_after": account.now() + KEPT_SECONDS,
        "frozen_time": wanted,
        "livemode": False,
        "name": params.get("name"),
        "status": "ready",
        "status_details": {},
    }
    account.store.add(row)
    emit(account, "test_helpers.test_clock.created", row)
    return row


def _advance(account: Account, params: JSON, id: str) -> JSON:
    """Answer `advancing`; by the next request the clock is `ready`."""
    clock, target = account.store.get(KIND, id), params["frozen_time"]
    if target <= clock["frozen_time"]:
        raise invalid("`frozen_time` must be after the clock's current frozen time.", "frozen_time")
    if target > _furthest(account, clock):
        message = f"Cannot advance a test clock more than {MAX_INTERVALS} intervals of its shortest subscription."
        raise invalid(message, "frozen_time")
    clock.update(status="advancing", status_details={"advancing": {"target_frozen_time": target}})
    emit(account, "test_helpers.test_clock.advancing", clock)
    shown = {**clock, "status_details": dict(clock["status_details"])}
    account.clock.advance(max(0.0, target - account.clock.now()))
    clock.update(status="ready", status_details={}, frozen_time=target)
    emit(account, "test_helpers.test_clock.ready", clock)
    return shown


def _furthest(account: Account, clock: JSON) -> int:
    """The latest time one advance may reach: two intervals of the shortest subscription on the clock."""
    ends = []
    for subscription in account.store.all("subscription"):
        if subscription["test_clock"] == clock["id"] and subscription["status"] not in cycle.ENDED:
            for item in items_of(account, subscription["id"]):
                recurring = account.store.get("price", item["price"])["recurring"]
                step = (recurring["interval"], recurring["interval_count"])
                ends.append(boundary(max(clock["frozen_time"], account.now()), *step, MAX_INTERVALS))
    return min(ends, default=2**40)


def _retrieve(account: Account, params: JSON, id: str) -> JSON:
    return account.store.get(KIND, id)


def _list(account: Account, params: JSON) -> JSON:
    return page(account.store.newest(KIND), params, ROOT)


def _delete(account: Account, params: JSON, id: str) -> JSON:
    """Deleting a clock deletes its customers and ends their subscriptions."""
    clock = account.store.get(KIND, id)
    for subscription in account.store.all("subscription"):
        if subscription["test_clock"] == id and subscription["status"] not in cycle.ENDED:
            cycle.cancel(account, subscription, invoice_now=False, prorate=False)
    for customer in account.store.all("customer"):
        if customer.get("test_clock") == id:
            gone = customer["id"]
            customer.clear()
            customer.update({"id": gone, "object": "customer", "deleted": True})
            account.search_index.pop(gone, None)
    emit(account, "test_helpers.test_clock.deleted", clock)
    account.store.remove(KIND, id)
    return {"id": id, "object": KIND, "deleted": True}


ROOT: Final = "/v1/test_helpers/test_clocks"
KEY: Final = "billing_clock"
PAGES: Final = "limit starting_after ending_before"
OPERATIONS: Final = (
    Operation("POST", ROOT, "test_helpers.TestClockCreateParams", _create, KEY, "frozen_time name"),
    Operation("GET", ROOT, "test_helpers.TestClockListParams", _list, KEY, PAGES),
    Operation("GET", ROOT + "/{id}", "test_helpers.TestClockRetrieveParams", _retrieve, KEY),
    Operation("DELETE", ROOT + "/{id}", "test_helpers.TestClockDeleteParams", _delete, KEY),
    Operation("POST", ROOT + "/{id}/advance", "test_helpers.TestClockAdvanceParams", _advance, KEY, "frozen_time"),
)
