"""What handlers of events work with, and the one thing most of them do: read a customer again.

Owns that a read costs nothing where nobody waits for it: a customer who is not in the cache is read when they call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from stripe_meter.domain.meter_errors import MeterError
    from stripe_meter.enforcement.accounts import AccountCache
    from stripe_meter.enforcement.decision import Decision
    from stripe_meter.enforcement.purchases import Purchases
    from stripe_meter.gateway.events import Event
    from stripe_meter.gateway.gateway import Gateway


@dataclass(frozen=True, slots=True)
class Desk:
    """Everything a handler may use.

    Attributes:
        meter_errors: The latest reports of usage that Stripe did not count.
        pauses: Whether an open dispute stops its customer.
    """

    gateway: Gateway
    accounts: AccountCache
    purchases: Purchases
    decision: Decision
    meter_errors: deque[MeterError]
    pauses: bool

    async def refresh(self, customer: str | None) -> None:
        """Read a customer (`cus_…`) again whom this process serves; what is deleted is closed by that."""
        known = None if customer is None else self.accounts.get(customer)
        if known is not None:
            account = await self.accounts.refresh(known.customer)
            if account.wallet is not None and account.wallet != known.wallet:
                self.decision.prepaid.granted(account.wallet)

    async def bought(self, customer: str) -> None:
        """Read a customer who has just bought, known or not; a second subscription is ended and given back."""
        account = await self.decision.once(self.gateway, await self.accounts.refresh(customer))
        if account.wallet is not None:
            self.decision.prepaid.granted(account.wallet)


#: Deals with one event; may be called again with the same one at any time, also beside itself.
Handler: TypeAlias = Callable[[Desk, "Event"], Awaitable[None]]
