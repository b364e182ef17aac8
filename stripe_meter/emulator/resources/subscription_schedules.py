"""Subscription schedules made from a subscription: the way to change a plan at the end of its period.

Owns: /v1/subscription_schedules and the rules of phases. Does not own: what entering a phase does (`schedules`).
Schedules that would create their own subscription are refused loudly; nothing of ours begins a plan that way.
"""

from typing import Any, Final

from stripe_meter.emulator import cycle, item_changes, schedules
from stripe_meter.emulator.account import Account
from stripe_meter.emulator.billing import boundary, rates_in
from stripe_meter.emulator.errors import JSON, invalid, missing, only
from stripe_meter.emulator.events import emit
from stripe_meter.emulator.listing import page
from stripe_meter.emulator.metadata import merged
from stripe_meter.emulator.routing import PAGING, Operation
from stripe_meter.emulator.subscription_form import check_item
from stripe_meter.emulator.views import items_of

KIND: Final = "subscription_schedule"
PHASE: Final = frozenset({"duration", "end_date", "items", "metadata", "proration_behavior", "start_date"})
PHASE_NOTHING: Final = (
    "application_fee_percent billing_cycle_anchor billing_thresholds collection_method default_payment_method "
    "description invoice_settings on_behalf_of transfer_data trial_end"
)


def _create(account: Account, params: JSON) -> JSON:
    """A schedule whose only phase is the subscription's current period."""
    if "from_subscription" not in params:
        message = "The emulator makes schedules with `from_subscription` only."
        raise invalid(message, "from_subscription", "not_emulated")
    subscription = account.store.get("subscription", params["from_subscription"], "from_subscription", 400)
    if subscription["status"] in cycle.ENDED:
        raise missing("subscription", subscription["id"], "from_subscription", status=400)
    if subscription["schedule"] is not None:
        message = "You cannot migrate a subscription that is already attached to a schedule."
        raise invalid(f"{message} It is attached to {subscription['schedule']}.", "from_subscription")
    items = items_of(account, subscription["id"])
    start = min(item["current_period_start"] for item in items)
    end = max(item["current_period_end"] for item in items)
    rows: list[JSON] = [_terms(item) for item in items]
    row: JSON = {
        "id": account.ids.new("sub_sched"),
        "object": KIND,
        **dict.fromkeys(("application", "canceled_at", "completed_at", "customer_account", "released_at")),
        "billing_mode": dict(subscription["billing_mode"]),
        "created": account.now(),
        "current_phase": {"start_date": start, "end_date": end},
        "customer": subscription["customer"],
        "default_settings": {
            **dict.fromkeys(("application_fee_percent", "billing_thresholds", "default_payment_method")),
            **dict.fromkeys(("description", "on_behalf_of", "transfer_data")),
            "automatic_tax": dict(subscription["automatic_tax"]),
            "billing_cycle_anchor": "automatic",
            "collection_method": "charge_automatically",
            "invoice_settings": {
                **dict.fromkeys(("account_tax_ids", "custom_fields", "days_until_due", "description", "footer")),
                "issuer": {"type": "self"},
            },
        },
        "end_behavior": "release",
        "livemode": False,
        "metadata": merged({}, params.get("metadata")),
        "pause_schedules": [],
        "phases": [_phase(subscription, rows, start, end, {})],
        "released_subscription": None,
        "status": "active",
        "subscription": subscription["id"],
        "test_clock": subscription["test_clock"],
    }
    account.store.add(row)
    subscription["schedule"] = row["id"]
    emit(account, "subscription_schedule.created", row)
    emit(account, "customer.subscription.updated", subscription, {"schedule": None})
    _watch_end(account, row)
    return row


def _terms(row: JSON) -> JSON:
    return {name: row[name] for name in ("price", "quantity", "metadata") if name in row}


