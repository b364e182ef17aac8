"""Updating a subscription: items, trial, anchor, cancellation, thresholds.

Owns: the parameters of `POST /v1/subscriptions/{id}` and the order in which they take effect. Does not own: what a
change of items costs (`item_changes`). Everything is checked before the first change.
"""

from typing import Any, Final

from stripe_meter.emulator import cycle, invoice_items, invoicing, item_changes, schedules, taxes, thresholds, trials
from stripe_meter.emulator.account import Account
from stripe_meter.emulator.billing import rates_in
from stripe_meter.emulator.cards import card_for, charge
from stripe_meter.emulator.errors import JSON, invalid, missing, only
from stripe_meter.emulator.events import changed, emit
from stripe_meter.emulator.metadata import merged
from stripe_meter.emulator.subscription_form import MAX_ITEMS, check_item, set_thresholds, trial_settings
from stripe_meter.emulator.subscription_form import thresholds as read_thresholds
from stripe_meter.emulator.views import items_of

PENDING_NOTHING: Final = (
    "billing_cycle_anchor cancel_at_period_end discount discounts metadata trial_end trial_from_plan"
)
PENDING_SECONDS: Final = 23 * 3600
# What may change while payment is awaited (docs.stripe.com/billing/subscriptions/pending-updates-reference).
PENDING_FIELDS: Final = frozenset(
    {"items", "payment_behavior", "proration_behavior", "proration_date", "billing_cycle_anchor", "trial_end", "expand"}
)


def update(account: Account, params: JSON, id: str) -> JSON:
    """Change a subscription; raises a 400 for what does not fit together, a 402 for a refused card."""
    subscription = account.store.get("subscription", id)
    _check(account, subscription, params)
    before = {**subscription, "cancellation_details": dict(subscription["cancellation_details"])}
    made = planned(account, subscription, params)
    payment = params.get("payment_behavior", "allow_incomplete")
    if made is not None and made.immediate and payment == "pending_if_incomplete":
        return _change_once_paid(account, made)
    if made is not None and made.immediate and payment == "error_if_incomplete":
        _check_payable(account, subscription, made)
    _set_fields(account, subscription, params)
    extra = extra_specs(account, params.get("add_invoice_items") or [], subscription)
    account.pending_lines.setdefault(id, []).extend(extra)
    if made is not None:
        item_changes.carry_out(account, made)
        item_changes.bill(account, made, payment)
    if "trial_end" in params:
        _move_trial(account, subscription, params["trial_end"], params.get("proration_behavior", "create_prorations"))
    _cancel_fields(account, subscription, params)
    previous = changed(before, subscription)
    if previous or made is not None:
        emit(account, "customer.subscription.updated", subscription, previous)
    thresholds.check(account, subscription["customer"])
    return subscription


def _check_payable(account: Account, subscription: JSON, made: item_changes.Plan) -> None:
    """Raise the card's 402 when what a change would cost now cannot be paid."""
    shown = invoicing.preview(account, subscription, "subscription_update", made.lines, "in_unstored")
    if shown["amount_due"] > 0:
        charge(account, card_for(account, subscription, subscription["customer"]), off_session=True)


def planned(account: Account, subscription: JSON, fields: JSON) -> item_changes.Plan | None:
    """What the items, anchor and prorations of a request would do, None when it names neither items nor anchor."""
    anchor = (fields.get("billing_cycle_anchor") or {}).get("type")
    if "items" not in fields and anchor != "now":
        return None
    check_items_change(account, subscription, fields.get("items") or [])
    return item_changes.plan(
        account,
        subscription,
        fields.get("items") or [],
        fields.get("proration_behavior", "create_prorations"),
        moment=_proration_date(account, subscription, fields),
        restart=anchor == "now",
    )


def _proration_date(account: Account, subscription: JSON, fields: JSON) -> int | None:
    date: int | None = fields.get("proration_date")
    if date is not None:
        items = items_of(account, subscription["id"])
        if not all(item["current_period_start"] <= date <= item["current_period_end"] for item in items):
            raise invalid("`proration_date` must be within the current period.", "proration_date")
    return date


