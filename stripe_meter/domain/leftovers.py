"""What an account holds of ours and the code no longer wants, and who still depends on it.

Owns the question whether it can be archived. A meter that somebody is billed by is never switched off, for that would
swallow their usage; a plan that somebody pays for is never taken away behind their back. Whoever has ordered a change
to a plan counts as on it, for Stripe will begin it whatever became of its prices. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from stripe_meter.domain import terms_of
from stripe_meter.domain.change import Change, Kind
from stripe_meter.domain.desired import Desired, key_of
from stripe_meter.domain.found import FoundMeter, FoundPrice, Holding, Inventory, Subscriber
from stripe_meter.domain.offering import Retired


def leftovers(wanted: Desired, found: Inventory, subscribers: Sequence[Subscriber]) -> Iterator[Change]:
    """Prices first: a meter with a price, or a product with one, is still in use."""
    blueprint = wanted.blueprint
    names = {key_of(spec) for specs in (blueprint.prices, blueprint.products, blueprint.meters, blueprint.features)
             for spec in specs}  # fmt: skip
    lost = {price.id for price in found.prices if price.active and _of_lost_plan(price, wanted, subscribers)}
    needed = {price.product for price in found.prices if price.id in lost}
    for price in found.prices:
        if price.active and price.lookup_key not in names:
            name, shown = price.lookup_key or price.id, terms_of.amounts(price)
            if not price.ours:
                yield Change("unmanaged", "price", name, price.id, shown=shown, note="made by somebody else; not used")
            elif price.id in lost:
                yield Change(
                    "kept", "price", name, price.id, shown=shown, note="customers are on its plan or ordered it"
                )
            else:
                note = "" if price.lookup_key is not None else "replaced by another price"
                if holders := holders_of(price.id, subscribers):
                    note = f"{people(holders)} on it; nobody new can buy it"
                yield Change("archive", "price", name, price.id, shown=shown, note=note)
    for meter in found.meters:
        if meter.active and meter.event_name not in names:
            yield _unwanted_meter(meter, subscribers)
    for product in found.products:
        if product.active and product.id not in names:
            if not product.ours:
                note = "made by somebody else; not used"
                yield Change("unmanaged", "product", product.id, product.id, shown=product.name, note=note)
            elif product.id not in needed:
                yield Change("archive", "product", product.id, product.id, shown=product.name)
    for feature in found.features:
        if feature.active and feature.lookup_key not in names:
            kind: Kind = "archive" if feature.ours else "unmanaged"
            note = "" if feature.ours else "made by somebody else; not used"
            if not (lost and feature.ours):
                yield Change(kind, "feature", feature.lookup_key, feature.id, shown=feature.name, note=note)


def _unwanted_meter(meter: FoundMeter, subscribers: Sequence[Subscriber]) -> Change:
    held = [one for one in subscribers if any(item.meter == meter.id for item in (*one.items, *one.next_items))]
    if not held:
        return Change("archive", "meter", meter.event_name, meter.id, shown="switched off, never deleted")
    note = f"{people(held)} billed by it; switched off, it would swallow what is still to be billed"
    return Change("kept", "meter", meter.event_name, meter.id, note=note)


def _of_lost_plan(price: FoundPrice, wanted: Desired, subscribers: Sequence[Subscriber]) -> bool:
    return any(
        item.product == price.product for one in subscribers for _, items in _lost(one, wanted) for item in items
    )


def _lost(one: Subscriber, wanted: Desired) -> Iterator[tuple[str, tuple[Holding, ...]]]:
    """Of the plan that a subscription is on and the one it changes to: what the code does not know, with its items."""
    for plan, items in ((wanted.plan_of(one.plan), one.items), (one.next_plan, one.next_items)):
        if one.ours and plan is not None and plan not in wanted.plans:
            yield plan, items


def lost_plans(wanted: Desired, subscribers: Sequence[Subscriber]) -> Iterator[Change]:
    """Plans that customers are on and the code does not know; what becomes of these is for a person to decide."""
    for plan in sorted({plan for one in subscribers for plan, _ in _lost(one, wanted)}):
        on = [one for one in subscribers if one.ours and wanted.plan_of(one.plan) == plan]
        coming = [one for one in subscribers if one.ours and one.next_plan == plan]
        told = [f"{people(on)} on it ({_named(on)})"] if on else []
        told += [f"{len(coming)} ordered a change to it ({_named(coming)})"] if coming else []
        ways = "; and ".join(_ways(on, coming, wanted))
        yield Change(
            "kept",
            "plan",
            plan,
            note=f"it {Retired(plan).outcome}; {', and '.join(told)}",
            command=f"put it back into the code, or {ways}",
            by_hand=True,
        )


def _ways(on: Sequence[Subscriber], coming: Sequence[Subscriber], wanted: Desired) -> Iterator[str]:
    """What to do about each who is on a lost plan, or has ordered a change to it."""
    stuck = [one for one in on if one.next_plan not in wanted.plans]
    if stuck:
        yield f"end each subscription with its period: {stuck[0].ending}"
    elif on:
        yield "wait, for with their next period all of them change to a plan that is sold"
    if coming:
        yield f"take each ordered change back: {coming[0].staying}"


def _named(holders: Sequence[Subscriber]) -> str:
    return ", ".join(one.customer for one in holders[:3]) + (", …" if len(holders) > 3 else "")


def holders_of(price: str, subscribers: Iterable[Subscriber]) -> list[Subscriber]:
    """Who is billed by a price (`price_…`)."""
    return [one for one in subscribers if any(item.price == price for item in one.items)]


def people(holders: Sequence[object]) -> str:
    """How many they are, with the verb."""
    return "1 customer is" if len(holders) == 1 else f"{len(holders)} customers are"
