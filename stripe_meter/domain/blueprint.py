"""What has to exist in Stripe for an offering: features, products, meters, prices, by the names Stripe keeps unique.

Owns those names and the exact terms of each object. Pure, so `plan` can show it, `apply` can make it, and a server can
find it, all from the same values. Nothing of what is written here can be changed in Stripe afterwards but names.

    per tool (or price)     meter and metered price `<namespace>.<tool>`
    per subscription plan   fee `<namespace>:plan:<name>` and metered price `<namespace>:plan:<name>:calls`, whose
                            first tier is the included calls; all plans count on the meter `<namespace>:calls`
    per credit pack         one-time price `<namespace>:pack:<name>`; used credits show on the meter
                            `<namespace>:credits`
    free calls              the meter `<namespace>:free`, without a price
    spend cap               the meter `<namespace>:spend`, without a price, in millionths of a minor unit
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from stripe_meter.domain.offering import Offering
from stripe_meter.domain.plans import Credits, Free, PayAsYouGo, Subscription, discounted
from stripe_meter.domain.rates import Rate
from stripe_meter.domain.terms import slug
from stripe_meter.domain.tools import Tool
from stripe_meter.domain.units import LONGEST_NICKNAME, METADATA_UNIT, unit_of
from stripe_meter.errors import ConfigurationError

#: Stripe's bound on the items of one subscription.
MOST_ITEMS = 20


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """An entitlement feature, found by `lookup_key`."""

    lookup_key: str
    name: str


@dataclass(frozen=True, slots=True)
class ProductSpec:
    """A product, found by its id, which we choose. `features` are lookup keys."""

    id: str
    name: str
    unit_label: str | None = None
    features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MeterSpec:
    """A meter, found by `event_name`. It sums, always: corrections are negative events."""

    event_name: str
    display_name: str


@dataclass(frozen=True, slots=True)
class Tier:
    """Units up to `up_to` (inclusive; None is without end) cost `unit_amount` minor units each."""

    up_to: int | None
    unit_amount: Decimal


@dataclass(frozen=True, slots=True)
class PriceSpec:
    """A price, found by `lookup_key`.

    Attributes:
        amounts: Tiers for each lower-case currency, the default currency first; one tier without end is a plain amount.
        interval: Of billing; None for what is paid once.
        meter: Event name of the meter that counts for it; None for a fee and for what is paid once.
        metadata: What readers of the price need beside its amounts.
    """

    lookup_key: str
    product: str
    nickname: str
    amounts: tuple[tuple[str, tuple[Tier, ...]], ...]
    interval: Literal["month", "year"] | None = None
    meter: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Blueprint:
    """All of it, in the order in which it can be created."""

    namespace: str
    features: tuple[FeatureSpec, ...]
    products: tuple[ProductSpec, ...]
    meters: tuple[MeterSpec, ...]
    prices: tuple[PriceSpec, ...]

    def price(self, lookup_key: str) -> PriceSpec:
        return next(price for price in self.prices if price.lookup_key == lookup_key)


class Names:
    """How things of one namespace are called in Stripe. A colon keeps what is ours apart from every tool's name."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.calls = f"{namespace}:calls"
        self.credits = f"{namespace}:credits"
        self.free = f"{namespace}:free"
        self.spend = f"{namespace}:spend"

    def tool(self, tool: Tool, plan: PayAsYouGo) -> str:
        """Event name of the meter of a tool under pay-as-you-go, and lookup key of its price."""
        if plan.meter == "tool":
            return f"{self.namespace}.{tool.name}"
        rates = " ".join(f"{rate} {rate.currency}" for rate in tool.money_rates)
        return f"{self.namespace}:price:{slug(str(tool.money_rates[0]))}-{_digest(rates)}"

    def fee(self, plan: Subscription) -> str:
        return f"{self.namespace}:plan:{plan.name}"

    def plan_calls(self, plan: Subscription) -> str:
        return f"{self.namespace}:plan:{plan.name}:calls"

    def pack(self, key: str) -> str:
        return f"{self.namespace}:pack:{key}"

    def feature(self, name: str) -> str:
        return f"{self.namespace}:{name}"

    def product(self, key: str) -> str:
        """A readable id for the product behind a lookup key; the digest keeps apart what the characters do not."""
        return f"{_readable(key)}_{_digest(key)}"

    def is_of_plan(self, product: str) -> bool:
        """Whether a product's id reads like one behind a subscription plan."""
        return product.startswith(_readable(f"{self.namespace}:plan:"))

    def is_of_tool(self, product: str) -> bool:
        """Whether it reads like one behind a tool, or a price that tools share."""
        return not product.startswith(tuple(_readable(f"{self.namespace}:{kind}:") for kind in ("plan", "pack")))


