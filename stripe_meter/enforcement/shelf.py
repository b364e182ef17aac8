"""What is on sale: the tools of this server and, once looked up, the prices and meters of their plans in Stripe.

Owns the join between what the code declares and what the catalogue holds. `get` is on the cold path of a call and only
looks; `stock` reads and, where allowed, creates, in the Stripe thread's loop and one at a time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING

from stripe_meter.domain.blueprint import Blueprint, Names, Tier, blueprint
from stripe_meter.domain.money import Money
from stripe_meter.domain.offering import Offering
from stripe_meter.domain.plans import CreditPack, Credits, PayAsYouGo, Plan, Subscription
from stripe_meter.domain.rates import Rate, common_currencies
from stripe_meter.domain.tools import Tool
from stripe_meter.domain.topups import TopUpTerms
from stripe_meter.domain.units import Unit, unit_said
from stripe_meter.enforcement import forks
from stripe_meter.enforcement.packs import check_packs
from stripe_meter.errors import ConfigurationError

if TYPE_CHECKING:
    from stripe_meter.gateway.catalogue import Price, Stock
    from stripe_meter.gateway.checkout import Order
    from stripe_meter.gateway.gateway import Gateway

log = logging.getLogger("stripe_meter")


@dataclass(frozen=True, slots=True)
class Listing:
    """One tool under pay-as-you-go, as Stripe knows it.

    Attributes:
        tool: What the author declared.
        event_name: Name its meter listens to.
        price: What Stripe charges, which is what counts.
    """

    tool: Tool
    event_name: str
    price: Price

    @property
    def rates(self) -> tuple[Rate, ...]:
        """The tool's rates at the prices that Stripe charges."""
        theirs, unit = self.price.unit_amounts, self.price.unit
        return tuple(
            rate
            if rate.kind != "money" or unit is None or rate.currency not in theirs
            else unit.rate(self.tool, theirs[rate.currency], rate.currency)
            for rate in self.tool.rates
        )


