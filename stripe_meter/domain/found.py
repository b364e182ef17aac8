"""What a Stripe account holds under one namespace: the catalogue as it is, and who is subscribed to it.

Owns the frozen shapes that a comparison with the code needs, without a word about how they were read. An object is
ours when its metadata says so; meters have no metadata, so theirs is said by their event name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from stripe_meter.domain.blueprint import Tier
from stripe_meter.domain.units import Unit

#: Metadata key that marks what this library made; its value is the namespace.
MARK: Final = "stripe_meter"


@dataclass(frozen=True, slots=True)
class FoundFeature:
    """An entitlement feature."""

    id: str
    lookup_key: str
    name: str
    active: bool
    ours: bool


@dataclass(frozen=True, slots=True)
class FoundProduct:
    """A product; `features` are the lookup keys of the attached features of our namespace."""

    id: str
    name: str
    unit_label: str | None
    active: bool
    ours: bool
    features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FoundMeter:
    """A meter.

    Attributes:
        formula: Stripe's word; ours is `sum`.
        reads: Payload keys of customer and value; ours are `stripe_customer_id` and `value`.
    """

    id: str
    event_name: str
    display_name: str
    formula: str
    active: bool
    reads: tuple[str, str] = ("stripe_customer_id", "value")


@dataclass(frozen=True, slots=True)
class FoundPrice:
    """A price.

    Attributes:
        lookup_key: None when another price took it over.
        amounts: Tiers in minor units by lower-case currency, the default currency first.
        interval: `month`, `3 month`, or None for what is paid once.
        meter: `mtr_…` of what it bills, or None.
        oddities: Terms that we never use, in words, such as `volume tiers`.
    """

    id: str
    lookup_key: str | None
    product: str
    nickname: str | None
    amounts: tuple[tuple[str, tuple[Tier, ...]], ...]
    interval: str | None
    meter: str | None
    tax_behavior: str | None
    metadata: Mapping[str, str]
    active: bool
    ours: bool
    oddities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Inventory:
    """The catalogue of one namespace, and what stands under its names without being ours."""

    features: tuple[FoundFeature, ...] = ()
    products: tuple[FoundProduct, ...] = ()
    meters: tuple[FoundMeter, ...] = ()
    prices: tuple[FoundPrice, ...] = ()

    def price(self, lookup_key: str) -> FoundPrice | None:
        """The price of a lookup key; Stripe lets only one have it."""
        return next((price for price in self.prices if price.lookup_key == lookup_key), None)

    def meter(self, event_name: str) -> FoundMeter | None:
        """The meter of an event name: the active one, which there is only one of, else any."""
        found = [meter for meter in self.meters if meter.event_name == event_name]
        return next((meter for meter in found if meter.active), found[0] if found else None)


@dataclass(frozen=True, slots=True)
class Holding:
    """One item of a subscription.

    Attributes:
        id: `si_…`.
        price: `price_…` that it is billed by.
        product: Of that price; a product keeps its id when its price is replaced.
        meter: `mtr_…` that it counts on, or None.
        unit_amount: Minor units in the subscription's currency; None where the price does not show them.
        unit: What that is paid for; None where the price does not say.
        interval: `month`, `3 month`.
    """

    id: str
    price: str
    product: str
    meter: str | None
    unit_amount: Decimal | None = None
    unit: Unit | None = None
    interval: str | None = None


@dataclass(frozen=True, slots=True)
class Subscriber:
    """A live subscription.

    Attributes:
        id: `sub_…`.
        customer: `cus_…`.
        plan: Name of the plan it was bought as; None for one that does not say.
        status: Stripe's word.
        currency: Lower-case ISO code.
        created: Unix seconds.
        ours: Whether it carries our mark.
        items: All of its items.
        schedule: `sub_sched_…` that stands on it, or None.
        next_plan: Name of the plan that it changes to by that schedule, or None.
        next_items: What it will be billed by then; their ids are empty.
    """

    id: str
    customer: str
    plan: str | None
    status: str
    currency: str
    created: int
    ours: bool
    items: tuple[Holding, ...] = field(default=())
    schedule: str | None = None
    next_plan: str | None = None
    next_items: tuple[Holding, ...] = field(default=())

    @property
    def ending(self) -> str:
        """What to type so that it ends with its period, which is paid for; its customer can subscribe anew then."""
        end = f"stripe post /v1/subscriptions/{self.id} -d cancel_at_period_end=true"
        # Stripe takes no cancellation while a schedule stands on it.
        return f"{self.staying} && {end}" if self.schedule else end

    @property
    def staying(self) -> str:
        """What to type so that a change that was ordered does not begin."""
        return f"stripe post /v1/subscription_schedules/{self.schedule}/release"