def _phase(subscription: JSON, rows: list[JSON], start: int, end: int, fields: JSON) -> JSON:
    items = []
    for row in rows:
        blank: JSON = {
            "billing_thresholds": None,
            "discounts": [],
            "metadata": {},
            "plan": row["price"],
            "tax_rates": [],
        }
        items.append({**blank, **row})
    return {
        **dict.fromkeys(PHASE_NOTHING.split()),
        "add_invoice_items": [],
        "currency": subscription["currency"],
        "default_tax_rates": [],
        "discounts": [],
        "end_date": end,
        "items": items,
        "metadata": merged({}, fields.get("metadata")),
        "proration_behavior": fields.get("proration_behavior", "create_prorations"),
        "start_date": start,
    }


def _update(account: Account, params: JSON, id: str) -> JSON:
    schedule = _open(account, id)
    subscription = account.store.get("subscription", schedule["subscription"])
    phases = _read_phases(account, schedule, subscription, params["phases"]) if "phases" in params else None
    if params.get("end_behavior", "release") not in ("release", "cancel"):
        raise invalid("The emulator implements end_behavior release and cancel.", "end_behavior", "not_emulated")
    schedule["metadata"] = merged(schedule["metadata"], params.get("metadata"))
    schedule["end_behavior"] = params.get("end_behavior", schedule["end_behavior"])
    if phases is not None:
        schedule["phases"] = phases
        for phase in phases[1:]:
            _watch_start(account, schedule, phase["start_date"])
    ends = schedule["phases"][-1]["end_date"] if schedule["end_behavior"] == "cancel" else None
    cycle.cancel_at(account, subscription, ends, flagged=False)
    _watch_end(account, schedule)
    emit(account, "subscription_schedule.updated", schedule)
    return schedule


def _open(account: Account, id: str) -> JSON:
    schedule = account.store.get(KIND, id)
    if schedule["status"] in schedules.OVER:
        message = f"You cannot change a subscription schedule that is {schedule['status']}."
        raise invalid(message)
    return schedule


def _read_phases(account: Account, schedule: JSON, subscription: JSON, wanted: list[JSON]) -> list[JSON]:
    """Checked phases without a gap; the first one is the current one."""
    phases: list[JSON] = []
    now_at: int = schedule["current_phase"]["start_date"]
    for number, fields in enumerate(wanted):
        where = f"phases[{number}]"
        only(fields, PHASE, where)
        start = fields.get("start_date", phases[-1]["end_date"] if phases else now_at)
        if start != (phases[-1]["end_date"] if phases else now_at):
            message = "A phase must start where the one before it ends, and the first one is the current phase."
            raise invalid(message, f"{where}[start_date]")
        rows = _phase_items(account, subscription, fields["items"], where)
        end = _end(account, fields, rows, start, where)
        phases.append(_phase(subscription, rows, start, end, fields))
    if not phases:
        raise invalid("A schedule has at least one phase.", "phases")
    return phases


def _phase_items(account: Account, subscription: JSON, wanted: list[JSON], where: str) -> list[JSON]:
    if not wanted:
        raise invalid("A phase has at least one item.", f"{where}[items]")
    rows = []
    for number, fields in enumerate(wanted):
        price = check_item(account, fields, f"{where}[items][{number}]")
        if rates_in(price, subscription["currency"]) is None:
            raise invalid(f"The price {price['id']} is not available in {subscription['currency']}.", f"{where}[items]")
        row: JSON = {"price": price["id"], "metadata": merged({}, fields.get("metadata"))}
        if price["recurring"]["usage_type"] == "licensed":
            row["quantity"] = fields.get("quantity", 1)
        rows.append(row)
    return rows


def _end(account: Account, fields: JSON, rows: list[JSON], start: int, where: str) -> int:
    """When a phase ends: as said, after its duration, or after one interval of its first price."""
    if "end_date" in fields and "duration" in fields:
        raise invalid("You may only specify one of `duration` and `end_date`.", f"{where}[duration]")
    if "end_date" in fields:
        if not isinstance(fields["end_date"], int) or fields["end_date"] <= start:
            raise invalid("A phase must end after its start.", f"{where}[end_date]")
        return int(fields["end_date"])
    if fields.get("duration", {}).get("interval_count", 1) < 1:
        raise invalid("A duration must be positive.", f"{where}[duration][interval_count]")
    length: Any = fields.get("duration") or account.store.get("price", rows[0]["price"])["recurring"]
    return boundary(start, length["interval"], length.get("interval_count", 1), 1)


