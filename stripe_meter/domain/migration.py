"""Bringing existing subscribers up to date: the items they lack, and the old prices they are still billed by.

Owns what each subscription should hold, by its plan. Adding a tool to the code does not add it to anybody's
subscription, and Stripe takes usage that no item bills in silence. Never takes an item away. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from stripe_meter.domain.blueprint import MOST_ITEMS, PriceSpec
from stripe_meter.domain.change import Change
from stripe_meter.domain.desired import Desired
from stripe_meter.domain.found import FoundPrice, Holding, Inventory, Subscriber
from stripe_meter.domain.money import Money
from stripe_meter.domain.terms_of import tiers
from stripe_meter.domain.units import is_uncounted, unit_said

#: Metadata key of an item whose price was replaced in mid-period: Unix seconds from which the new one counts.
METADATA_SINCE: Final = "stripe_meter_since"
#: In these Stripe takes no change of items that would ever be billed.
_OVER = frozenset({"incomplete", "incomplete_expired", "canceled"})


@dataclass(frozen=True, slots=True)
class Step:
    """One item to be added to a subscription, or moved to the price in force.

    Attributes:
        kind: `lacks` an item, or is billed by an `old` price.
        subscriber: Whose.
        price: `price_…` that they should have.
        name: Its lookup key.
        item: `si_…` to be moved; None for one to be added.
        metered: Whether usage is billed by it.
        shown: Before and after, for people.
        why_not: Why Stripe would refuse it; None when it can be done.
        is_stranded: Whether their calls are refused until then, because nobody counts what they pay for.
    """

    kind: Literal["lacks", "old"]
    subscriber: Subscriber
    price: str
    name: str
    item: str | None
    metered: bool
    shown: str
    why_not: str | None = None
    is_stranded: bool = False


def stranded(wanted: Desired, found: Inventory, subscribers: Sequence[Subscriber]) -> Iterator[Change]:
    """Prices whose older versions people are still on, and cannot be billed by; for a person to decide."""
    held: dict[str, list[Step]] = {}
    for step in steps(wanted, found, subscribers):
        if step.is_stranded:
            held.setdefault(step.name, []).append(step)
    for name, those in held.items():
        people = "1 customer is" if len(those) == 1 else f"{len(those)} customers are"
        named = ", ".join(step.subscriber.customer for step in those[:3]) + (", …" if len(those) > 3 else "")
        note = f"{people} on an old price ({named}), and their calls are refused: nothing counts what it is paid for"
        stuck = next((step for step in those if step.why_not is not None), None)
        command = "move them: stripe-meter apply server.py --subscriptions"
        if stuck is not None:
            command += f"; {stuck.subscriber.customer} cannot be moved: {stuck.subscriber.ending}"
        yield Change("kept", "price", name, note=note, command=command, by_hand=True)


def steps(wanted: Desired, found: Inventory, subscribers: Sequence[Subscriber]) -> list[Step]:
    """What has to be done so that every subscriber of a plan on sale holds its prices in force."""
    return [
        step
        for one in subscribers
        if one.ours and one.status not in _OVER
        for step in _of(one, wanted, found, wanted.plans.get(wanted.plan_of(one.plan), ()))
    ]


def _of(one: Subscriber, wanted: Desired, found: Inventory, keys: Sequence[str]) -> Iterator[Step]:
    room = MOST_ITEMS - len(one.items)
    for key in keys:
        price, spec = found.price(key), wanted.blueprint.price(key)
        if price is None or not price.active or any(item.price == price.id for item in one.items):
            continue
        item = next((item for item in one.items if item.product == price.product), None)
        shown = f"{_before(item, one.currency, spec)} → {tiers(one.currency, dict(price.amounts).get(one.currency))}"
        why_not = _why_not(one, spec, price, room if item is None else 1, item or next(iter(one.items), None))
        yield Step(
            "lacks" if item is None else "old",
            one,
            price.id,
            key,
            None if item is None else item.id,
            price.meter is not None,
            shown,
            why_not,
            item is not None and is_uncounted(item.unit, unit_said(dict(spec.metadata), None)),
        )
        room -= item is None


def _why_not(one: Subscriber, spec: PriceSpec, price: FoundPrice, room: int, beside: Holding | None) -> str | None:
    if beside is not None and beside.interval not in (None, price.interval):
        return (
            f"it is paid each {beside.interval} and {spec.lookup_key} each {price.interval}, which Stripe would bill "
            "at once; end it at the end of its period, and its customer can subscribe anew"
        )
    if one.currency not in dict(price.amounts):
        return (
            f"it is paid in {one.currency.upper()}, which {spec.lookup_key} does not have; name a price in "
            f"{one.currency.upper()} in the code"
        )
    return None if room > 0 else f"it has {MOST_ITEMS} items already, the most that Stripe allows"


def _before(item: Holding | None, currency: str, spec: PriceSpec) -> str:
    if item is None:
        return "no item"
    amount = "an older price" if item.unit_amount is None else str(Money(item.unit_amount, currency))
    wanted = unit_said(dict(spec.metadata), None)
    if wanted is None or item.unit == wanted:
        return amount
    shown = f"{amount} per {item.unit or 'what it does not say'}"
    return f"{shown} (refused: nobody counts that)" if is_uncounted(item.unit, wanted) else shown
