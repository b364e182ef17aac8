"""The life of a subscription in time: first invoice, period ends, grace, payment retries, cancellation.

Owns: when lines fall due, and the status of subscriptions. Does not own: which lines (`periods`), how they are priced
or invoices settled. A card that refuses makes the subscription `incomplete` or `past_due`, never an exception in the
background.
"""

from typing import Any, Final

from stripe_meter.emulator import entitlements, invoicing, schedules, trials
from stripe_meter.emulator.account import Account
from stripe_meter.emulator.cards import card_for
from stripe_meter.emulator.errors import JSON, ApiError
from stripe_meter.emulator.events import changed, emit
from stripe_meter.emulator.periods import fee_specs, period_of, stub_specs, trial_specs, unused_specs, usage_specs
from stripe_meter.emulator.views import items_of

RETRY_SECONDS: Final = 3 * 24 * 3600
MAX_ATTEMPTS: Final = 4
INCOMPLETE_SECONDS: Final = 23 * 3600
ENDED: Final = frozenset({"canceled", "incomplete_expired"})
ASLEEP: Final = frozenset({"incomplete", "paused"})


def start(
    account: Account,
    subscription: JSON,
    behavior: str,
    extra: list[JSON],
    *,
    prorate: bool = True,
    present: bool = False,
) -> None:
    """Bill the first period in advance and set the clock for its end. Metered items alone bring no first invoice."""
    items = items_of(account, subscription["id"])
    specs = _first_specs(account, subscription, items, prorate) + extra
    if specs or subscription["billing_mode"]["type"] == "classic":
        specs += [] if specs else usage_specs(account, items)
        _first_invoice(account, subscription, specs, behavior, present)
    emit(account, "customer.subscription.created", subscription)
    entitlements.refresh(account, subscription)
    if subscription["status"] == "incomplete":
        account.clock.schedule(account.now() + INCOMPLETE_SECONDS, lambda: expire_incomplete(account, subscription))
    trials.schedule_warning(account, subscription)
    schedule(account, subscription)


def _first_specs(account: Account, subscription: JSON, items: list[JSON], prorate: bool) -> list[JSON]:
    if subscription["status"] == "trialing":
        return trial_specs(account, items)
    if subscription["billing_cycle_anchor"] > account.now():
        return stub_specs(account, subscription, items) if prorate else []
    return fee_specs(account, items)


def _first_invoice(account: Account, subscription: JSON, specs: list[JSON], behavior: str, present: bool) -> None:
    invoice = invoicing.draft(account, subscription, "subscription_create", specs, None)
    invoicing.finalize(account, invoice)
    if invoice["status"] == "open":
        subscription["status"] = "incomplete" if subscription["status"] == "active" else subscription["status"]
        if behavior != "default_incomplete":
            collect(account, invoice, present=present)


def expire_incomplete(account: Account, subscription: JSON) -> None:
    """A first payment not made within 23 hours ends the subscription."""
    if subscription["status"] == "incomplete":
        end(account, subscription, "incomplete_expired")


def schedule(account: Account, subscription: JSON) -> None:
    """Have the next period end happen."""
    ends = [item["current_period_end"] for item in items_of(account, subscription["id"])]
    if ends:
        at = min(ends)
        account.clock.schedule(at, lambda: roll(account, subscription, at))


def roll(account: Account, subscription: JSON, at: int) -> None:
    """Close the periods that end at `at`: a draft with their usage and the next fees, finalised after the grace."""
    items = [item for item in items_of(account, subscription["id"]) if item["current_period_end"] <= at]
    if not items or subscription["status"] in ENDED | ASLEEP:
        return
    before = {**subscription}
    ending = subscription["cancel_at"] is not None and subscription["cancel_at"] <= at
    trial_over = subscription["status"] == "trialing"
    specs = account.pending_lines.pop(subscription["id"], [])
    specs += [] if trial_over else usage_specs(account, items)
    if trial_over and not ending and not _after_trial(account, subscription):
        return
    if not ending:
        items = schedules.enter_phase(account, subscription, items, at)
    for item in items:
        account.billed_before.pop(item["id"], None)
        price = account.store.get("price", item["price"])
        item["current_period_start"], item["current_period_end"] = period_of(account, subscription, price, at)
    specs += [] if ending else fee_specs(account, items)
    if specs:
        grace = at + account.switches.grace
        invoice = invoicing.draft(account, subscription, "subscription_cycle", specs, int(grace))
        account.clock.schedule(grace, lambda: collect(account, invoice))
    if ending:
        end(account, subscription, "canceled")
    else:
        emit(account, "customer.subscription.updated", subscription, changed(before, subscription))
        entitlements.refresh(account, subscription, renew=True)
        schedule(account, subscription)


def _after_trial(account: Account, subscription: JSON) -> bool:
    """End the trial; False when the subscription pauses or ends because there is no card to go on with."""
    status = trials.outcome(account, subscription)
    if status == "canceled":
        end(account, subscription, status)
    elif status == "paused":
        subscription["status"] = status
        emit(account, "customer.subscription.paused", subscription)
        emit(account, "customer.subscription.updated", subscription, {"status": "trialing"})
        entitlements.refresh(account, subscription)
    else:
        subscription["status"] = status
    return status == "active"


