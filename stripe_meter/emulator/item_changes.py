"""Changing the items of a running subscription: first what it would cost, then the change itself.

Owns: a plan of added, changed and removed items with the invoice lines that follow, which a preview shows and an update
carries out. Does not own: checks of parameters (`resources.subscriptions`). A price of another interval, or
`billing_cycle_anchor=now`, starts every period anew. With `proration_behavior=none` a removed metered item gives its
unbilled usage away, as on Stripe.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from stripe_meter.emulator import cycle, entitlements, invoicing
from stripe_meter.emulator.account import Account
from stripe_meter.emulator.errors import JSON
from stripe_meter.emulator.metadata import merged
from stripe_meter.emulator.periods import (
    fee_specs,
    interval_of,
    period_of,
    remaining_specs,
    unused_specs,
    usage_specs,
)
from stripe_meter.emulator.subscription_form import item_form
from stripe_meter.emulator.views import items_of


@dataclass(slots=True)
class Plan:
    """A change of items that has not happened yet: new rows, what they replace, and the lines it would bring."""

    subscription: JSON
    behavior: str
    moment: int
    rows: list[JSON] = field(default_factory=list)
    restarted: set[str] = field(default_factory=set)
    lines: list[JSON] = field(default_factory=list)
    anchor: int | None = None

    @property
    def immediate(self) -> bool:
        """Whether the lines are invoiced at once."""
        return bool(self.lines) and (self.behavior == "always_invoice" or self.anchor is not None)


def plan(
    account: Account,
    subscription: JSON,
    wanted: list[JSON],
    behavior: str,
    *,
    moment: int | None = None,
    restart: bool = False,
) -> Plan:
    """What a change of items would do; nothing is stored. `moment` is the time that prorations count from."""
    made = Plan(subscription, behavior, account.now() if moment is None else moment)
    old = {item["id"]: item for item in items_of(account, subscription["id"])}
    asked = {fields["id"]: fields for fields in wanted if fields.get("id")}
    kept = [(item, _altered(account, item, asked.get(item["id"], {}))) for item in old.values()]
    added = [
        item_form(account, subscription, fields, account.ids.new("si")) for fields in wanted if not fields.get("id")
    ]
    before = {interval_of(account, item) for item in old.values()}
    after = [new for _, new in kept if new is not None] + added
    if restart or (len(before) == 1 and any(interval_of(account, item) not in before for item in after)):
        _restart(account, made, kept, added)
    else:
        _adjust(account, made, kept, added)
    return made


def _altered(account: Account, item: JSON, fields: JSON) -> JSON | None:
    """The item after the change, None when it goes."""
    if fields.get("deleted"):
        return None
    new: JSON = {**item, "metadata": merged(item["metadata"], fields.get("metadata"))}
    new["price"] = str(fields.get("price", item["price"]))
    price = account.store.get("price", new["price"])
    if price["recurring"]["usage_type"] == "licensed":
        new["quantity"] = fields.get("quantity", item.get("quantity", 1))
    else:
        new.pop("quantity", None)
    return new


def _same_terms(old: JSON, new: JSON | None) -> bool:
    return new is not None and (old["price"], old.get("quantity")) == (new["price"], new.get("quantity"))


def _adjust(account: Account, made: Plan, kept: list[tuple[JSON, JSON | None]], added: list[JSON]) -> None:
    """The periods go on; what changed is closed at the old price and goes on at the new one."""
    specs: list[JSON] = []
    for old, new in kept:
        if not _same_terms(old, new):
            specs += _closing(account, old, made.moment)
            made.restarted.add(old["id"])
        if new is not None:
            if not _same_terms(old, new):
                price = account.store.get("price", new["price"])
                period = period_of(account, made.subscription, price, account.now())
                new["current_period_start"], new["current_period_end"] = period
                specs += remaining_specs(account, [new], made.moment)
            made.rows.append(new)
    made.rows += added
    specs += remaining_specs(account, added, made.moment)
    if made.behavior != "none":
        made.lines = [spec for spec in specs if spec["start"] < spec["end"]]


def _restart(account: Account, made: Plan, kept: list[tuple[JSON, JSON | None]], added: list[JSON]) -> None:
    """Every period starts anew now: all usage is closed, unused fees are credited, whole new fees are charged."""
    now = made.anchor = account.now()
    closing: list[JSON] = []
    for old, new in kept:
        unbilled = _closing(account, old, now)
        given_away = made.behavior == "none" and not _same_terms(old, new)
        credits = made.behavior != "none"
        closing += [spec for spec in unbilled if (spec["usage"] and not given_away) or (credits and not spec["usage"])]
        made.restarted.add(old["id"])
        made.rows += [new] if new is not None else []
    made.rows += added
    anchored = {**made.subscription, "billing_cycle_anchor": now}
    for row in made.rows:
        price = account.store.get("price", row["price"])
        row["current_period_start"], row["current_period_end"] = period_of(account, anchored, price, now)
    made.lines = [spec for spec in closing if spec["start"] < spec["end"]] + fee_specs(account, made.rows)


def _closing(account: Account, item: JSON, moment: int) -> list[JSON]:
    """Lines that end an item now, made from a copy because the item changes next."""
    if account.store.get("subscription", item["subscription"])["status"] == "trialing":
        return []
    old = dict(item)
    return usage_specs(account, [old], until=account.now()) + unused_specs(account, [old], moment)


def carry_out(account: Account, made: Plan) -> None:
    """Store the rows of a plan; its lines are not billed by this."""
    subscription, now = made.subscription, account.now()
    if made.anchor is not None:
        subscription["billing_cycle_anchor"] = made.anchor
    staying = {row["id"] for row in made.rows}
    for item in items_of(account, subscription["id"]):
        if item["id"] not in staying:
            account.store.remove("subscription_item", item["id"])
    for row in made.rows:
        known = account.store.find("subscription_item", row["id"])
        if known is None:
            account.store.add(row)
        else:
            known.clear()
            known.update(row)
        if row["id"] in made.restarted:
            account.billed_from[row["id"]] = now
            account.billed_before.pop(row["id"], None)
    cycle.schedule(account, subscription)
    entitlements.refresh(account, subscription)


def bill(account: Account, made: Plan, payment: str) -> None:
    """Put the lines of a plan on the next invoice, or on one made now."""
    waiting = account.pending_lines.setdefault(made.subscription["id"], [])
    waiting.extend(made.lines)
    if not made.immediate:
        return
    lines = account.pending_lines.pop(made.subscription["id"])
    invoice = invoicing.draft(account, made.subscription, "subscription_update", lines, None)
    if payment == "default_incomplete":
        invoicing.finalize(account, invoice)
        cycle.settle_status(account, invoice)
    else:
        cycle.collect(account, invoice)


def bill_first(account: Account, made: Plan, apply: Callable[[], None]) -> JSON:
    """Invoice a plan that happens only once it is paid; `apply` runs then, at the latest after 23 hours it is void."""
    invoice = invoicing.draft(account, made.subscription, "subscription_update", made.lines, None)
    account.pending_updates[invoice["id"]] = apply
    cycle.collect(account, invoice)
    return invoice
