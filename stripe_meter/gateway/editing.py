"""Changing a catalogue that exists: one change of a plan after the other, each of them safe to repeat.

Owns how each kind of change is written. Money terms are fixed in Stripe, so a changed price is a new one that takes the
lookup key over before the old one is switched off: at every moment exactly one active price has the name. Payment links
go on selling at the price they were made with, so those of an old price are closed before it is. Whoever is cut off
anywhere leaves something that the next comparison sees, and two who do this at once make one price.

https://docs.stripe.com/products-prices/manage-prices#lookup-keys
"""

from __future__ import annotations

import hashlib
import logging
from typing import Any, Final

from stripe_meter.domain.blueprint import FeatureSpec, MeterSpec, PriceSpec, ProductSpec
from stripe_meter.domain.change import Change
from stripe_meter.domain.changes import earlier_units
from stripe_meter.domain.found import Inventory
from stripe_meter.domain.terms_of import TAX_BEHAVIOR
from stripe_meter.errors import PermissionMissing, StripeRejected
from stripe_meter.gateway.catalogue import Catalogue, price_params
from stripe_meter.gateway.connection import Connection
from stripe_meter.gateway.inventory import every
from stripe_meter.gateway.limiter import Priority
from stripe_meter.gateway.links import close_links

log = logging.getLogger("stripe_meter")

#: In the lookup keys of credit packs' prices.
_PACK: Final = ":pack:"


class Editor:
    """Works off the changes between one blueprint and one inventory, in their order."""

    def __init__(self, connection: Connection, catalogue: Catalogue, found: Inventory) -> None:
        self._connection, self._catalogue = connection, catalogue
        self._meters = {meter.event_name: meter.id for meter in found.meters if meter.active}
        self._features = {feature.lookup_key: feature.id for feature in found.features}
        self._prices = {price.id: price for price in found.prices}
        self._attached = {product.id: set(product.features) for product in found.products}
        #: Payment links (`plink_…`) that sold packs at prices which are in force no more.
        self.closed: list[str] = []

    async def carry_out(self, change: Change) -> None:
        """Make one change.

        Raises:
            StripeFault: It was not made, or nobody knows; asking for it again does no harm.
        """
        if change.kind == "archive":
            await self._archive(change)
        elif isinstance(change.spec, FeatureSpec):
            await self._feature(change.spec, change.id)
        elif isinstance(change.spec, ProductSpec):
            await self._product(change.spec, change.id)
        elif isinstance(change.spec, MeterSpec):
            await self._meter(change, change.spec)
        elif isinstance(change.spec, PriceSpec):
            await self._price(change, change.spec)

    async def _feature(self, spec: FeatureSpec, id: str | None) -> None:
        if id is None:
            self._features[spec.lookup_key] = await self._catalogue.make_feature(spec)
            return
        await self._connection.write(
            lambda client, options: client.v1.entitlements.features.update_async(
                id, {"active": True, "name": spec.name}, options
            ),
            priority=Priority.CATALOGUE,
        )

    async def _product(self, spec: ProductSpec, id: str | None) -> None:
        if id is None:
            await self._catalogue.make_product(spec)
        else:
            await self._connection.write(
                lambda client, options: client.v1.products.update_async(
                    id, {"active": True, "name": spec.name, "unit_label": spec.unit_label or ""}, options
                ),
                priority=Priority.CATALOGUE,
            )
        has = self._attached.get(spec.id, set())
        for key in sorted(set(spec.features) - has):
            await self._catalogue.attach(spec.id, self._features[key])
        if gone := has - set(spec.features):
            await self._detach(spec.id, gone)

    async def _detach(self, product: str, gone: set[str]) -> None:
        attached = await every(
            self._connection,
            lambda client, page: client.v1.products.features.list_async(product, page),
        )
        for row in attached:
            if str(row.entitlement_feature.lookup_key) in gone:
                await self._connection.write(
                    lambda client, options, id=row.id: client.v1.products.features.delete_async(
                        product, id, {}, options
                    ),
                    priority=Priority.CATALOGUE,
                )

    async def _meter(self, change: Change, spec: MeterSpec) -> None:
        id = change.id
        if id is None:
            self._meters[spec.event_name] = await self._catalogue.make_meter(spec)
            return
        fields = {difference.field for difference in change.differences}
        if "active" in fields:
            await self._switch_meter(id, on=True)
        if "name" in fields:
            await self._connection.write(
                lambda client, options: client.v1.billing.meters.update_async(
                    id, {"display_name": spec.display_name}, options
                ),
                priority=Priority.CATALOGUE,
            )
        self._meters[spec.event_name] = id

    async def _price(self, change: Change, spec: PriceSpec) -> None:
        if change.id is None:
            await self._catalogue.make_price(spec, self._meters)
        elif change.replaces:
            await self._replace(spec, change.id)
        else:
            params: dict[str, Any] = {"active": True, "nickname": spec.nickname}
            if any(difference.field == "tax behavior" for difference in change.differences):
                params["tax_behavior"] = TAX_BEHAVIOR
            await self._update_price(change.id, params)

    async def _replace(self, spec: PriceSpec, old: str) -> None:
        params = {**price_params(spec, self._meters, self._catalogue.marks), "transfer_lookup_key": True}
        if (replaced := self._prices.get(old)) is not None:
            params["metadata"] |= earlier_units(spec, replaced)
        # Named after what it replaces and how, so that two runs at once make one price and not two.
        digest = hashlib.sha256(repr(sorted(params.items())).encode()).hexdigest()[:16]
        await self._connection.write(
            lambda client, options: client.v1.prices.create_async(params, options),
            key=f"price:{old}:{digest}",
            priority=Priority.CATALOGUE,
        )
        if _PACK in spec.lookup_key:
            await self._close_links(old)
        await self._update_price(old, {"active": False})

    async def _close_links(self, price: str) -> None:
        try:
            self.closed += await close_links(self._connection, price)
        except PermissionMissing as error:
            log.warning("payment links that sell at %s, if there are any, are not closed: %s", price, error)

    async def _archive(self, change: Change) -> None:
        id = change.id
        assert id is not None
        if change.what == "price":
            if _PACK in change.name or change.name == id:  # one without a name may have been a pack's
                await self._close_links(id)
            await self._update_price(id, {"active": False})
        elif change.what == "meter":
            await self._switch_meter(id, on=False)
        elif change.what == "product":
            await self._connection.write(
                lambda client, options: client.v1.products.update_async(id, {"active": False}, options),
                priority=Priority.CATALOGUE,
            )
        else:
            await self._connection.write(
                lambda client, options: client.v1.entitlements.features.update_async(id, {"active": False}, options),
                priority=Priority.CATALOGUE,
            )

    async def _switch_meter(self, id: str, *, on: bool) -> None:
        try:
            await self._connection.write(
                lambda client, options: (
                    client.v1.billing.meters.reactivate_async(id, {}, options)
                    if on
                    else client.v1.billing.meters.deactivate_async(id, {}, options)
                ),
                priority=Priority.CATALOGUE,
            )
        except StripeRejected:
            # Stripe refuses what is so already; somebody else may have been faster.
            meter = await self._connection.read(
                lambda client: client.v1.billing.meters.retrieve_async(id), Priority.CATALOGUE
            )
            if (meter.status == "active") is not on:
                raise

    async def _update_price(self, id: str, params: dict[str, Any]) -> None:
        await self._connection.write(
            lambda client, options: client.v1.prices.update_async(id, params, options),
            priority=Priority.CATALOGUE,
        )