def blueprint(offering: Offering, tools: Iterable[Tool], namespace: str) -> Blueprint:
    """What `offering` needs for `tools`.

    Raises:
        ConfigurationError: A subscription would need more than twenty items, or an amount is finer than Stripe bills.
    """
    names = Names(namespace)
    sold = sorted((tool for tool in tools if not tool.is_free), key=lambda tool: tool.name)
    products: dict[str, ProductSpec] = {}
    meters: dict[str, MeterSpec] = {}
    prices: dict[str, PriceSpec] = {}
    features: dict[str, FeatureSpec] = {}

    def put(product: ProductSpec, price: PriceSpec, meter: MeterSpec | None = None) -> None:
        products[product.id] = product
        prices[price.lookup_key] = price
        if meter is not None:
            meters[meter.event_name] = meter

    for plan in offering.plans:
        if isinstance(plan, PayAsYouGo):
            payable = [tool for tool in sold if offering.rate(tool, plan) is not None]
            for tool in payable:
                put(*_pay_as_you_go(names, plan, tool))
            _check_items(len({names.tool(tool, plan) for tool in payable}), plan)
        elif isinstance(plan, Subscription):
            for feature in plan.features:
                features[feature] = FeatureSpec(names.feature(feature), feature)
            put(*_fee(names, plan))
            put(*_included(names, plan))
        elif isinstance(plan, Credits):
            scale = offering.scale(sold)
            for pack in plan.packs:
                product = ProductSpec(names.product(names.pack(pack.key)), f"{pack.credits} credits: {pack.name}")
                held = (("credits", str(pack.credits)), ("scale", str(scale)))
                amounts = ((pack.amount.currency, (Tier(None, pack.amount.minor),)),)
                put(product, PriceSpec(names.pack(pack.key), product.id, pack.name, amounts, metadata=held))
            meters[names.credits] = MeterSpec(names.credits, f"credits ({namespace})")
        elif isinstance(plan, Free) and plan.calls:
            meters[names.free] = MeterSpec(names.free, f"free calls ({namespace})")
    if offering.cap is not None:
        meters[names.spend] = MeterSpec(names.spend, f"spending ({namespace})")
    return Blueprint(
        namespace, tuple(features.values()), tuple(products.values()), tuple(meters.values()), tuple(prices.values())
    )


def _pay_as_you_go(names: Names, plan: PayAsYouGo, tool: Tool) -> tuple[ProductSpec, PriceSpec, MeterSpec]:
    key = names.tool(tool, plan)
    shown = tool.name if plan.meter == "tool" else f"Calls at {tool.money_rates[0]}"
    product = ProductSpec(names.product(key), shown, unit_label(tool.money_rates[0]))
    amounts = tuple((str(rate.currency), _discount_tiers(rate, plan)) for rate in tool.money_rates)
    unit = ((METADATA_UNIT, str(unit_of(tool.money_rates[0]))),)
    price = PriceSpec(key, product.id, tool.price[:LONGEST_NICKNAME], amounts, "month", key, unit)
    return product, price, MeterSpec(key, shown)


def _discount_tiers(rate: Rate, plan: PayAsYouGo) -> tuple[Tier, ...]:
    """Graduated: each unit is paid at the price of its own tier."""
    amount, tiers = rate.unit_amount, []
    for after, less in plan.volume_discounts:
        tiers.append(Tier(after, amount))
        amount = discounted(rate.unit_amount, Decimal(less))
    return (*tiers, Tier(None, amount))


def _fee(names: Names, plan: Subscription) -> tuple[ProductSpec, PriceSpec]:
    key = names.fee(plan)
    product = ProductSpec(names.product(key), plan.name, features=tuple(names.feature(name) for name in plan.features))
    amounts = tuple((amount.currency, (Tier(None, amount.minor),)) for amount in plan.fee.amounts)
    return product, PriceSpec(key, product.id, str(plan.fee), amounts, plan.fee.interval)


def _included(names: Names, plan: Subscription) -> tuple[ProductSpec, PriceSpec, MeterSpec]:
    key = names.plan_calls(plan)
    product = ProductSpec(names.product(key), f"{plan.name} calls", "call")
    beyond: Mapping[str, Decimal] = {amount.currency: amount.minor for amount in plan.overage_amounts}
    amounts = []
    for fee in plan.fee.amounts:
        last = Tier(None, beyond.get(fee.currency, Decimal(0)))
        amounts.append((fee.currency, (Tier(plan.included, Decimal(0)), last) if plan.included else (last,)))
    shown = f"{plan.included} calls included" + (
        f", then {' or '.join(map(str, plan.overage_amounts))}" if plan.overage else ""
    )
    price = PriceSpec(key, product.id, shown[:LONGEST_NICKNAME], tuple(amounts), plan.fee.interval, names.calls)
    return product, price, MeterSpec(names.calls, f"calls ({names.namespace})")


def unit_label(rate: Rate) -> str:
    """What an invoice calls one metered unit; Stripe takes twelve characters."""
    return str(unit_of(rate))[:12]


def _check_items(count: int, plan: PayAsYouGo) -> None:
    if count > MOST_ITEMS:
        raise ConfigurationError(
            f"{count} priced tools, but a Stripe subscription holds {MOST_ITEMS} items; let tools of equal price share "
            f'a meter with PayAsYouGo(meter="{"price" if plan.meter == "tool" else "tool"}"), '
            "or a billing identity with name="
        )


def _readable(key: str) -> str:
    return "stripe_meter_" + key.replace(".", "_").replace(":", "_")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
