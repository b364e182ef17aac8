"""The inventory: everything of a namespace that a Stripe account holds, for a comparison with the code.

Owns reading whole lists, page by page, and telling what is ours: an object by the mark in its metadata, a meter by its
event name. Reads a handful of lists whatever the size of the catalogue, and subscriptions only when asked: these come
with the changes that their customers have ordered, which take one read more for each price that nobody is on yet.

https://docs.stripe.com/api/prices/list · https://docs.stripe.com/api/pagination
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from stripe_meter.domain.blueprint import Blueprint
from stripe_meter.domain.found import (
    MARK,
    FoundFeature,
    FoundMeter,
    FoundPrice,
    FoundProduct,
    Holding,
    Inventory,
    Subscriber,
)
from stripe_meter.domain.identity import METADATA_WALLET_FOR
from stripe_meter.domain.units import unit_said
from stripe_meter.gateway.catalogue import CHUNK
from stripe_meter.gateway.checkout import METADATA_PLAN
from stripe_meter.gateway.connection import Connection, plain
from stripe_meter.gateway.limiter import Priority
from stripe_meter.gateway.price_terms import amounts_of

if TYPE_CHECKING:
    import stripe

#: Stripe's largest page.
PAGE: Final = 100
_EXPAND: Final = ["data.tiers", "data.currency_options", "data.currency_options.tiers"]

#: Takes the client and a page's parameters; `Any`, because each list of the SDK's has a TypedDict of its own for them.
Fetch = Callable[["stripe.StripeClient", Any], Awaitable[Any]]


async def every(connection: Connection, fetch: Fetch, *, most: int | None = None) -> list[Any]:
    """All objects of a list, or its first `most` pages; each page waits its turn and fails in our own terms."""
    rows: list[Any] = []
    pages = 0
    cursor: dict[str, Any] = {}
    while most is None or pages < most:
        page = await connection.read(
            lambda client, cursor=cursor: fetch(client, {"limit": PAGE, **cursor}),  # type: ignore[misc]  # bound per round
            Priority.CATALOGUE,
        )
        rows += page.data
        pages += 1
        if not page.has_more or not page.data:
            break
        cursor = {"starting_after": page.data[-1].id}
    return rows


class Inventories:
    """Reads what an account holds under one namespace."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        self._connection = connection
        self._namespace = namespace

    async def take(self, wanted: Blueprint) -> Inventory:
        """Everything of our namespace, and whatever stands under the names of `wanted`."""
        features = await self._features({spec.lookup_key for spec in wanted.features})
        fees = {spec.product for spec in wanted.prices if spec.interval is not None and spec.meter is None}
        ids = {spec.id for spec in wanted.products}
        return Inventory(
            features,
            await self._products(ids, fees if features else set(), {row.id for row in features}),
            await self._meters(),
            await self._prices({spec.lookup_key for spec in wanted.prices}),
        )

    async def subscribers(self) -> tuple[Subscriber, ...]:
        """Every live subscription of the account, oldest first; Stripe lists what has not ended."""
        rows = await every(
            self._connection,
            lambda client, page: client.v1.subscriptions.list_async({**page, "expand": ["data.schedule"]}),  # type: ignore[arg-type]  # merged at run time
        )
        known: dict[str, stripe.Price] = {item.price.id: item.price for row in rows for item in row["items"].data}
        return tuple(
            sorted([await self._subscriber(row, known) for row in rows], key=lambda one: (one.created, one.id))
        )

    async def wallets(self, *, most: int | None = None) -> tuple[list[str], int]:
        """Customers that hold credits, the newest first, and among how many customers they were looked for.

        Args:
            most: Pages of customers to look through.
        """
        rows = await every(self._connection, lambda client, page: client.v1.customers.list_async(page), most=most)
        return [str(row.id) for row in rows if self._is_wallet(plain(row.metadata))], len(rows)

    def _is_wallet(self, metadata: Mapping[str, str]) -> bool:
        return METADATA_WALLET_FOR in metadata and metadata.get(MARK, self._namespace) == self._namespace

    async def _features(self, wanted: set[str]) -> tuple[FoundFeature, ...]:
        rows = await every(
            self._connection,
            lambda client, page: client.v1.entitlements.features.list_async(page),
        )
        return tuple(
            FoundFeature(row.id, str(row.lookup_key), str(row.name), bool(row.active), self._ours(row))
            for row in rows
            if str(row.lookup_key) in wanted or self._is_mine(row, str(row.lookup_key))
        )

    async def _products(self, wanted: set[str], fees: set[str], features: set[str]) -> tuple[FoundProduct, ...]:
        rows = await every(self._connection, lambda client, page: client.v1.products.list_async(page))
        return tuple(
            [
                FoundProduct(
                    row.id,
                    str(row.name),
                    row.unit_label or None,
                    bool(row.active),
                    self._ours(row),
                    await self._attached(row.id, features) if row.id in fees else (),
                )
                for row in rows
                if row.id in wanted or self._ours(row)
            ]
        )

    async def _attached(self, product: str, features: set[str]) -> tuple[str, ...]:
        rows = await every(
            self._connection,
            lambda client, page: client.v1.products.features.list_async(product, page),
        )
        return tuple(str(row.entitlement_feature.lookup_key) for row in rows if row.entitlement_feature.id in features)

    async def _meters(self) -> tuple[FoundMeter, ...]:
        rows = await every(self._connection, lambda client, page: client.v1.billing.meters.list_async(page))
        return tuple(
            FoundMeter(
                row.id,
                str(row.event_name),
                str(row.display_name),
                str(row.default_aggregation.formula),
                row.status == "active",
                (str(row.customer_mapping.event_payload_key), str(row.value_settings.event_payload_key)),
            )
            for row in rows
            if self._is_named(str(row.event_name))
        )

    async def _prices(self, wanted: set[str]) -> tuple[FoundPrice, ...]:
        """Active ones, and those that were switched off but still hold a name that is wanted."""
        rows = await every(
            self._connection,
            lambda client, page: client.v1.prices.list_async({**page, "active": True, "expand": _EXPAND}),  # type: ignore[arg-type]  # merged at run time
        )
        missing = sorted(wanted - {str(row.lookup_key) for row in rows})
        for start in range(0, len(missing), CHUNK):
            keys = missing[start : start + CHUNK]
            rows += await every(
                self._connection,
                lambda client, page, keys=keys: client.v1.prices.list_async(  # type: ignore[misc]  # bound per round
                    {**page, "active": False, "lookup_keys": keys, "expand": _EXPAND}
                ),
            )
        return tuple(
            _price(row, self._ours(row))
            for row in rows
            if str(row.lookup_key) in wanted or self._is_mine(row, str(row.lookup_key or ""))
        )

    async def _subscriber(self, row: stripe.Subscription, known: dict[str, stripe.Price]) -> Subscriber:
        items: Iterable[stripe.SubscriptionItem] = row.items.data
        if row.items.has_more:
            items = await every(
                self._connection,
                lambda client, page: client.v1.subscription_items.list_async({**page, "subscription": row.id}),  # type: ignore[typeddict-item]  # merged at run time
            )
        metadata = plain(row.metadata)
        schedule: Any = row.schedule
        later = () if schedule is None else _later(schedule)
        next_plans = [plan for phase in later if (plan := plain(phase.metadata).get(METADATA_PLAN)) is not None]
        next_prices = [await self._priced(_id(item.price), known) for phase in later for item in phase["items"]]
        return Subscriber(
            row.id,
            _id(row.customer),
            metadata.get(METADATA_PLAN),
            row.status,
            row.currency,
            row.created,
            metadata.get(MARK) == self._namespace,
            tuple(_holding(item.id, item.price, row.currency) for item in items),
            None if schedule is None else schedule.id,
            next_plans[0] if next_plans else None,
            tuple(_holding("", price, row.currency) for price in next_prices),
        )

    async def _priced(self, price: str, known: dict[str, stripe.Price]) -> stripe.Price:
        """A price (`price_…`), read at most once; one that is archived is in no list."""
        if price not in known:
            known[price] = await self._connection.read(
                lambda client: client.v1.prices.retrieve_async(price), Priority.CATALOGUE
            )
        return known[price]

    def _ours(self, row: Any) -> bool:
        return plain(row.metadata).get(MARK) == self._namespace

    def _is_mine(self, row: Any, name: str) -> bool:
        """Marked as ours, or under a name of ours without anybody's mark."""
        owner = plain(row.metadata).get(MARK)
        return owner == self._namespace or (owner is None and self._is_named(name))

    def _is_named(self, name: str) -> bool:
        return name.startswith((f"{self._namespace}.", f"{self._namespace}:"))