def collect(account: Account, invoice: JSON, *, present: bool = False) -> None:
    """Finalise if still a draft, then charge the card; a refusal is recorded and retried after three days.

    With `present` the payer is there to authenticate, as at the end of Checkout.
    """
    if invoice["status"] == "draft" and not invoicing.finalize(account, invoice):
        return
    subscription = account.store.find("subscription", invoicing.subscription_of(invoice))
    if invoice["status"] == "open":
        try:
            card = card_for(account, subscription, invoice["customer"])
            invoicing.pay(account, invoice, card, off_session=not present)
        except ApiError:
            _retry_later(account, invoice)
    settle_status(account, invoice)


def _retry_later(account: Account, invoice: JSON) -> None:
    if invoice["attempt_count"] < MAX_ATTEMPTS:
        at = account.now() + RETRY_SECONDS
        invoice["next_payment_attempt"] = at
        account.clock.schedule(at, lambda: _retry(account, invoice))
    else:
        invoice["next_payment_attempt"] = None


def _retry(account: Account, invoice: JSON) -> None:
    if invoice["status"] == "open":
        collect(account, invoice)


def settle_status(account: Account, invoice: JSON) -> None:
    """Bring the subscription's status in line with its invoices after a payment or a refusal."""
    subscription = account.store.find("subscription", invoicing.subscription_of(invoice))
    if subscription is None or subscription["status"] in ENDED:
        return
    waiting = account.pending_updates.get(invoice["id"])
    if waiting is not None:
        if invoice["status"] == "paid":
            account.pending_updates.pop(invoice["id"])()
        return
    rows = account.store.all("invoice")
    mine = [row for row in rows if invoicing.subscription_of(row) == subscription["id"]]
    owing = any(row["status"] == "open" and row["id"] not in account.pending_updates for row in mine)
    status = "trialing" if trials.running(account, subscription) else "active"
    if owing:
        status = "incomplete" if subscription["status"] == "incomplete" else "past_due"
    update(account, subscription, status=status)


def update(account: Account, subscription: JSON, **fields: Any) -> None:
    """Change fields of a subscription and tell it as an event if anything differs."""
    previous = changed({**subscription}, {**subscription, **fields})
    subscription.update(fields)
    if previous:
        emit(account, "customer.subscription.updated", subscription, previous)
        entitlements.refresh(account, subscription)


def end(account: Account, subscription: JSON, status: str) -> None:
    """The subscription is over."""
    now = account.now()
    subscription.update(status=status, ended_at=now, canceled_at=subscription["canceled_at"] or now)
    details = subscription["cancellation_details"]
    details["reason"] = details["reason"] or "cancellation_requested"
    schedules.subscription_ended(account, subscription)
    emit(account, "customer.subscription.deleted", subscription)
    entitlements.refresh(account, subscription)


def cancel(account: Account, subscription: JSON, invoice_now: bool, prorate: bool) -> None:
    """Cancel at once. Without `invoice_now` the period's usage is never billed (SDK documentation of cancel)."""
    now = account.now()
    items = items_of(account, subscription["id"])
    specs = account.pending_lines.pop(subscription["id"], [])
    if invoice_now:
        specs += [] if subscription["status"] == "trialing" else usage_specs(account, items, until=now)
        specs += unused_specs(account, items, now) if prorate else []
        if specs:
            collect(account, invoicing.draft(account, subscription, "manual", specs, None))
    end(account, subscription, "canceled")


def end_trial(account: Account, subscription: JSON) -> None:
    """End a trial early: the first paid period begins now and is billed at once."""
    subscription["trial_end"] = account.now()
    if _after_trial(account, subscription):
        _begin_now(account, subscription)


def resume(account: Account, subscription: JSON) -> None:
    """Wake a paused subscription; its period begins now and is billed at once."""
    subscription["status"] = "active"
    _begin_now(account, subscription)
    emit(account, "customer.subscription.resumed", subscription)


def _begin_now(account: Account, subscription: JSON) -> None:
    now = subscription["billing_cycle_anchor"] = account.now()
    items = items_of(account, subscription["id"])
    for item in items:
        price = account.store.get("price", item["price"])
        item["current_period_start"], item["current_period_end"] = period_of(account, subscription, price, now)
        account.billed_from[item["id"]] = now
    specs = account.pending_lines.pop(subscription["id"], []) + fee_specs(account, items)
    schedule(account, subscription)
    if specs:
        collect(account, invoicing.draft(account, subscription, "subscription_update", specs, None))


def cancel_at(account: Account, subscription: JSON, at: int | None, *, flagged: bool, prorate: bool = True) -> None:
    """Have the subscription end at a time, or take that back; in mid-period its usage is billed at that time."""
    subscription["cancel_at_period_end"] = flagged
    subscription["cancel_at"] = at
    subscription["canceled_at"] = account.now() if at is not None else None
    subscription["cancellation_details"]["reason"] = "cancellation_requested" if at is not None else None
    if at is not None:
        account.clock.schedule(at, lambda: _cancel_due(account, subscription, at, prorate))


def _cancel_due(account: Account, subscription: JSON, at: int, prorate: bool) -> None:
    roll(account, subscription, at)
    if subscription["cancel_at"] == at and subscription["status"] not in ENDED:
        cancel(account, subscription, invoice_now=True, prorate=prorate)