def _check(account: Account, subscription: JSON, params: JSON) -> None:
    if subscription["status"] in cycle.ENDED:
        raise missing("subscription", subscription["id"])
    check_card(account, params.get("default_payment_method"), subscription["customer"])
    canceling = {"cancel_at", "cancel_at_period_end"} & params.keys()
    if canceling and schedules.of(account, subscription) is not None:
        raise invalid(
            "The subscription is managed by a subscription schedule, and updating any cancelation behavior directly is "
            "not allowed. Please update the schedule instead.",
            min(canceling),
        )
    if len(canceling) == 2 and params["cancel_at"] and params["cancel_at_period_end"]:
        raise invalid("You may only specify one of `cancel_at` and `cancel_at_period_end`.", "cancel_at")
    if params.get("payment_behavior") == "pending_if_incomplete" and params.keys() - PENDING_FIELDS:
        name = min(params.keys() - PENDING_FIELDS)
        raise invalid(f"`{name}` cannot be combined with `payment_behavior=pending_if_incomplete`.", name)
    trials.end_of(account, params)
    check_time(account, params.get("cancel_at"))
    check_extra(account, params.get("add_invoice_items") or [], subscription["currency"])
    read_thresholds(params.get("billing_thresholds"))
    if taxes.on(params):
        taxes.check_customer(account.store.get("customer", subscription["customer"]))


def check_card(account: Account, method: str | None, customer: str) -> None:
    """A payment method named for a subscription must belong to its customer."""
    row = account.store.find("payment_method", method)
    if method and (row is None or row["customer"] != customer):
        raise missing("PaymentMethod", method, "default_payment_method", status=400)


def check_items_change(account: Account, subscription: JSON, wanted: list[JSON]) -> None:
    """Refuse a change of items that cannot be."""
    prices = {item["id"]: item["price"] for item in items_of(account, subscription["id"])}
    for number, fields in enumerate(wanted):
        where = f"items[{number}]"
        id = fields.get("id")
        if id is not None and id not in prices:
            raise missing("subscription_item", id, f"{where}[id]", status=400)
        if fields.get("deleted"):
            if id is None:
                raise invalid(f"Missing required param: {where}[id].", f"{where}[id]", "parameter_missing")
            prices.pop(id, None)
            continue
        price = check_item(account, {**({"price": prices[id]} if id else {}), **fields}, where)
        if rates_in(price, subscription["currency"]) is None:
            raise invalid(f"The price {price['id']} is not available in {subscription['currency']}.", f"{where}[price]")
        prices[id or where] = price["id"]
    if not prices:
        raise invalid("A subscription must have at least one item.", "items")
    if len(prices) > MAX_ITEMS:
        raise invalid(f"A subscription can have at most {MAX_ITEMS} items.", "items")
    if len(set(prices.values())) < len(prices):
        raise invalid("Cannot add multiple subscription items with the same price.", "items")


def check_extra(account: Account, wanted: list[JSON], currency: str) -> None:
    """Refuse `add_invoice_items` that cannot be billed: they are one-time prices with a quantity."""
    for number, fields in enumerate(wanted):
        where = f"add_invoice_items[{number}]"
        only(fields, ("price", "quantity", "metadata"), where)
        price = account.store.get("price", fields.get("price", ""), f"{where}[price]", 400)
        if price["recurring"] is not None:
            raise invalid("The price specified is recurring; only one-time prices fit here.", f"{where}[price]")
        if rates_in(price, currency) is None:
            raise invalid(f"The price {price['id']} is not available in {currency}.", f"{where}[price]")


def extra_specs(account: Account, wanted: list[JSON], subscription: JSON) -> list[JSON]:
    """Lines for `add_invoice_items`, checked before."""
    customer = account.store.get("customer", subscription["customer"])
    made = []
    for fields in wanted:
        more = {"subscription": subscription["id"], "currency": subscription["currency"]}
        more["pricing"] = {"price": fields["price"]}
        made.append(invoice_items.new_item(account, customer, {**fields, **more}))
    return [invoice_items.spec(account, row) for row in made]


def _set_fields(account: Account, subscription: JSON, params: JSON) -> None:
    subscription["metadata"] = merged(subscription["metadata"], params.get("metadata"))
    for name in ("default_payment_method", "description"):
        if name in params:
            subscription[name] = params[name] or None
    if "billing_thresholds" in params:
        set_thresholds(account, subscription, params["billing_thresholds"])
    if "automatic_tax" in params:
        subscription["automatic_tax"] = taxes.setting(taxes.on(params))
    if "trial_settings" in params:
        subscription["trial_settings"] = trial_settings(params["trial_settings"].get("end_behavior") or {})
    saved = (params.get("payment_settings") or {}).get("save_default_payment_method")
    if saved:
        subscription["payment_settings"] = {**subscription["payment_settings"], "save_default_payment_method": saved}
    details: Any = params.get("cancellation_details") or {}
    given = {name: value or None for name, value in details.items()}
    subscription["cancellation_details"] = {**subscription["cancellation_details"], **given}


