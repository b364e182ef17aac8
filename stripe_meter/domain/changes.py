"""The difference between what the code wants and what Stripe holds, as a list of changes in the order of making them.

Owns what counts as a difference, which one can be mended, and what is better left to a person. Pure: `plan` shows the
list and `apply` works it off, so both always mean the same.

    create      is missing
    change      exists on other terms; the money terms of a price are fixed, so it is replaced by a new one
    archive     ours, and the code no longer wants it
    renamed     something vanished while something alike is new: perhaps one and the same
    unmanaged   stands under one of our names, but somebody else made it; never touched
    kept        no longer wanted, but somebody depends on it
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from stripe_meter.domain import terms_of
from stripe_meter.domain.blueprint import FeatureSpec, MeterSpec, Names, PriceSpec, ProductSpec
from stripe_meter.domain.change import Change
from stripe_meter.domain.desired import Desired
from stripe_meter.domain.found import MARK, FoundMeter, FoundPrice, Inventory, Subscriber
from stripe_meter.domain.leftovers import holders_of, leftovers, lost_plans, people
from stripe_meter.domain.migration import stranded
from stripe_meter.domain.plans import PayAsYouGo
from stripe_meter.domain.renames import renames
from stripe_meter.domain.units import METADATA_EARLIER, METADATA_UNIT, is_uncounted, unit_said


def changes(
    wanted: Desired, found: Inventory, subscribers: Sequence[Subscriber] = (), *, credits_sold: bool = False
) -> list[Change]:
    """Everything that differs.

    Args:
        wanted: By the code.
        found: In Stripe.
        subscribers: Live subscriptions, with ordered changes; they keep a plan, or a meter, from being taken away.
        credits_sold: Whether anybody may hold credits, whose unit must not change then.
    """
    blueprint, namespace = wanted.blueprint, wanted.namespace
    made = [
        *(change for feature in blueprint.features if (change := _feature(feature, found, namespace))),
        *(change for product in blueprint.products if (change := _product(product, found, namespace))),
        *(change for meter in blueprint.meters if (change := _meter(meter, found))),
        *(
            change
            for price in blueprint.prices
            if (change := _price(price, found, namespace, subscribers, credits_sold))
        ),
    ]
    made = [_after(change, made) for change in made]
    left = list(leftovers(wanted, found, subscribers))
    hung = [*stranded(wanted, found, subscribers), *lost_plans(wanted, subscribers)]
    return [*_renamed(namespace, made, left), *made, *left, *hung]


def needs_subscribers(wanted: Desired, found: Inventory, listed: Iterable[Change]) -> bool:
    """Whether subscriptions have to be looked at before the list is final."""
    prices = [found.price(spec.lookup_key) for spec in wanted.blueprint.prices]
    return (
        any(change.kind == "archive" or change.replaces for change in listed)
        or any(METADATA_EARLIER in price.metadata for price in prices if price is not None)
        or _sold_other_plans(wanted, found)
    )


def _sold_other_plans(wanted: Desired, found: Inventory) -> bool:
    """Whether anybody can be on a plan that the code does not know: what it was made of stays, even archived."""
    names = Names(wanted.namespace)
    known = {spec.id for spec in wanted.blueprint.products}
    ours = [product.id for product in found.products if product.ours]
    if any(names.is_of_plan(product) and product not in known for product in ours):
        return True
    # Pay-as-you-go has no product of its own, only those of its tools, which live on under its new name.
    return PayAsYouGo().name not in wanted.plans and any(names.is_of_tool(product) for product in ours)


def changes_credit_unit(listed: Iterable[Change]) -> bool:
    """Whether it matters if anybody holds credits."""
    return any(
        difference.field in ("scale", "currency")
        for change in listed
        if isinstance(change.spec, PriceSpec) and "scale" in dict(change.spec.metadata)
        for difference in change.differences
    )


def _renamed(namespace: str, made: Iterable[Change], left: Iterable[Change]) -> Iterator[Change]:
    new = [change.name for change in made if change.kind == "create" and change.what == "price"]
    gone = [change.name for change in left if change.kind in ("archive", "kept") and change.what == "price"]
    for one in renames(namespace, gone, new):
        note = f"if it is the same under a new name, keep the old one: {one.line}"
        yield Change("renamed", "price", one.old, shown=one.new, note=note)


def _feature(spec: FeatureSpec, found: Inventory, namespace: str) -> Change | None:
    it = next((feature for feature in found.features if feature.lookup_key == spec.lookup_key), None)
    if it is None:
        return Change("create", "feature", spec.lookup_key, spec=spec, shown=spec.name)
    change = Change("change", "feature", spec.lookup_key, it.id, spec, terms_of.feature(spec, it))
    return _mine(change, it.ours, namespace)


def _product(spec: ProductSpec, found: Inventory, namespace: str) -> Change | None:
    it = next((product for product in found.products if product.id == spec.id), None)
    if it is None:
        return Change("create", "product", spec.id, spec=spec, shown=spec.name)
    return _mine(Change("change", "product", spec.id, it.id, spec, terms_of.product(spec, it)), it.ours, namespace)


def _meter(spec: MeterSpec, found: Inventory) -> Change | None:
    it = _listening(spec.event_name, found)
    if it is None:
        return Change("create", "meter", spec.event_name, spec=spec, shown="sums units")
    change = Change("change", "meter", spec.event_name, it.id, spec, terms_of.meter(spec, it))
    if fixed := terms_of.fixed(it):
        note = "bills wrongly, and Stripe cannot change it"
        command = (
            f"switch it off and apply again: stripe post /v1/billing/meters/{it.id}/deactivate, "
            "or give the tool another meter with name=…"
        )
        return replace(change, kind="unmanaged", differences=fixed, note=note, command=command, by_hand=True)
    return change if change.differences else None


def _listening(event_name: str, found: Inventory) -> FoundMeter | None:
    """The meter to build upon; one that is switched off and counts wrongly is nobody's any more."""
    it = found.meter(event_name)
    return it if it is None or it.active or not terms_of.fixed(it) else None


