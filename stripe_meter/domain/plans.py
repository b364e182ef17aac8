"""What an author offers: today pay-as-you-go; each plan is a frozen value.

Owns which of a tool's rates a plan can use. Does not know customers, Stripe objects or what anybody has bought.
"""

from __future__ import annotations

from dataclasses import dataclass

from stripe_meter.domain.tools import Tool
from stripe_meter.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class PayAsYouGo:
    """Every call is billed at the end of the month, at the tool's money price.

    The caller subscribes once through Checkout with a card; nothing is due then.
    """

    name: str = "pay-as-you-go"

    def check(self, tool: Tool) -> None:
        """Raise `ConfigurationError` when this plan has no price for `tool`."""
        if not tool.is_free and not tool.money_rates:
            raise ConfigurationError(
                f"tool {tool.name!r} costs {tool.price}, which no plan on sale can charge; "
                'add a money price to it, for example price=("$0.05", "1 credit")'
            )
