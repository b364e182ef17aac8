"""The amounts of a price, by its id: of those in force as the catalogue has shown them, of others read once.

Owns what a price costs a customer who is billed by it, although it is not for sale any more, has tiers, or is paid in
one of its other currencies. None of these terms can ever change, so what was read is kept.

https://docs.stripe.com/api/prices/retrieve
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from stripe_meter.domain.blueprint import Tier
from stripe_meter.gateway.connection import Connection

if TYPE_CHECKING:
    import stripe

Amounts = Mapping[str, tuple[Tier, ...]]


class PriceTerms:
    """Tiers of prices, by id and currency."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._known: dict[str, Amounts] = {}

    def learn(self, price: str, amounts: Amounts) -> None:
        """Keep what an answer of Stripe's has shown of `price` (`price_…`); perhaps not every currency."""
        self._known.setdefault(price, amounts)

    async def tiers(self, price: str, currency: str) -> tuple[Tier, ...]:
        """What units cost by `price`; empty when it cannot be paid in `currency`."""
        known = self._known.get(price, {})
        if currency not in known:
            found = await self._connection.read(
                lambda client: client.v1.prices.retrieve_async(
                    price, {"expand": ["tiers", "currency_options", "currency_options.tiers"]}
                )
            )
            known = self._known[price] = {currency: (), **amounts_of(found)}
        return known[currency]


def amounts_of(found: stripe.Price) -> dict[str, tuple[Tier, ...]]:
    """Tiers by currency, as far as the answer shows them; the price's own currency first."""
    amounts = {found.currency: tiers} if (tiers := _tiers(found.to_dict())) else {}
    options = getattr(found, "currency_options", None)
    for currency, option in (options.to_dict() if options is not None else {}).items():
        if tiers := _tiers(option):
            amounts[currency] = tiers
    return amounts


def _tiers(row: Mapping[str, Any]) -> tuple[Tier, ...]:
    if row.get("unit_amount_decimal") is not None:
        return (Tier(None, Decimal(str(row["unit_amount_decimal"]))),)
    return tuple(Tier(tier["up_to"], Decimal(str(tier["unit_amount_decimal"]))) for tier in row.get("tiers") or ())
