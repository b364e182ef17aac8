"""Previews of a subscription's next invoice, also after a change that has not been made.

Owns: /v1/invoices/create_preview. Does not own: what a change costs (`item_changes`). Nothing is stored or changed.
"""

from typing import Any, Final

from stripe_meter.emulator import cycle, invoicing, item_changes
from stripe_meter.emulator.account import Account
from stripe_meter.emulator.errors import JSON, ApiError, invalid, missing, only
from stripe_meter.emulator.periods import fee_specs, period_of, unused_specs, usage_specs
from stripe_meter.emulator.resources.customers import existing
from stripe_meter.emulator.resources.subscription_update import planned
from stripe_meter.emulator.routing import Operation
from stripe_meter.emulator.views import items_of, live_subscriptions

DETAILS: Final = frozenset(
    {
        "billing_cycle_anchor",
        "cancel_at_period_end",
        "cancel_now",
        "items",
        "proration_behavior",
        "proration_date",
        "trial_end",
    }
)


def _preview(account: Account, params: JSON) -> JSON:
    """The invoice that would come next, or now when the change is invoiced at once."""
    subscription = _previewed(account, params)
    details: Any = params.get("subscription_details") or {}
    only(details, DETAILS, "subscription_details")
    if details.get("trial_end") not in (None, "now"):
        raise invalid("The emulator previews trial_end=now only.", "subscription_details[trial_end]", "not_emulated")
    reason, specs = _lines(account, subscription, details)
    id = f"upcoming_in_{subscription['id'].partition('_')[2]}"
    return invoicing.preview(account, subscription, reason, specs, id)


def _lines(account: Account, subscription: JSON, details: JSON) -> tuple[str, list[JSON]]:
    items = items_of(account, subscription["id"])
    waiting = list(account.pending_lines.get(subscription["id"], []))
    if details.get("cancel_now"):
        lines = [] if subscription["status"] == "trialing" else usage_specs(account, items)
        credits = details.get("proration_behavior") in ("create_prorations", "always_invoice")
        return "upcoming", waiting + lines + (unused_specs(account, items, account.now()) if credits else [])
    if details.get("trial_end") == "now" and subscription["status"] == "trialing":
        return "subscription_update", waiting + [
            _from_now(account, subscription, spec) for spec in fee_specs(account, items)
        ]
    made = planned(account, subscription, details)
    if made is not None:
        waiting += made.lines
        items = made.rows
        if made.immediate:
            return "subscription_update", waiting
    return "upcoming", waiting + _next_period(account, subscription, items, details, made)


def _next_period(
    account: Account, subscription: JSON, items: list[JSON], details: JSON, made: item_changes.Plan | None
) -> list[JSON]:
    """The usage of this period and the fees of the next one."""
    lines = [] if subscription["status"] == "trialing" else usage_specs(account, items)
    for line in lines:
        if made is not None and line["item"]["id"] in made.restarted:
            line.update(start=account.now(), before=0)
    if not (details.get("cancel_at_period_end") or subscription["cancel_at"] is not None):
        lines += [_next_fee(account, subscription, spec) for spec in fee_specs(account, items)]
    return lines


def _next_fee(account: Account, subscription: JSON, spec: JSON) -> JSON:
    price = account.store.get("price", spec["item"]["price"])
    start, end = period_of(account, subscription, price, spec["end"])
    return {**spec, "start": start, "end": end}


def _from_now(account: Account, subscription: JSON, spec: JSON) -> JSON:
    price = account.store.get("price", spec["item"]["price"])
    start, end = period_of(account, {**subscription, "billing_cycle_anchor": account.now()}, price, account.now())
    return {**spec, "start": start, "end": end}


def _previewed(account: Account, params: JSON) -> JSON:
    if "subscription" in params:
        subscription = account.store.get("subscription", params["subscription"], "subscription", 400)
        if subscription["status"] in cycle.ENDED:
            raise missing("subscription", subscription["id"], "subscription", status=400)
        return subscription
    if "customer" not in params:
        raise invalid("Missing required param: customer or subscription.", "customer", "parameter_missing")
    rows = live_subscriptions(account, existing(account, params["customer"])["id"])
    if not rows:
        message = f"No upcoming invoices for customer: {params['customer']}"
        raise ApiError(400, message, code="invoice_upcoming_none")
    return rows[0]


PREVIEW: Final = "customer subscription subscription_details preview_mode"
OPERATIONS: Final = (
    Operation("POST", "/v1/invoices/create_preview", "InvoiceCreatePreviewParams", _preview, "invoice", PREVIEW),
)
