"""The gateway: all of Stripe that this library uses, over one connection.

Owns putting the resource classes together for one set of settings. Built inside the loop it will live in.
"""

from __future__ import annotations

from stripe_meter.gateway.accounts import Accounts
from stripe_meter.gateway.catalogue import Catalogue
from stripe_meter.gateway.checkout import Checkout
from stripe_meter.gateway.clock import StripeClock
from stripe_meter.gateway.connection import LIVE_EVENT_RATE, LIVE_RATE, SANDBOX_RATE, Connection
from stripe_meter.gateway.corrections import Corrections
from stripe_meter.gateway.customers import Customers
from stripe_meter.gateway.events import Events
from stripe_meter.gateway.inventory import Inventories
from stripe_meter.gateway.issuing import Issuing
from stripe_meter.gateway.limiter import RateLimiter
from stripe_meter.gateway.links import PaymentLinks
from stripe_meter.gateway.meter_events import SingleRoad, StreamRoad
from stripe_meter.gateway.payments import Payments
from stripe_meter.gateway.plan_changes import PlanChanges
from stripe_meter.gateway.portal import Portal
from stripe_meter.gateway.price_terms import PriceTerms
from stripe_meter.gateway.reversals import Reversals
from stripe_meter.gateway.setup import Setups
from stripe_meter.gateway.topups import TopUps
from stripe_meter.gateway.usage import Usage
from stripe_meter.gateway.wallets import Wallets
from stripe_meter.settings import Settings


class Gateway:
    """One connection and the resources on it."""

    def __init__(self, settings: Settings, clock: StripeClock) -> None:
        is_live = settings.mode == "live"
        limiter = RateLimiter(LIVE_RATE if is_live else SANDBOX_RATE)
        # A sandbox counts meter events with everything else.
        event_limiter = RateLimiter(LIVE_EVENT_RATE) if is_live else limiter
        self.connection = Connection(
            settings.key(),
            base_url=settings.emulator,
            timeout=settings.timeout,
            limiter=limiter,
            event_limiter=event_limiter,
            clock=clock,
        )
        namespace = self.namespace = settings.namespace
        terms = PriceTerms(self.connection)
        self.accounts = Accounts(self.connection, namespace, terms, pauses=settings.pause_on_dispute)
        self.catalogue = Catalogue(self.connection, namespace, terms)
        self.checkout = Checkout(self.connection, namespace)
        self.customers = Customers(self.connection, namespace, settings.key())
        self.issuing = Issuing(self.connection, self.customers)
        self.corrections = Corrections(self.connection)
        self.events = Events(self.connection)
        self.reversals = Reversals(self.connection)
        self.inventories = Inventories(self.connection, namespace)
        self.links = PaymentLinks(self.connection, namespace)
        self.payments = Payments(self.connection, namespace)
        self.plan_changes = PlanChanges(self.connection, namespace, settings.key())
        self.portal = Portal(self.connection, namespace)
        self.setups = Setups(self.connection, namespace)
        self.top_ups = TopUps(self.connection, namespace)
        self.usage = Usage(self.connection)
        self.wallets = Wallets(self.connection, namespace)
        self.single = SingleRoad(self.connection)
        #: Only live mode has a stream.
        self.stream = StreamRoad(self.connection) if is_live else None

    async def close(self) -> None:
        await self.connection.close()
