"""The terms of catalogue objects, side by side: as the code states them and as Stripe has them, in words for people.

Owns which fields are compared and how each is written down. Says nothing about what to do with a difference.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from stripe_meter.domain.blueprint import FeatureSpec, MeterSpec, PriceSpec, ProductSpec, Tier
from stripe_meter.domain.found import FoundFeature, FoundMeter, FoundPrice, FoundProduct
from stripe_meter.domain.money import Money
from stripe_meter.domain.units import METADATA_UNIT, unit_said

#: Of every price we make: it cannot be changed later, and `unspecified` would block automatic tax.
TAX_BEHAVIOR = "exclusive"
_READS = ("stripe_customer_id", "value")
_NONE = "nothing"


@dataclass(frozen=True, slots=True)
class Difference:
    """One field: what Stripe has, and what the code says."""

    field: str
    stripe: str
    code: str


def feature(spec: FeatureSpec, it: FoundFeature) -> tuple[Difference, ...]:
    return _unequal(("name", it.name, spec.name), _active(it.active))


def product(spec: ProductSpec, it: FoundProduct) -> tuple[Difference, ...]:
    return _unequal(
        ("name", it.name, spec.name),
        ("unit label", it.unit_label or _NONE, spec.unit_label or _NONE),
        ("features", ", ".join(sorted(it.features)) or _NONE, ", ".join(sorted(spec.features)) or _NONE),
        _active(it.active),
    )


def meter(spec: MeterSpec, it: FoundMeter) -> tuple[Difference, ...]:
    return _unequal(("name", it.display_name, spec.display_name), _active(it.active))


def fixed(it: FoundMeter) -> tuple[Difference, ...]:
    """What is wrong with a meter and can never be changed."""
    return _unequal(("aggregation", it.formula, "sum"), ("payload keys", " and ".join(it.reads), " and ".join(_READS)))


def money(spec: PriceSpec, it: FoundPrice, meter_id: str | None) -> tuple[Difference, ...]:
    """Terms of a price that are fixed once it exists; `meter_id` is the meter that should count for it, if it exists.

    What a pack holds is among them although Stripe would let it be changed: who has bought it bought it so.
    """
    ours, theirs = dict(spec.amounts), dict(it.amounts)
    currencies = [code for code in {**theirs, **ours} if ours.get(code) != theirs.get(code)]
    tax = it.tax_behavior if it.tax_behavior not in (None, "unspecified") else TAX_BEHAVIOR
    return _unequal(
        ("product", it.product, spec.product),
        ("currency", next(iter(theirs), _NONE), next(iter(ours))),
        *((f"amount in {c.upper()}", tiers(c, theirs.get(c)), tiers(c, ours.get(c))) for c in currencies),
        ("interval", it.interval or "once", spec.interval or "once"),
        ("meter", it.meter or _NONE, _NONE if spec.meter is None else meter_id or f"a new one for {spec.meter}"),
        ("tax behavior", str(tax), TAX_BEHAVIOR),
        ("terms", ", ".join(it.oddities) or _NONE, _NONE),
        *((name, _said(name, it), value) for name, value in spec.metadata),
    )


def _said(name: str, it: FoundPrice) -> str:
    if name == METADATA_UNIT:
        return str(unit_said(it.metadata, it.nickname) or _NONE)
    return it.metadata.get(name, _NONE)


def words(spec: PriceSpec, it: FoundPrice) -> tuple[Difference, ...]:
    """What can be changed in place."""
    tax = it.tax_behavior or "unspecified"
    return _unequal(
        ("nickname", it.nickname or _NONE, spec.nickname or _NONE),
        _active(it.active),
        *([("tax behavior", tax, TAX_BEHAVIOR)] if tax == "unspecified" else []),
    )


def shown(spec: PriceSpec) -> str:
    """The terms of a price in short: `$0.05 or €0.04 each month by usage`."""
    return _short(spec.amounts, spec.interval, spec.meter)


def amounts(it: FoundPrice) -> str:
    """The same for one in Stripe."""
    return _short(it.amounts, it.interval, it.meter)


def tiers(currency: str, steps: tuple[Tier, ...] | None) -> str:
    """`nothing up to 100, then $0.25`."""
    if steps is None:
        return "not offered"
    parts = []
    for step in steps:
        amount = _NONE if step.unit_amount == 0 else str(Money(Decimal(step.unit_amount), currency))
        parts.append(amount if step.up_to is None else f"{amount} up to {step.up_to}")
    return ", then ".join(parts)


def _short(money: Iterable[tuple[str, tuple[Tier, ...]]], interval: str | None, meter: str | None) -> str:
    text = " or ".join(tiers(currency, steps) for currency, steps in money)
    if meter is not None:
        return f"{text} a unit"
    return text if interval is None else f"{text} a {interval}"


def _active(active: bool) -> tuple[str, str, str]:
    return "active", "yes" if active else "no", "yes"


def _unequal(*rows: tuple[str, str, str]) -> tuple[Difference, ...]:
    return tuple(Difference(*row) for row in rows if row[1] != row[2])
