"""The gateway: all of Stripe that this library uses, over one connection.

Owns putting the resource classes together for one set of settings. Built inside the loop it will live in.
"""

from __future__ import annotations

from stripe_meter.gateway.accounts import Accounts
from stripe_meter.gateway.catalogue import Catalogue
from stripe_meter.gateway.checkout import Checkout
from stripe_meter.gateway.clock import StripeClock
from stripe_meter.gateway.connection import LIVE_RATE, SANDBOX_RATE, Connection
from stripe_meter.gateway.customers import Customers
from stripe_meter.gateway.meter_events import MeterEvents
from stripe_meter.settings import Settings


class Gateway:
    """One connection and the resources on it."""

    def __init__(self, settings: Settings, clock: StripeClock) -> None:
        self.connection = Connection(
            settings.key(),
            base_url=settings.emulator,
            timeout=settings.timeout,
            rate=LIVE_RATE if settings.mode == "live" else SANDBOX_RATE,
            clock=clock,
        )
        namespace = settings.namespace
        self.accounts = Accounts(self.connection, namespace)
        self.catalogue = Catalogue(self.connection, namespace)
        self.checkout = Checkout(self.connection, namespace)
        self.customers = Customers(self.connection, namespace)
        self.meter_events = MeterEvents(self.connection)

    async def close(self) -> None:
        await self.connection.close()
