"""The catalogue: for every priced tool one meter, one product and one metered price.

Owns finding these objects by what Stripe keeps unique – price by `lookup_key`, product by an id we choose, meter by
`event_name` – and creating what is missing where that is allowed. Never changes an object that exists. Two processes
may do this at once: the second one finds what the first one made.

Metered prices: https://docs.stripe.com/api/prices/create · Meters: https://docs.stripe.com/api/billing/meter/create
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from stripe_meter.domain.rates import Rate
from stripe_meter.domain.tools import Tool
from stripe_meter.errors import StripeRejected
from stripe_meter.gateway.connection import Connection
from stripe_meter.gateway.limiter import Priority

if TYPE_CHECKING:
    import stripe

#: Stripe lists at most this many lookup keys at once.
_CHUNK: Final = 10


@dataclass(frozen=True, slots=True)
class Listing:
    """One tool as Stripe knows it.

    Attributes:
        tool: What the author declared.
        event_name: Name its meter listens to.
        meter: `mtr_…`.
        price: `price_…`.
        unit_amounts: Minor units for one metered unit, by lower-case currency: what Stripe charges.
    """

    tool: Tool
    event_name: str
    meter: str
    price: str
    unit_amounts: Mapping[str, Decimal]

    @property
    def rates(self) -> tuple[Rate, ...]:
        """The tool's rates at the prices that Stripe charges."""
        return tuple(
            rate.at(self.unit_amounts[str(rate.currency)]) if str(rate.currency) in self.unit_amounts else rate
            for rate in self.tool.rates
        )

    @property
    def differences(self) -> list[str]:
        """Where the code says another price than Stripe, in words; Stripe's price is the one that counts."""
        return [
            f"tool {self.tool.name!r}: the code says {rate}, but Stripe charges "
            + (str(rate.currency).upper() + f" {theirs} minor units" if theirs is not None else "no such currency")
            for rate in self.tool.money_rates
            if (theirs := self.unit_amounts.get(str(rate.currency))) != rate.unit_amount
        ]


class Catalogue:
    """Finds and creates the Stripe objects of a namespace's tools."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        self._connection = connection
        self._namespace = namespace

    def lookup_key(self, tool: Tool) -> str:
        """Also the meter's event name: `<namespace>.<tool>`, at most 91 characters."""
        return f"{self._namespace}.{tool.name}"

    async def find(self, tools: Iterable[Tool]) -> dict[str, Listing]:
        """What exists already, by tool name; one GET for ten tools."""
        wanted = {self.lookup_key(tool): tool for tool in tools}
        keys = sorted(wanted)
        found: dict[str, Listing] = {}
        for start in range(0, len(keys), _CHUNK):
            for price in await self._prices(keys[start : start + _CHUNK], wanted):
                tool = wanted[str(price.lookup_key)]
                found[tool.name] = _listing(tool, price)
        return found

    async def create(self, tool: Tool) -> Listing:
        """Meter, product and price of `tool`, each made unless it exists."""
        product = await self._product(tool)
        meter = await self._meter(tool)
        return await self._price(tool, product, meter)

    async def _prices(self, keys: Sequence[str], wanted: Mapping[str, Tool]) -> Sequence[stripe.Price]:
        params: dict[str, Any] = {"lookup_keys": list(keys), "active": True, "limit": _CHUNK}
        if any(len(wanted[key].money_rates) > 1 for key in keys):
            params["expand"] = ["data.currency_options"]
        listed = await self._connection.read(
            lambda client: client.v1.prices.list_async(params),  # type: ignore[arg-type]  # a TypedDict of the SDK's
            Priority.CATALOGUE,
        )
        return listed.data

    async def _product(self, tool: Tool) -> str:
        # Readable, and through the digest different for every namespace and tool, whatever characters they share.
        digest = hashlib.sha256(self.lookup_key(tool).encode()).hexdigest()[:8]
        chosen = f"stripe_meter_{self._namespace}_{tool.name}_{digest}".replace(".", "_")
        try:
            product = await self._connection.write(
                lambda client, options: client.v1.products.create_async(
                    {
                        "id": chosen,
                        "name": tool.name,
                        "unit_label": _unit_label(tool.money_rates[0]),
                        "metadata": {"stripe_meter": self._namespace},
                    },
                    options,
                ),
                priority=Priority.CATALOGUE,
            )
        except StripeRejected as error:
            if error.code != "resource_already_exists":
                raise
            return chosen
        return str(product.id)

    async def _meter(self, tool: Tool) -> str:
        event_name = self.lookup_key(tool)
        try:
            meter = await self._connection.write(
                lambda client, options: client.v1.billing.meters.create_async(
                    {
                        "display_name": tool.name,
                        "event_name": event_name,
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
            existing = await self._find_meter(event_name)
            if existing is None:
                raise
            return existing
        return str(meter.id)

    async def _find_meter(self, event_name: str) -> str | None:
        page = await self._connection.read(
            lambda client: client.v1.billing.meters.list_async({"status": "active", "limit": 100}), Priority.CATALOGUE
        )
        async for meter in page.auto_paging_iter():
            if meter.event_name == event_name:
                return str(meter.id)
        return None

    async def _price(self, tool: Tool, product: str, meter: str) -> Listing:
        first, *others = tool.money_rates
        params: dict[str, Any] = {
            "currency": first.currency,
            "unit_amount_decimal": f"{first.unit_amount:f}",
            "product": product,
            "nickname": tool.price[:200],
            "lookup_key": self.lookup_key(tool),
            # It can never be changed afterwards, and "unspecified" would block automatic tax for good.
            "tax_behavior": "exclusive",
            "recurring": {"interval": "month", "usage_type": "metered", "meter": meter},
            "metadata": {"stripe_meter": self._namespace},
        }
        if others:
            params["currency_options"] = {
                str(rate.currency): {"unit_amount_decimal": f"{rate.unit_amount:f}", "tax_behavior": "exclusive"}
                for rate in others
            }
            params["expand"] = ["currency_options"]
        try:
            price = await self._connection.write(
                lambda client, options: client.v1.prices.create_async(
                    params,
                    options,
                ),
                priority=Priority.CATALOGUE,
            )
        except StripeRejected:
            # A lookup key that is taken: somebody was faster.
            existing = (await self.find([tool])).get(tool.name)
            if existing is None:
                raise
            return existing
        return _listing(tool, price)


def _listing(tool: Tool, price: stripe.Price) -> Listing:
    amounts: dict[str, Decimal] = {}
    if price.unit_amount_decimal is not None:
        amounts[price.currency] = Decimal(price.unit_amount_decimal)
    options = getattr(price, "currency_options", None)
    for currency, option in (options.to_dict() if options is not None else {}).items():
        if option.get("unit_amount_decimal") is not None:
            amounts[currency] = Decimal(option["unit_amount_decimal"])
    assert price.lookup_key is not None
    assert price.recurring is not None
    assert price.recurring.meter is not None
    return Listing(tool, price.lookup_key, price.recurring.meter, price.id, amounts)


def _unit_label(rate: Rate) -> str:
    unit, block = rate.metered_unit
    return (unit if block == 1 else f"{block} {unit}s")[:12]
