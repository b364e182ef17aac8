"""Subscription schedules: what a subscription becomes at a later time, such as a smaller plan at its period's end.

Owns: entering the phases of a schedule and ending it. Does not own: the endpoints (`resources.subscription_schedules`)
or billing. A phase that begins with a period is entered between the old period's usage and the new period's fees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from stripe_meter.emulator.errors import JSON
from stripe_meter.emulator.events import emit
from stripe_meter.emulator.periods import interval_of
from stripe_meter.emulator.subscription_form import new_item
from stripe_meter.emulator.views import items_of

if TYPE_CHECKING:
    from stripe_meter.emulator.account import Account

OVER: Final = frozenset({"canceled", "completed", "released"})


def of(account: Account, subscription: JSON) -> JSON | None:
    """The running schedule of a subscription."""
    return account.store.find("subscription_schedule", subscription["schedule"])


def due_phase(schedule: JSON, at: int) -> JSON | None:
    """The phase that begins at `at` or before and has not begun."""
    current = schedule["current_phase"]
    entered = current["start_date"] if current else -1
    rows = [phase for phase in schedule["phases"] if entered < phase["start_date"] <= at]
    return rows[-1] if rows else None


def enter_phase(account: Account, subscription: JSON, items: list[JSON], at: int) -> list[JSON]:
    """Enter the phase that begins at `at`, if any; returns the items whose new period begins: `items` if none."""
    schedule = of(account, subscription)
    phase = due_phase(schedule, at) if schedule is not None else None
    if schedule is None or phase is None:
        return items
    before = {interval_of(account, item) for item in items_of(account, subscription["id"])}
    fresh = [item["id"] for item in replace_items(account, subscription, phase)]
    after = items_of(account, subscription["id"])
    if len(before) == 1 and any(interval_of(account, item) not in before for item in after):
        subscription["billing_cycle_anchor"] = at
        fresh = [item["id"] for item in after]
    entered(account, schedule, phase)
    rolled = {item["id"] for item in items} | set(fresh)
    return [item for item in after if item["id"] in rolled]


def replace_items(account: Account, subscription: JSON, phase: JSON) -> list[JSON]:
    """Make the items of a subscription those of a phase; returns the new ones. Equal prices keep their item."""
    known = {item["price"]: item for item in items_of(account, subscription["id"])}
    wanted = {row["price"]: row for row in phase["items"]}
    for price, item in known.items():
        if price not in wanted:
            account.store.remove("subscription_item", item["id"])
        elif "quantity" in item:
            item["quantity"] = wanted[price].get("quantity", item["quantity"])
    subscription["metadata"] = {**subscription["metadata"], **(phase["metadata"] or {})}
    fields = [{name: row[name] for name in ("price", "quantity", "metadata") if name in row} for row in phase["items"]]
    return [new_item(account, subscription, row) for row in fields if row["price"] not in known]


def entered(account: Account, schedule: JSON, phase: JSON) -> None:
    """A phase has begun; the end of the last one ends the schedule."""
    schedule["current_phase"] = {"start_date": phase["start_date"], "end_date": phase["end_date"]}
    schedule["status"] = "active"
    emit(account, "subscription_schedule.updated", schedule)


def subscription_ended(account: Account, subscription: JSON) -> None:
    """A canceled subscription takes its schedule along."""
    schedule = of(account, subscription)
    if schedule is not None and schedule["status"] not in OVER:
        done = schedule["phases"][-1]["end_date"] <= account.now()
        status = "completed" if done else "canceled"
        schedule.update(status=status, current_phase=None)
        schedule[f"{status}_at"] = account.now()
        emit(account, f"subscription_schedule.{status}", schedule)


def release(account: Account, schedule: JSON) -> None:
    """Let the subscription go on as it is, without a schedule."""
    subscription = account.store.find("subscription", schedule["subscription"])
    schedule.update(status="released", released_at=account.now(), released_subscription=schedule["subscription"])
    schedule.update(subscription=None, current_phase=None)
    if subscription is not None:
        subscription["schedule"] = None
        emit(account, "customer.subscription.updated", subscription, {"schedule": schedule["id"]})
    emit(account, "subscription_schedule.released", schedule)
