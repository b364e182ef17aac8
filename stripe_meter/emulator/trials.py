"""Trials: their start, the warning three days before the end, and what the end brings.

Owns: status `trialing` and what follows it. Does not own: period ends in general (`cycle`). Usage in a trial is never
billed; at the end a missing card pauses or cancels the subscription when `trial_settings` say so.
"""

from typing import Final

from stripe_meter.emulator.account import Account
from stripe_meter.emulator.cards import card_for
from stripe_meter.emulator.errors import JSON, invalid
from stripe_meter.emulator.events import emit

DAY: Final = 86400
WARNING_SECONDS: Final = 3 * DAY
MAX_DAYS: Final = 730


def end_of(account: Account, fields: JSON) -> int | None:
    """When the trial that parameters ask for ends, None without one; raises a 400 for one that cannot be."""
    days, at = fields.get("trial_period_days"), fields.get("trial_end")
    if days is not None and at is not None:
        raise invalid("You may only specify one of these parameters: trial_end, trial_period_days.", "trial_end")
    if days is not None:
        if not 1 <= days <= MAX_DAYS:
            raise invalid(f"`trial_period_days` must be between 1 and {MAX_DAYS}.", "trial_period_days")
        return account.now() + int(days) * DAY
    if at is None or at == "now":
        return None
    if at <= account.now():
        raise invalid("Invalid timestamp: must be an integer Unix timestamp in the future.", "trial_end")
    if at > account.now() + MAX_DAYS * DAY:
        raise invalid(f"A trial can last at most {MAX_DAYS} days.", "trial_end")
    return int(at)


def begin(account: Account, subscription: JSON, until: int) -> None:
    """Put a subscription into a trial; its billing cycle is anchored at the end of it."""
    subscription.update(status="trialing", trial_start=account.now(), trial_end=until, billing_cycle_anchor=until)


def running(account: Account, subscription: JSON) -> bool:
    """Whether the trial of a subscription is not over."""
    until = subscription["trial_end"]
    return until is not None and bool(until > account.now())


def schedule_warning(account: Account, subscription: JSON) -> None:
    """Send `customer.subscription.trial_will_end` three days before the end, or at once when it is nearer."""
    until = subscription["trial_end"]
    if subscription["status"] != "trialing" or until is None:
        return

    def warn() -> None:
        if subscription["status"] == "trialing" and subscription["trial_end"] == until:
            emit(account, "customer.subscription.trial_will_end", subscription)

    account.clock.schedule(max(account.now(), until - WARNING_SECONDS), warn)


def outcome(account: Account, subscription: JSON) -> str:
    """The status that follows the trial: without a card it may be `canceled` or `paused`."""
    if card_for(account, subscription, subscription["customer"]) is not None:
        return "active"
    wanted = subscription["trial_settings"]["end_behavior"]["missing_payment_method"]
    return {"cancel": "canceled", "pause": "paused"}.get(wanted, "active")
