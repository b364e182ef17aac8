"""What is on sale: the tools of this server and, once looked up, their listings in Stripe.

Owns the join between what the code declares and what the catalogue holds. `get` is on the warm path and only looks;
`stock` reads and, where allowed, creates, in the Stripe thread's loop and one at a time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from stripe_meter.domain.plans import PayAsYouGo
from stripe_meter.domain.rates import common_currencies
from stripe_meter.domain.tools import Tool
from stripe_meter.errors import ConfigurationError

if TYPE_CHECKING:
    from stripe_meter.gateway.catalogue import Listing
    from stripe_meter.gateway.gateway import Gateway

log = logging.getLogger("stripe_meter")


class Shelf:
    """Tools by name, listings by tool."""

    def __init__(self, plans: Sequence[PayAsYouGo]) -> None:
        self._plans = plans
        self._tools: dict[str, Tool] = {}
        self._listings: dict[str, Listing] = {}
        self._stocking: asyncio.Lock | None = None

    @property
    def tools(self) -> list[Tool]:
        return list(self._tools.values())

    @property
    def prices(self) -> list[str]:
        """Stripe prices of everything on sale, in an order that is the same in every process."""
        return [listing.price for _, listing in sorted(self._listings.items())]

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
        for plan in self._plans:
            plan.check(tool)
        priced = [other for other in self._tools.values() if not other.is_free]
        if not tool.is_free and priced and not common_currencies([other.rates for other in (*priced, tool)]):
            raise ConfigurationError(
                f"one subscription is paid in one currency, but tool {tool.name!r} costs {tool.price} and "
                f"{priced[0].name!r} costs {priced[0].price}; name a common one, for example "
                f'price=("$0.05", "€0.05")'
            )
        self._tools[tool.name] = tool

    @property
    def currency(self) -> str:
        """The currency that everything on sale can be paid in; the first one the author named."""
        return common_currencies([tool.rates for tool in self._tools.values() if not tool.is_free])[0]

    def quote(self, tool: Tool) -> str:
        """What `tool` costs, for people: Stripe's price where it is known, else the code's."""
        listing = self._listings.get(tool.name)
        return tool.price if listing is None else " or ".join(str(rate) for rate in listing.rates)

    def get(self, tool: Tool) -> Listing | None:
        return self._listings.get(tool.name)

    def need(self, tool: Tool) -> Listing:
        """The listing of a tool that was stocked."""
        return self._listings[tool.name]

    async def stock(self, gateway: Gateway, *, create: bool) -> None:
        """Look up every tool that has no listing yet; create what is missing if `create`.

        Raises:
            ConfigurationError: Something is missing and may not be created here; names the command that does.
        """
        if self._stocking is None:
            self._stocking = asyncio.Lock()
        async with self._stocking:
            wanted = [tool for tool in self._tools.values() if not tool.is_free and tool.name not in self._listings]
            if not wanted:
                return
            found = await gateway.catalogue.find(wanted)
            for listing in found.values():
                for difference in listing.differences:
                    log.warning("%s; Stripe's price is the one that counts", difference)
            self._listings.update(found)
            missing = [tool for tool in wanted if tool.name not in found]
            if missing and not create:
                names = ", ".join(tool.name for tool in missing)
                raise ConfigurationError(
                    f"not set up in your live Stripe account: {names}; look at them once and create them with "
                    "`stripe-meter apply server.py`"
                )
            for tool in missing:
                self._listings[tool.name] = await gateway.catalogue.create(tool)
