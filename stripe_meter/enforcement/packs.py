"""Whether the credit packs in Stripe are those of the code: how many credits they hold, and in which unit.

Owns the one exception to "Stripe's terms count": what a pack holds stands in metadata, which anybody may edit in the
Dashboard and which no payer ever sees. A pack that lost it would be paid and give nothing; one in another unit would
change the worth of credits that are held. So neither is sold nor served until they agree again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stripe_meter.domain.blueprint import Blueprint
from stripe_meter.domain.found import MARK
from stripe_meter.domain.offering import SCALES
from stripe_meter.errors import ConfigurationError

if TYPE_CHECKING:
    from stripe_meter.gateway.catalogue import Price, Stock
    from stripe_meter.gateway.gateway import Gateway
    from stripe_meter.gateway.wallets import Sale


@dataclass(frozen=True, slots=True)
class _Pack:
    """One pack: its price in Stripe, and what the code says it holds."""

    price: Price
    credits: int
    scale: int

    @property
    def said(self) -> int | None:
        """The unit in which Stripe says it was sold; 1 where it says nothing, None where that is no unit."""
        text = self.price.metadata.get("scale", "1")
        return next((scale for scale in SCALES if text == str(scale)), None)

    def sold_in(self, sales: Iterable[Sale]) -> int | None:
        """Another unit than `said` in which it was sold at its price, by the payments themselves; or None."""
        amounts = {code: tiers[-1].unit_amount for code, tiers in self.price.amounts.items()}
        units = [sale.units for sale in sales if amounts.get(sale.currency) == sale.amount]
        return next((one for one in SCALES if one != self.said and one * self.credits in units), None)


async def check_packs(gateway: Gateway, wanted: Blueprint, found: Stock) -> None:
    """Compare the packs; only where a unit differs, the last payments are read as well.

    Raises:
        ConfigurationError: A pack holds other credits than the code says, its unit is not the one it was sold in, or a
            price here is finer than that.
    """
    held = {spec.lookup_key: dict(spec.metadata) for spec in wanted.prices if "credits" in dict(spec.metadata)}
    packs = [
        _Pack(price, int(holds["credits"]), int(holds["scale"]))
        for key, holds in held.items()
        if (price := found.prices.get(key)) is not None
    ]
    for pack in packs:
        if pack.price.metadata.get("credits") != str(pack.credits):
            raise ConfigurationError(_other_credits(pack, gateway.namespace))
    unequal = [pack for pack in packs if pack.said != pack.scale]
    sales = await gateway.wallets.sales() if unequal else []
    for pack in unequal:
        known = pack.sold_in(sales)
        if known is not None or pack.said is None:
            raise ConfigurationError(_other_unit(pack, known or pack.scale))
        if pack.scale > pack.said:
            raise ConfigurationError(
                f"a tool here costs a finer part of a credit than {pack.price.lookup_key} was sold in "
                f"(1/{pack.said}); write prices that are whole in it, or see `stripe-meter plan server.py`"
            )
    if len({pack.said for pack in packs}) > 1:
        odd = max(unequal, key=lambda pack: pack.said or 0)
        raise ConfigurationError(_other_unit(odd, odd.scale))


def _other_credits(pack: _Pack, namespace: str) -> str:
    price = pack.price
    told = f"{price.lookup_key} holds {price.metadata.get('credits') or 'no'} credits in Stripe ({price.id})"
    mend = "`stripe-meter apply server.py`"
    if price.metadata.get(MARK) != namespace:
        holds = {MARK: namespace, "credits": pack.credits, "scale": pack.scale}
        mend = _mend(price, holds)
    return f"{told}, but {pack.credits} in the code, so nobody is sold any: make them equal with {mend}"


def _other_unit(pack: _Pack, scale: int) -> str:
    price = pack.price
    return (
        f"metadata scale of {price.lookup_key} is {price.metadata.get('scale', 'missing')}, but credits were sold in "
        f"1/{scale}, and would change their worth: set it back with {_mend(price, {'scale': scale})}"
    )


def _mend(price: Price, metadata: dict[str, object]) -> str:
    data = " ".join(f'-d "metadata[{name}]={value}"' for name, value in metadata.items())
    return f"`stripe post /v1/prices/{price.id} {data}`"