def _watch_start(account: Account, schedule: JSON, at: int) -> None:
    """Enter a phase at its time; one that begins with a period was entered with it already."""

    def begin() -> None:
        subscription = account.store.find("subscription", schedule["subscription"])
        if subscription is None or schedule["status"] in schedules.OVER:
            return
        cycle.roll(account, subscription, at)
        phase = schedules.due_phase(schedule, at)
        if phase is not None:
            _enter(account, subscription, phase)
            schedules.entered(account, schedule, phase)

    account.clock.schedule(at, begin)


def _enter(account: Account, subscription: JSON, phase: JSON) -> None:
    """Enter a phase in mid-period, as an update of the items would."""
    known = {item["price"]: item["id"] for item in items_of(account, subscription["id"])}
    rows = [_terms(row) for row in phase["items"]]
    wanted = [{**row, **({"id": known[row["price"]]} if row["price"] in known else {})} for row in rows]
    stay = {row["price"] for row in rows}
    wanted += [{"id": id, "deleted": True} for price, id in known.items() if price not in stay]
    made = item_changes.plan(account, subscription, wanted, phase["proration_behavior"])
    item_changes.carry_out(account, made)
    item_changes.bill(account, made, "allow_incomplete")
    emit(account, "customer.subscription.updated", subscription)


def _watch_end(account: Account, schedule: JSON) -> None:
    """After its last phase a schedule lets go of the subscription."""
    at = schedule["phases"][-1]["end_date"]

    def finish() -> None:
        last = schedule["phases"][-1]["end_date"]
        if schedule["status"] not in schedules.OVER and last == at and schedule["end_behavior"] == "release":
            schedules.release(account, schedule)

    account.clock.schedule(at, finish)


def _release(account: Account, params: JSON, id: str) -> JSON:
    schedule = _open(account, id)
    subscription = account.store.get("subscription", schedule["subscription"])
    if subscription["cancel_at"] is not None and not params.get("preserve_cancel_date"):
        cycle.cancel_at(account, subscription, None, flagged=False)
    schedules.release(account, schedule)
    return schedule


def _cancel(account: Account, params: JSON, id: str) -> JSON:
    """Cancel the schedule and its subscription at once."""
    schedule = _open(account, id)
    subscription = account.store.get("subscription", schedule["subscription"])
    cycle.cancel(account, subscription, params.get("invoice_now", True), params.get("prorate", True))
    return schedule


def _retrieve(account: Account, params: JSON, id: str) -> JSON:
    return account.store.get(KIND, id)


def _list(account: Account, params: JSON) -> JSON:
    rows = list(account.store.newest(KIND))
    if "customer" in params:
        rows = [row for row in rows if row["customer"] == params["customer"]]
    return page(rows, params, ROOT)


ROOT: Final = "/v1/subscription_schedules"
KEY: Final = "subscription"
UPDATE: Final = "end_behavior metadata phases proration_behavior"
RELEASE: Final = "preserve_cancel_date"
OPERATIONS: Final = (
    Operation("POST", ROOT, "SubscriptionScheduleCreateParams", _create, KEY, "from_subscription metadata"),
    Operation("GET", ROOT, "SubscriptionScheduleListParams", _list, KEY, f"customer {PAGING}"),
    Operation("GET", ROOT + "/{id}", "SubscriptionScheduleRetrieveParams", _retrieve, KEY),
    Operation("POST", ROOT + "/{id}", "SubscriptionScheduleUpdateParams", _update, KEY, UPDATE),
    Operation("POST", ROOT + "/{id}/release", "SubscriptionScheduleReleaseParams", _release, KEY, RELEASE),
    Operation("POST", ROOT + "/{id}/cancel", "SubscriptionScheduleCancelParams", _cancel, KEY, "invoice_now prorate"),
)