def _price(
    spec: PriceSpec, found: Inventory, namespace: str, subscribers: Sequence[Subscriber], credits_sold: bool
) -> Change | None:
    it = found.price(spec.lookup_key)
    if it is None:
        return Change("create", "price", spec.lookup_key, spec=spec, shown=terms_of.shown(spec))
    meter = _listening(spec.meter, found) if spec.meter is not None else None
    fixed = terms_of.money(spec, it, meter.id if meter is not None else None)
    change = Change(
        "change", "price", spec.lookup_key, it.id, spec, fixed or terms_of.words(spec, it), replaces=bool(fixed)
    )
    if change.replaces and (holders := holders_of(it.id, subscribers)):
        note = f"{people(holders)} on the old price until `apply --subscriptions`"
        if _is_lost(spec, it):
            note += ", and their calls are refused until then: nothing counts what it is paid for"
        change = replace(change, note=note)
    if credits_sold and changes_credit_unit([change]):
        note = "credits are already held in the old unit or currency, and would change their worth"
        command = (
            "in your code, choose prices that are whole in the unit and keep the currency, "
            "or sell them under another STRIPE_METER_NAMESPACE"
        )
        change = replace(change, note=note, command=command, by_hand=True)
    return _mine(change, it.ours, namespace)


def _is_lost(spec: PriceSpec, it: FoundPrice) -> bool:
    """Whether the code has stopped to count what the price in Stripe is paid for."""
    return is_uncounted(unit_said(it.metadata, it.nickname), unit_said(dict(spec.metadata), None))


def earlier_units(spec: PriceSpec, it: FoundPrice) -> dict[str, str]:
    """Metadata for a new price in place of `it`: which units nobody counts any more people may still pay for."""
    units = {unit for unit in it.metadata.get(METADATA_EARLIER, "").split(",") if unit}
    if _is_lost(spec, it):
        units.add(str(unit_said(it.metadata, it.nickname) or "?"))
    units.discard(dict(spec.metadata).get(METADATA_UNIT, ""))
    return {METADATA_EARLIER: ",".join(sorted(units))} if units else {}


def _after(change: Change, made: Sequence[Change]) -> Change:
    """`change`, left to a person too if it is a new price on a meter that is."""
    meter = change.spec.meter if isinstance(change.spec, PriceSpec) else None
    if change.is_work and any(one.by_hand and one.what == "meter" and one.name == meter for one in made):
        return replace(change, by_hand=True, note=f"waits until the meter {meter} is mended")
    return change


#: Where objects are that people can hand over to us.
_PATHS: Final = {"feature": "/v1/entitlements/features", "product": "/v1/products", "price": "/v1/prices"}


def _mine(change: Change, ours: bool, namespace: str) -> Change | None:
    """`change` for an object of ours; for somebody else's only a word about it."""
    if ours:
        return change if change.differences else None
    if not change.differences:
        return replace(change, kind="unmanaged", note="made by somebody else; used as it is")
    path = f"{_PATHS[change.what]}/{change.id}"
    command = f'hand this {change.what} over and apply again: stripe post {path} -d "metadata[{MARK}]={namespace}"'
    if change.what == "price":
        command += f", or take its name away: stripe post {path} -d lookup_key="
    return replace(change, kind="unmanaged", note="made by somebody else", command=command, by_hand=True)