def _cancel_fields(account: Account, subscription: JSON, params: JSON) -> None:
    prorate = params.get("proration_behavior") != "none"
    if "cancel_at_period_end" in params:
        cancel_at_end(account, subscription, params["cancel_at_period_end"])
    if "cancel_at" in params and not params.get("cancel_at_period_end"):
        at = cancel_time(account, subscription, params["cancel_at"])
        cycle.cancel_at(account, subscription, at, flagged=False, prorate=prorate)


def check_time(account: Account, wanted: int | str | None) -> None:
    """Refuse a `cancel_at` that is over, or that has no meaning here."""
    if isinstance(wanted, int) and wanted <= account.now():
        raise invalid("`cancel_at` must be in the future.", "cancel_at")
    if wanted == "max_billed_until":
        raise invalid("The emulator does not implement cancel_at=max_billed_until.", "cancel_at", "not_emulated")


def cancel_time(account: Account, subscription: JSON, wanted: int | str) -> int | None:
    """The moment that `cancel_at` names: a time ahead, the end of the shortest or longest period, or never ("")."""
    if isinstance(wanted, int):
        return wanted
    ends = [item["current_period_end"] for item in items_of(account, subscription["id"])]
    named: dict[str, int | None] = {"min_period_end": min(ends), "max_period_end": max(ends), "": None}
    return named[wanted]


def cancel_at_end(account: Account, subscription: JSON, wanted: bool) -> None:
    """Cancel at the end of the last period, or take that back."""
    at = cancel_time(account, subscription, "max_period_end" if wanted else "")
    cycle.cancel_at(account, subscription, at, flagged=wanted)


def _move_trial(account: Account, subscription: JSON, wanted: int | str, behavior: str) -> None:
    """End the trial now, or set another end; an active subscription goes into a trial."""
    if isinstance(wanted, str):
        if subscription["status"] == "trialing":
            cycle.end_trial(account, subscription)
        return
    items = items_of(account, subscription["id"])
    if subscription["status"] != "trialing":
        closing = item_changes.plan(account, subscription, [], behavior, restart=True)
        credits = [line for line in closing.lines if line["usage"] or line["proration"]]
        account.pending_lines.setdefault(subscription["id"], []).extend(credits)
        trials.begin(account, subscription, wanted)
        for item in items:
            item["current_period_start"] = account.now()
    subscription.update(trial_end=wanted, billing_cycle_anchor=wanted)
    for item in items:
        item["current_period_end"] = wanted
    trials.schedule_warning(account, subscription)
    cycle.schedule(account, subscription)


def _change_once_paid(account: Account, made: item_changes.Plan) -> JSON:
    """Make the change if its invoice is paid at once, else leave it pending for 23 hours."""
    subscription = made.subscription

    def apply() -> None:
        waited = subscription["pending_update"] is not None
        item_changes.carry_out(account, made)
        subscription["pending_update"] = None
        if waited:
            emit(account, "customer.subscription.pending_update_applied", subscription)
        emit(account, "customer.subscription.updated", subscription)

    invoice = item_changes.bill_first(account, made, apply)
    if invoice["id"] in account.pending_updates:
        expires = account.now() + PENDING_SECONDS
        # Stripe shows whole items here; ids and prices are what its readers use.
        subscription["pending_update"] = {
            **dict.fromkeys(PENDING_NOTHING.split()),
            "expires_at": expires,
            "subscription_items": [dict(row) for row in made.rows],
        }
        emit(account, "customer.subscription.updated", subscription, {"pending_update": None})
        account.clock.schedule(expires, lambda: _expire(account, subscription, invoice))
    return subscription


def _expire(account: Account, subscription: JSON, invoice: JSON) -> None:
    if account.pending_updates.pop(invoice["id"], None) is not None:
        subscription["pending_update"] = None
        invoicing.void(account, invoice)
        emit(account, "customer.subscription.pending_update_expired", subscription)