class Shelf:
    """Tools by name, and what Stripe has of the blueprint."""

    def __init__(self, offering: Callable[[], Offering]) -> None:
        self._offering = offering
        self._tools: dict[str, Tool] = {}
        self._names: Names | None = None
        self._stock: Stock | None = None
        self._stocking: asyncio.Lock | None = None
        forks.watch(self)

    def after_fork(self) -> None:
        """Nothing is being looked up in a child."""
        self._stocking = None

    @cached_property
    def offering(self) -> Offering:
        """What is on offer; asked for when it is needed, because a configuration file may add to it."""
        return self._offering()

    @property
    def tools(self) -> list[Tool]:
        return list(self._tools.values())

    @property
    def names(self) -> Names:
        """How things are called in Stripe; known once something was stocked."""
        assert self._names is not None
        return self._names

    def blueprint(self, namespace: str) -> Blueprint:
        """What has to exist for everything on sale. Raises `ConfigurationError`."""
        return blueprint(self.offering, self._tools.values(), namespace)

    def add(self, tool: Tool) -> None:
        """Put `tool` on sale.

        Raises:
            ConfigurationError: No plan can charge for it, or another tool of that name has another price.
        """
        known = self._tools.get(tool.name)
        if known is tool:
            return
        if known is not None and known.rates != tool.rates:
            raise ConfigurationError(
                f"two tools are called {tool.name!r} but cost {known.price} and {tool.price}; "
                'give one of them a billing identity of its own with name="…"'
            )
        self.offering.check(tool, self._tools.values())
        self._tools[tool.name] = tool

    def get(self, tool: Tool) -> Listing | None:
        """`tool` under pay-as-you-go; None when it is not sold so, or not looked up yet."""
        if self._stock is None:
            return None
        plan = self.offering.pay_as_you_go
        if plan is None or self.offering.rate(tool, plan) is None:
            return None
        event_name = self.names.tool(tool, plan)
        price = self._stock.prices.get(event_name)
        return None if price is None else Listing(tool, event_name, price)

    def price(self, lookup_key: str) -> Price:
        """A price that was stocked."""
        assert self._stock is not None
        return self._stock.prices[lookup_key]

    def meter(self, event_name: str) -> str:
        """`mtr_…` of a meter that was stocked."""
        assert self._stock is not None
        return self._stock.meters[event_name]

    def known_meter(self, event_name: str) -> str | None:
        """`mtr_…` of a meter, or None when nothing on offer counts on it."""
        return None if self._stock is None else self._stock.meters.get(event_name)

    def is_stocked(self, tool: Tool) -> bool:
        """Whether everything that `tool` needs was looked up."""
        if self._stock is None:
            return False
        plan = self.offering.pay_as_you_go
        return tool.is_free or plan is None or self.offering.rate(tool, plan) is None or self.get(tool) is not None

    def quote(self, tool: Tool) -> str:
        """What `tool` costs, for people: Stripe's price where it is known, else the code's."""
        listing = self.get(tool)
        return tool.price if listing is None else " or ".join(str(rate) for rate in listing.rates)

    def order(self, tool: Tool, *, has_subscription: bool) -> Order | None:
        """What to buy so that `tool` is served: the first plan on offer that a customer in this position can buy.

        A second subscription would bill the same call twice, so a subscriber is shown credits only.
        """
        for plan in self.offering.sold_by(tool):
            if isinstance(plan, Credits) or not has_subscription:
                return self.order_of(plan)
        return None

    def order_of(self, plan: Plan, pack: CreditPack | None = None) -> Order:
        """The Checkout order for a plan; for credits for one pack, the first unless named."""
        from stripe_meter.gateway.checkout import Order

        if isinstance(plan, Credits):
            price = self.price(self.names.pack((pack or plan.packs[0]).key))
            units = int(price.metadata["credits"]) * int(price.metadata.get("scale", 1))
            consent = self.consent(plan)
            return Order(plan.name, "payment", ((price.id, 1),), plan.currency, units=units, consent=consent)
        if isinstance(plan, Subscription):
            fee, calls = self.price(self.names.fee(plan)), self.price(self.names.plan_calls(plan))
            lines = ((fee.id, 1), (calls.id, None))
            return Order(plan.name, "subscription", lines, plan.fee.amounts[0].currency, plan.trial_days)
        assert isinstance(plan, PayAsYouGo)
        priced = sorted({tool.price.id: tool.event_name for tool in self.listings()}.items(), key=lambda row: row[1])
        return Order(plan.name, "subscription", tuple((price, None) for price, _ in priced), self._currency)

    def consent(self, plan: Credits) -> TopUpTerms | None:
        """What a payer agrees to beside the button, where credits are bought again by themselves."""
        pack = plan.refill
        if pack is None:
            return None
        price = self.price(self.names.pack(pack.key))
        credits = int(price.metadata.get("credits", pack.credits))
        amount = int(price.amounts[plan.currency][-1].unit_amount)
        return TopUpTerms(pack.key, credits, amount, plan.currency, plan.top_up_limit or 0)

    @property
    def currency(self) -> str:
        """In which a card is saved: that of the first plan on offer that costs anything."""
        for plan in self.offering.plans:
            if isinstance(plan, Credits):
                return plan.currency
            if isinstance(plan, Subscription):
                return plan.fee.amounts[0].currency
            if isinstance(plan, PayAsYouGo) and self.listings():
                return self._currency
        raise ConfigurationError("nothing on offer costs money, so no card is saved; offer a plan that does")

    def listings(self) -> list[Listing]:
        """Every tool that pay-as-you-go sells."""
        return [listing for tool in self._tools.values() if (listing := self.get(tool)) is not None]

    @property
    def _currency(self) -> str:
        """The currency that everything metered can be paid in; the first one the author named."""
        return common_currencies([listing.tool.rates for listing in self.listings()])[0]

    async def stock(self, gateway: Gateway, *, create: bool) -> None:
        """Look up what has not been looked up yet; create what is missing if `create`.

        Raises:
            ConfigurationError: Something is missing and may not be created here; names the command that does.
        """
        if self._stocking is None:
            self._stocking = asyncio.Lock()
        async with self._stocking:
            if self._stock is not None and all(self.is_stocked(tool) for tool in self._tools.values()):
                return
            wanted = self.blueprint(gateway.namespace)
            self._names = Names(gateway.namespace)
            found = await gateway.catalogue.find(wanted)
            await check_packs(gateway, wanted, found)
            for difference in differences(wanted, found):
                log.warning("%s; Stripe's price is the one that counts", difference)
            if missing := found.lacks(wanted):
                if not create:
                    raise ConfigurationError(
                        f"not set up in this Stripe account: {', '.join(missing)}; look at them once and create "
                        "them with `stripe-meter apply server.py`"
                    )
                found = await gateway.catalogue.create(wanted, found)
                await check_packs(gateway, wanted, found)  # somebody else may have been faster
            self._stock = found


def differences(wanted: Blueprint, found: Stock) -> list[str]:
    """Where the code says another price than Stripe, in words."""
    return [
        f"price {spec.lookup_key}: the code says {_shown(currency, tiers, unit)}, but Stripe charges "
        + ("no such currency" if theirs is None else _shown(currency, theirs, price.unit))
        for spec in wanted.prices
        if (price := found.prices.get(spec.lookup_key)) is not None
        for unit in [unit_said(dict(spec.metadata), None)]
        for currency, tiers in spec.amounts
        if (theirs := price.amounts.get(currency)) != tiers or (unit is not None and unit != price.unit)
    ]


def _shown(currency: str, tiers: Sequence[Tier], unit: Unit | None) -> str:
    parts = []
    for tier in tiers:
        amount = "nothing" if tier.unit_amount == 0 else str(Money(Decimal(tier.unit_amount), currency))
        parts.append(amount if tier.up_to is None else f"{amount} up to {tier.up_to}")
    return ", then ".join(parts) + ("" if unit is None else f" per {unit}")