def _price(row: stripe.Price, ours: bool) -> FoundPrice:
    recurring = row.recurring
    return FoundPrice(
        row.id,
        row.lookup_key,
        _id(row.product),
        row.nickname,
        tuple(amounts_of(row).items()),
        _interval(recurring) if recurring is not None else None,
        None if recurring is None else recurring.meter,
        row.tax_behavior,
        plain(row.metadata),
        bool(row.active),
        ours,
        tuple(_oddities(row.to_dict())),
    )


def _holding(item: str, price: stripe.Price, currency: str) -> Holding:
    recurring = price.recurring
    return Holding(
        item,
        price.id,
        _id(price.product),
        None if recurring is None else recurring.meter,
        _unit_amount(price, currency),
        unit_said(plain(price.metadata), price.nickname),
        None if recurring is None else _interval(recurring),
    )


def _later(schedule: stripe.SubscriptionSchedule) -> list[Any]:
    """The phases that have not begun."""
    at = schedule.current_phase
    return [phase for phase in schedule.phases if at is not None and phase.start_date > at.start_date]


def _unit_amount(price: stripe.Price, currency: str) -> Decimal | None:
    if price.currency != currency or price.unit_amount_decimal is None:
        return None
    return Decimal(str(price.unit_amount_decimal))


def _interval(recurring: Any) -> str:
    return (
        str(recurring.interval) if recurring.interval_count == 1 else f"{recurring.interval_count} {recurring.interval}"
    )


def _oddities(row: dict[str, Any]) -> Iterable[str]:
    if row.get("tiers_mode") == "volume":
        yield "volume tiers"
    if any(tier.get("flat_amount_decimal") is not None for tier in row.get("tiers") or ()):
        yield "flat amounts in tiers"
    if row.get("transform_quantity"):
        yield f"per {row['transform_quantity']['divide_by']} units"
    if row.get("custom_unit_amount"):
        yield "the customer chooses the amount"


def _id(reference: Any) -> str:
    return reference if isinstance(reference, str) else str(reference.id)
