"""The catalogue: the features, products, meters and prices of a blueprint, as they are in Stripe.

Owns finding them by what Stripe keeps unique – price and feature by `lookup_key`, product by an id we choose, meter by
`event_name` – and creating what is missing where that is allowed. Never changes an object that exists; `editing`
does. Two processes may do this at once: the second one finds what the first one made.

Metered prices: https://docs.stripe.com/api/prices/create · Meters: https://docs.stripe.com/api/billing/meter/create
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from stripe_meter.domain.blueprint import Blueprint, FeatureSpec, MeterSpec, PriceSpec, ProductSpec, Tier
from stripe_meter.domain.found import MARK
from stripe_meter.domain.terms_of import TAX_BEHAVIOR
from stripe_meter.domain.units import Unit, unit_said
from stripe_meter.errors import ConfigurationError, StripeRejected
from stripe_meter.gateway.connection import Connection, plain
from stripe_meter.gateway.limiter import Priority
from stripe_meter.gateway.price_terms import PriceTerms, amounts_of

if TYPE_CHECKING:
    import stripe

#: Stripe lists at most this many lookup keys at once.
CHUNK: Final = 10


@dataclass(frozen=True, slots=True)
class Price:
    """One active price in Stripe.

    Attributes:
        id: `price_…`.
        lookup_key: What it is found by; our name for it.
        product: `prod_…` or the id we chose.
        meter: `mtr_…` of what it bills, or None.
        amounts: Tiers in minor units by lower-case currency; one tier without end is a plain amount.
        interval: `month`, `year`, or None for what is paid once.
        metadata: As stored.
        nickname: For people.
    """

    id: str
    lookup_key: str
    product: str
    meter: str | None
    amounts: Mapping[str, tuple[Tier, ...]]
    interval: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    nickname: str | None = None

    @property
    def unit(self) -> Unit | None:
        """What its amounts are paid for, if it says so."""
        return unit_said(self.metadata, self.nickname)

    @property
    def unit_amounts(self) -> dict[str, Decimal]:
        """What the first unit costs, by currency."""
        return {currency: tiers[0].unit_amount for currency, tiers in self.amounts.items()}


@dataclass(frozen=True, slots=True)
class Stock:
    """What of a blueprint exists: prices by lookup key, meters (`mtr_…`) by event name."""

    prices: Mapping[str, Price] = field(default_factory=dict)
    meters: Mapping[str, str] = field(default_factory=dict)

    def lacks(self, wanted: Blueprint) -> list[str]:
        """Names of the prices and of the unpriced meters that are missing."""
        return [p.lookup_key for p in wanted.prices if p.lookup_key not in self.prices] + [
            meter.event_name for meter in unpriced(wanted) if meter.event_name not in self.meters
        ]


def unpriced(wanted: Blueprint) -> list[MeterSpec]:
    """Meters that no price leads to, so that they have to be listed."""
    priced = {price.meter for price in wanted.prices}
    return [meter for meter in wanted.meters if meter.event_name not in priced]


class Catalogue:
    """Finds and creates the Stripe objects of a namespace."""

    def __init__(self, connection: Connection, namespace: str, terms: PriceTerms) -> None:
        self._connection, self._terms = connection, terms
        self.marks = {MARK: namespace}

    async def find(self, wanted: Blueprint) -> Stock:
        """What of `wanted` exists: one GET for ten prices, one more where a meter has no price."""
        specs = {spec.lookup_key: spec for spec in wanted.prices}
        keys = sorted(specs)
        prices: dict[str, Price] = {}
        for start in range(0, len(keys), CHUNK):
            chunk = keys[start : start + CHUNK]
            for price in await self._prices([specs[key] for key in chunk]):
                prices[price.lookup_key] = price
        meters = {spec.meter: prices[key].meter for key, spec in specs.items() if spec.meter and key in prices}
        alone = {meter.event_name for meter in unpriced(wanted)}
        if alone:
            meters |= {name: meter for name, meter in (await self.meters()).items() if name in alone}
        return Stock(prices, {name: meter for name, meter in meters.items() if meter is not None})

    async def create(self, wanted: Blueprint, stock: Stock) -> Stock:
        """Make what `stock` lacks of `wanted`, each object unless it exists; returns all of it."""
        missing = set(stock.lacks(wanted))
        prices, meters = dict(stock.prices), dict(stock.meters)
        needed = [price for price in wanted.prices if price.lookup_key in missing]
        for product in wanted.products:
            if any(price.product == product.id for price in needed):
                await self.make_product(product)
                for feature in wanted.features:
                    if feature.lookup_key in product.features:
                        await self.attach(product.id, await self.make_feature(feature))
        counting = {price.meter for price in needed} | missing
        for meter in wanted.meters:
            if meter.event_name in counting and meter.event_name not in meters:
                meters[meter.event_name] = await self.make_meter(meter)
        for price in needed:
            prices[price.lookup_key] = await self.make_price(price, meters)
        return Stock(prices, meters)

    async def _prices(self, specs: Iterable[PriceSpec]) -> list[Price]:
        wanted = list(specs)
        params: dict[str, Any] = {"lookup_keys": [p.lookup_key for p in wanted], "active": True, "limit": CHUNK}
        if expand := [f"data.{name}" for name in _expansions(wanted)]:
            params["expand"] = expand
        listed = await self._connection.read(
            lambda client: client.v1.prices.list_async(params),  # type: ignore[arg-type]  # a TypedDict of the SDK's
            Priority.CATALOGUE,
        )
        return [self._price(price) for price in listed.data]

    async def make_product(self, spec: ProductSpec) -> None:
        """Create a product unless there is one of its id."""
        params: dict[str, Any] = {"id": spec.id, "name": spec.name, "metadata": self.marks}
        if spec.unit_label is not None:
            params["unit_label"] = spec.unit_label
        try:
            await self._connection.write(
                lambda client, options: client.v1.products.create_async(params, options),
                priority=Priority.CATALOGUE,
            )
        except StripeRejected as error:
            if error.code != "resource_already_exists":
                raise

    async def make_feature(self, spec: FeatureSpec) -> str:
        """`feat_…` of a feature, created unless there is one of its lookup key."""
        try:
            made = await self._connection.write(
                lambda client, options: client.v1.entitlements.features.create_async(
                    {"name": spec.name, "lookup_key": spec.lookup_key, "metadata": self.marks}, options
                ),
                priority=Priority.CATALOGUE,
            )
        except StripeRejected:
            found = await self._connection.read(
                lambda client: client.v1.entitlements.features.list_async({"lookup_key": spec.lookup_key}),
                Priority.CATALOGUE,
            )
            if not found.data:
                raise
            return str(found.data[0].id)
        return str(made.id)

    async def attach(self, product: str, feature: str) -> None:
        """Unlock a feature by a product, unless it does so already."""
        try:
            await self._connection.write(
                lambda client, options: client.v1.products.features.create_async(
                    product, {"entitlement_feature": feature}, options
                ),
                priority=Priority.CATALOGUE,
            )
        except StripeRejected:
            attached = await self._connection.read(
                lambda client: client.v1.products.features.list_async(product, {"limit": 100}), Priority.CATALOGUE
            )
            if feature not in [row.entitlement_feature.id for row in attached.data]:
                raise

    async def make_meter(self, spec: MeterSpec) -> str:
        """`mtr_…` of a meter, created unless there is an active one of its event name."""
        try:
            meter = await self._connection.write(
                lambda client, options: client.v1.billing.meters.create_async(
                    {
                        "display_name": spec.display_name,
                        "event_name": spec.event_name,
                        # Corrections are negative events, and only a sum can take them.
                        "default_aggregation": {"formula": "sum"},
                        "customer_mapping": {"type": "by_id", "event_payload_key": "stripe_customer_id"},
                        "value_settings": {"event_payload_key": "value"},
                    },
                    options,
                ),
                priority=Priority.CATALOGUE,
            )
        except StripeRejected:
            # Stripe documents no code for a taken event name, so look whether that was the reason.
            existing = (await self.meters()).get(spec.event_name)
            if existing is None:
                raise
            return existing
        return str(meter.id)

    async def meters(self) -> dict[str, str]:
        """Every active meter of the account, by event name."""
        page = await self._connection.read(
            lambda client: client.v1.billing.meters.list_async({"status": "active", "limit": 100}), Priority.CATALOGUE
        )
        return {str(meter.event_name): str(meter.id) async for meter in page.auto_paging_iter()}

    async def make_price(self, spec: PriceSpec, meters: Mapping[str, str]) -> Price:
        """A price, created unless there is an active one of its lookup key."""
        params = price_params(spec, meters, self.marks)
        try:
            made = await self._connection.write(
                lambda client, options: client.v1.prices.create_async(params, options),
                priority=Priority.CATALOGUE,
            )
        except StripeRejected as error:
            # A lookup key that is taken: somebody was faster, or the price that has it was archived.
            existing = await self._prices([spec])
            if existing:
                return existing[0]
            if "lookup key" not in str(error):
                raise
            raise ConfigurationError(
                f"the price {spec.lookup_key} was archived in Stripe, so nothing can be sold at it; activate it in the "
                "Dashboard, or replace it: stripe-meter apply server.py"
            ) from None
        return self._price(made)

    def _price(self, found: stripe.Price) -> Price:
        price = _price(found)
        self._terms.learn(price.id, price.amounts)
        return price


def _expansions(specs: Iterable[PriceSpec]) -> list[str]:
    """What a price shows only when asked; each costs Stripe a join, so it is asked for where it matters."""
    several = any(len(spec.amounts) > 1 for spec in specs)
    tiered = any(len(tiers) > 1 for spec in specs for _, tiers in spec.amounts)
    names = ["currency_options"] * several + ["tiers"] * tiered
    return names + ["currency_options.tiers"] * (several and tiered)


def price_params(spec: PriceSpec, meters: Mapping[str, str], marks: Mapping[str, str]) -> dict[str, Any]:
    """What Stripe is told to create a price; `meters` are `mtr_…` by event name."""
    (currency, tiers), *others = spec.amounts
    params: dict[str, Any] = {
        "currency": currency,
        "product": spec.product,
        "nickname": spec.nickname,
        "lookup_key": spec.lookup_key,
        # It can never be changed afterwards, and "unspecified" would block automatic tax for good.
        "tax_behavior": TAX_BEHAVIOR,
        "metadata": {**marks, **dict(spec.metadata)},
        **_amount(tiers),
    }
    if len(tiers) > 1:
        params |= {"billing_scheme": "tiered", "tiers_mode": "graduated"}
    if spec.interval is not None:
        params["recurring"] = {"interval": spec.interval, "usage_type": "licensed"}
    if spec.meter is not None:
        params["recurring"] |= {"usage_type": "metered", "meter": meters[spec.meter]}
    if others:
        params["currency_options"] = {
            other: {**_amount(theirs), "tax_behavior": TAX_BEHAVIOR} for other, theirs in others
        }
    if expand := _expansions([spec]):
        params["expand"] = expand
    return params


def _amount(tiers: tuple[Tier, ...]) -> dict[str, Any]:
    if len(tiers) == 1:
        return {"unit_amount_decimal": f"{tiers[0].unit_amount:f}"}
    return {
        "tiers": [
            {"up_to": "inf" if tier.up_to is None else tier.up_to, "unit_amount_decimal": f"{tier.unit_amount:f}"}
            for tier in tiers
        ]
    }


def _price(found: stripe.Price) -> Price:
    product = found.product
    recurring = found.recurring
    return Price(
        found.id,
        str(found.lookup_key),
        product if isinstance(product, str) else product.id,
        None if recurring is None else recurring.meter,
        amounts_of(found),
        None if recurring is None else recurring.interval,
        plain(found.metadata),
        found.nickname,
    )
