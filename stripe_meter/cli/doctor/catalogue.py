"""Checks of the catalogue: whether all that the code sells is there, on its terms, and on people's subscriptions.

One small function for each thing that can be wrong. Pure.
"""

from __future__ import annotations

from decimal import Decimal

from stripe_meter.cli.doctor.case import Case, Said, some
from stripe_meter.domain import terms_of
from stripe_meter.domain.evidence import smallest_charge
from stripe_meter.domain.migration import Step, steps
from stripe_meter.domain.money import Money


def unheard_events(case: Case) -> Said:
    for change in case.differences:
        if change.what == "meter" and change.kind == "create":
            cost = "calls that count on it are refused; usage sent under this name is billed by nothing"
            yield f"no meter listens to the event name {change.name}", cost, case.apply


def archived_meters(case: Case) -> Said:
    wanted = {spec.event_name for spec in case.desired.blueprint.meters}
    held = {item.meter for one in case.evidence.subscribers for item in (*one.items, *one.next_items)}
    for meter in case.inventory.meters:
        listening = case.inventory.meter(meter.event_name)
        if not meter.active and (meter.id in held or (meter.event_name in wanted and listening is meter)):
            mend = case.apply if meter.event_name in wanted else f"stripe post /v1/billing/meters/{meter.id}/reactivate"
            cost = "Stripe takes its events and throws them away later, so nobody is billed"
            yield f"meter {meter.event_name} is switched off, but still counts for somebody", cost, mend


def wrong_aggregation(case: Case) -> Said:
    wanted = {spec.event_name for spec in case.desired.blueprint.meters}
    for meter in case.inventory.meters:
        wrong = terms_of.fixed(meter)
        if wrong and meter.active and (meter.event_name in wanted or case.target is None):
            told = ", ".join(f"{one.field} is {one.stripe}, not {one.code}" for one in wrong)
            mend = f"stripe post /v1/billing/meters/{meter.id}/deactivate && {case.apply} --subscriptions"
            yield f"meter {meter.event_name}: {told}", "every invoice of its tool is wrong, refunds included", mend


def prices_that_differ(case: Case) -> Said:
    for change in case.differences:
        if change.what == "price" and change.differences:
            told = "; ".join(f"{one.field}: Stripe has {one.stripe}, the code {one.code}" for one in change.differences)
            if change.note and not change.is_work:
                told += f" ({change.note})"
            mend = case.apply if change.is_work else change.command or change.note
            yield f"price {change.name}: {told}", "Stripe's terms are billed, whatever the code says", mend


def missing_objects(case: Case) -> Said:
    lacking = [
        f"{one.what} {one.name}"
        for one in case.differences
        if one.kind == "create" and one.is_work and one.what in ("price", "feature")
    ]
    if lacking:
        yield f"not set up: {some(lacking)}", "with a live key their tools are refused to everybody", case.apply


def lacking_items(case: Case) -> Said:
    found = [] if case.target is None else steps(case.desired, case.inventory, case.ours)
    mend = f"{case.apply} --subscriptions"
    if late := [step for step in found if step.kind == "lacks" and step.why_not is None]:
        told = some(f"{step.subscriber.customer} lacks {step.name}" for step in late)
        yield told, "usage on a meter without an item is never billed; the first call of each waits for it", mend
    if old := [step for step in found if step.kind == "old" and step.why_not is None]:
        told = some(f"{step.subscriber.customer} pays {step.name} as {step.shown.partition(' → ')[0]}" for step in old)
        yield told, "they are billed by a price that is not in force any more", mend
    yield from (_stuck(step) for step in found if step.why_not is not None)


def _stuck(step: Step) -> tuple[str, str, str]:
    """A subscription that Stripe would not let be brought up to date."""
    who = step.subscriber.customer
    refused = f"{step.name} is refused to {who}, who pays for a subscription"
    if step.kind == "lacks":
        return f"{who} lacks {step.name}: {step.why_not}", refused, f"stripe get /v1/subscriptions/{step.subscriber.id}"
    cost = refused if step.is_stranded else "they are billed by a price that is not in force any more"
    return f"{who} cannot be moved to the price in force of {step.name}: {step.why_not}", cost, step.subscriber.ending


def lost_plans(case: Case) -> Said:
    for change in case.differences:
        if change.what == "plan":
            cost = "they pay its fee, and calls beyond the included ones are refused until they choose another plan"
            yield f"plan {change.name}: {change.note}", cost, change.command


def small_prices(case: Case) -> Said:
    for spec in case.desired.blueprint.prices:
        if spec.meter is None:
            for currency, tiers in spec.amounts:
                amount = tiers[0].unit_amount
                if 0 < amount < smallest_charge(currency):
                    told = f"{spec.lookup_key} costs {Money(amount, currency)}, less than Stripe's smallest charge"
                    least = Money(Decimal(smallest_charge(currency)), currency)
                    yield told, "Checkout refuses it, so nobody can buy it", f"price it at {least} or more"
