"""The life of a subscription in time: first invoice, period ends, grace, payment retries, cancellation.

Owns: which lines fall due when, and the status of subscriptions. Does not own: how lines are priced or invoices
settled. A card that refuses makes the subscription `incomplete` or `past_due`, never an exception in the background.
"""

from decimal import Decimal
from typing import Any, Final

from stripe_meter.emulator import entitlements, invoicing
from stripe_meter.emulator.account import Account
from stripe_meter.emulator.billing import period_around, price_quantity, prorated
from stripe_meter.emulator.errors import JSON, ApiError
from stripe_meter.emulator.events import changed, emit
from stripe_meter.emulator.views import items_of

RETRY_SECONDS: Final = 3 * 24 * 3600
MAX_ATTEMPTS: Final = 4
INCOMPLETE_SECONDS: Final = 23 * 3600
ENDED: Final = frozenset({"canceled", "incomplete_expired"})


def is_metered(account: Account, item: JSON) -> bool:
    """Whether an item is billed by usage."""
    recurring: JSON = account.store.get("price", item["price"])["recurring"]
    return bool(recurring["usage_type"] == "metered")


def period_of(account: Account, subscription: JSON, price: JSON, moment: int) -> tuple[int, int]:
    """The billing period of a price in a subscription that holds `moment`."""
    recurring = price["recurring"]
    anchor = subscription["billing_cycle_anchor"]
    return period_around(anchor, recurring["interval"], recurring["interval_count"], moment)


def usage_specs(account: Account, items: list[JSON], until: int | None = None) -> list[JSON]:
    """Lines for the metered usage of the items' current periods, up to `until` when given."""
    specs = []
    for item in items:
        if is_metered(account, item):
            start = max(item["current_period_start"], account.billed_from.get(item["id"], item["created"]))
            specs.append(invoicing.usage_line(item, start, until or item["current_period_end"]))
    return specs


def fee_specs(account: Account, items: list[JSON]) -> list[JSON]:
    """Lines for the licensed fees of the items' current periods."""
    licensed = [item for item in items if not is_metered(account, item)]
    return [invoicing.fee_line(item, item["current_period_start"], item["current_period_end"]) for item in licensed]


def card_for(account: Account, subscription: JSON | None, customer_id: str) -> str | None:
    """The payment method to charge: the subscription's, else the customer's."""
    if subscription is not None and subscription["default_payment_method"]:
        return str(subscription["default_payment_method"])
    customer: JSON = account.store.get("customer", customer_id)
    method: str | None = customer["invoice_settings"]["default_payment_method"]
    return method


def start(account: Account, subscription: JSON, behavior: str) -> None:
    """Bill the first period in advance and set the clock for its end. Metered items alone bring no first invoice."""
    items = items_of(account, subscription["id"])
    specs = fee_specs(account, items)
    if specs or subscription["billing_mode"]["type"] == "classic":
        specs += [] if specs else usage_specs(account, items)
        invoice = invoicing.draft(account, subscription, "subscription_create", specs, None)
        invoicing.finalize(account, invoice)
        if invoice["status"] == "open":
            subscription["status"] = "incomplete"
            if behavior != "default_incomplete":
                collect(account, invoice)
    emit(account, "customer.subscription.created", subscription)
    entitlements.refresh(account, subscription)
    if subscription["status"] == "incomplete":
        account.clock.schedule(account.now() + INCOMPLETE_SECONDS, lambda: expire_incomplete(account, subscription))
    schedule(account, subscription)


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
    if not items or subscription["status"] in ENDED or subscription["status"] == "incomplete":
        return
    specs = account.pending_lines.pop(subscription["id"], []) + usage_specs(account, items)
    ending = subscription["cancel_at"] is not None and subscription["cancel_at"] <= at
    for item in items:
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
        emit(account, "customer.subscription.updated", subscription)
        entitlements.refresh(account, subscription, renew=True)
        schedule(account, subscription)


def collect(account: Account, invoice: JSON) -> None:
    """Finalise if still a draft, then charge the card; a refusal is recorded and retried after three days."""
    if invoice["status"] == "draft":
        invoicing.finalize(account, invoice)
    subscription = account.store.find("subscription", invoicing.subscription_of(invoice))
    if invoice["status"] == "open":
        try:
            invoicing.pay(account, invoice, card_for(account, subscription, invoice["customer"]))
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
    rows = account.store.all("invoice")
    mine = [row for row in rows if invoicing.subscription_of(row) == subscription["id"]]
    owing = any(row["status"] == "open" for row in mine)
    status = "active"
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
    subscription["cancellation_details"]["reason"] = "cancellation_requested"
    emit(account, "customer.subscription.deleted", subscription)
    entitlements.refresh(account, subscription)


def cancel(account: Account, subscription: JSON, invoice_now: bool, prorate: bool) -> None:
    """Cancel at once. Without `invoice_now` the period's usage is never billed (SDK documentation of cancel)."""
    now = account.now()
    items = items_of(account, subscription["id"])
    specs = account.pending_lines.pop(subscription["id"], [])
    if invoice_now:
        specs += usage_specs(account, items, until=now)
        specs += unused_specs(account, items, now) if prorate else []
        if specs:
            collect(account, invoicing.draft(account, subscription, "manual", specs, None))
    end(account, subscription, "canceled")


def unused_specs(account: Account, items: list[JSON], now: int) -> list[JSON]:
    """Credits for the time of licensed fees already billed and not used."""
    return [_share(account, item, now, -1, "Unused time") for item in items if not is_metered(account, item)]


def remaining_specs(account: Account, items: list[JSON], now: int) -> list[JSON]:
    """Charges for licensed items from now to the end of their period."""
    return [_share(account, item, now, 1, "Remaining time") for item in items if not is_metered(account, item)]


def _share(account: Account, item: JSON, now: int, sign: int, words: str) -> JSON:
    price = account.store.get("price", item["price"])
    currency = account.store.get("subscription", item["subscription"])["currency"]
    full = sum(part.amount for part in price_quantity(price, currency, Decimal(item["quantity"])))
    start, end = item["current_period_start"], item["current_period_end"]
    product = account.store.get("product", price["product"])
    amount = sign * prorated(full, start, end, now)
    return invoicing.proration_line(dict(item), now, end, amount, f"{words} on {product['name']}")
