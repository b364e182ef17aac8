"""The check-up: reading all that a doctor wants to know of an account, once.

Owns the reads, their bounds, and asking for permissions without doing anything. Only reads, except for writes to
objects that cannot exist: Stripe answers those with "no such object", or with the permission that is missing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import stripe

from stripe_meter.domain.blueprint import Blueprint
from stripe_meter.domain.evidence import Bill, Evidence, Portal, Wallet
from stripe_meter.domain.meter_errors import MeterError
from stripe_meter.errors import PermissionMissing, StripeRejected
from stripe_meter.gateway.completed import without_key
from stripe_meter.gateway.connection import Connection, Write
from stripe_meter.gateway.endpoints import Endpoints
from stripe_meter.gateway.events import METER_REPORTS, Events
from stripe_meter.gateway.inventory import PAGE, Inventories, every
from stripe_meter.gateway.limiter import Priority

T = TypeVar("T")

#: Wallets take two reads each, and reads are rationed.
_MOST_WALLETS: Final = 25
#: Pages of a hundred customers that are searched for wallets.
_MOST_PAGES: Final = 20
_NOBODY: Final = "stripe_meter_probe"
_WEEK: Final = 7 * 86400

#: What every part of this library writes, each aimed at an object that does not exist.
_WRITES: Final[dict[str, Write[Any]]] = {
    "Customers": lambda client, options: client.v1.customers.update_async(f"cus_{_NOBODY}", {}, options),
    "Products": lambda client, options: client.v1.products.update_async(_NOBODY, {}, options),
    "Prices": lambda client, options: client.v1.prices.update_async(f"price_{_NOBODY}", {}, options),
    "Meters": lambda client, options: client.v1.billing.meters.deactivate_async(f"mtr_{_NOBODY}", {}, options),
    "Meter events": lambda client, options: client.v1.billing.meter_events.create_async(
        {"event_name": "", "payload": {}}, options
    ),
    "Subscriptions": lambda client, options: client.v1.subscriptions.update_async(f"sub_{_NOBODY}", {}, options),
    "Checkout Sessions": lambda client, options: client.v1.checkout.sessions.expire_async(f"cs_{_NOBODY}", {}, options),
    "Entitlements": lambda client, options: client.v1.entitlements.features.update_async(
        f"feat_{_NOBODY}", {}, options
    ),
    "Subscription Schedules": lambda client, options: client.v1.subscription_schedules.release_async(
        f"sub_sched_{_NOBODY}", {}, options
    ),
    "Invoices": lambda client, options: client.v1.invoices.void_invoice_async(f"in_{_NOBODY}", {}, options),
    "Credit Notes": lambda client, options: client.v1.credit_notes.update_async(f"cn_{_NOBODY}", {}, options),
    "Payment Links": lambda client, options: client.v1.payment_links.update_async(f"plink_{_NOBODY}", {}, options),
    "PaymentIntents": lambda client, options: client.v1.payment_intents.update_async(f"pi_{_NOBODY}", {}, options),
    "SetupIntents": lambda client, options: client.v1.setup_intents.update_async(f"seti_{_NOBODY}", {}, options),
    "Customer portal": lambda client, options: client.v1.billing_portal.sessions.create_async(
        {"customer": f"cus_{_NOBODY}"}, options
    ),
}

#: What decides whether money that was paid has gone back.
_READS: Final[dict[str, Callable[[stripe.StripeClient], Awaitable[object]]]] = {
    "Charges": lambda client: client.v1.charges.list_async({"limit": 1}),
    "Disputes": lambda client: client.v1.disputes.list_async({"limit": 1}),
    "Refunds": lambda client: client.v1.refunds.list_async({"limit": 1}),
}


class Checkup:
    """Looks at an account under one namespace."""

    def __init__(self, connection: Connection, inventories: Inventories) -> None:
        self._connection = connection
        self._inventories = inventories
        self._endpoints = Endpoints(connection)
        self._lacking: list[str] = []
        self._gaps: list[str] = []

    async def look(self, wanted: Blueprint) -> Evidence:
        """Everything at once; what the key may not read is named and left out. Raises `StripeMeterError`."""
        before = self._connection.reads
        inventory = await self._may("Products, Prices, Meters and Entitlements", self._inventories.take(wanted))
        subscribers = await self._may("Subscriptions", self._inventories.subscribers())
        wallets = await self._may("Customers", self._wallets())
        endpoints = await self._may("Webhook Endpoints", self._endpoints.whole())
        thin = await self._may("Event Destinations", self._endpoints.thin())
        meter_errors = await self._may("Events", self._meter_errors())
        portal = await self._may("Customer portal", self._portal())
        bills = await self._may("Invoices", self._bills())
        keyless = await self._may("Checkout Sessions", without_key(self._connection, wanted.namespace))
        for name, reading in _READS.items():
            await self._may(name, self._connection.read(reading, Priority.CATALOGUE))
        for name, request in _WRITES.items():
            await self._probe(name, request)
        return Evidence(
            inventory,
            subscribers or (),
            wallets or (),
            None if endpoints is None else tuple(endpoints),
            portal,
            bills or (),
            tuple(self._lacking),
            self._connection.clock.offset,
            str(stripe.api_version),
            self._connection.reads - before,
            tuple(self._gaps),
            None if thin is None else tuple(thin),
            tuple(meter_errors or ()),
            keyless or (),
        )

    async def _may(self, what: str, reading: Awaitable[T]) -> T | None:
        try:
            return await reading
        except PermissionMissing:
            self._lacking.append(f"read {what}")
            return None

    async def _probe(self, name: str, request: Write[Any]) -> None:
        try:
            await self._connection.write(request, priority=Priority.CATALOGUE)
        except PermissionMissing:
            self._lacking.append(f"write {name}")
        except StripeRejected:
            pass

    async def _wallets(self) -> tuple[Wallet, ...]:
        found, searched = await self._inventories.wallets(most=_MOST_PAGES)
        if searched >= _MOST_PAGES * PAGE:
            self._gaps.append(f"only the newest {searched} customers were searched for wallets")
        if len(found) > _MOST_WALLETS:
            self._gaps.append(f"of {len(found)} wallets the newest {_MOST_WALLETS} were looked at")
        return tuple([await self._wallet(customer) for customer in found[:_MOST_WALLETS]])

    async def _wallet(self, customer: str) -> Wallet:
        invoices = await self._connection.read(
            lambda client: client.v1.invoices.list_async({"customer": customer, "limit": 3}), Priority.CATALOGUE
        )
        moves = await self._connection.read(
            lambda client: client.v1.customers.balance_transactions.list_async(customer, {"limit": PAGE}),
            Priority.CATALOGUE,
        )
        return Wallet(
            customer,
            tuple(str(row.id) for row in invoices.data),
            tuple((row.id, str(row.type)) for row in moves.data if row.type != "adjustment"),
            tuple(sorted({str(row.currency) for row in moves.data})),
        )

    async def _meter_errors(self) -> list[MeterError]:
        since = datetime.fromtimestamp(self._connection.clock.now() - _WEEK, UTC)
        return await Events(self._connection).reports(METER_REPORTS, since.isoformat())

    async def _portal(self) -> Portal | None:
        listed = await self._connection.read(
            lambda client: client.v1.billing_portal.configurations.list_async({"is_default": True, "limit": 1}),
            Priority.CATALOGUE,
        )
        if not listed.data:
            return None
        cancel = listed.data[0].features.subscription_cancel
        return Portal(listed.data[0].id, bool(cancel.enabled), str(cancel.mode), str(cancel.proration_behavior))

    async def _bills(self) -> tuple[Bill, ...]:
        rows = await every(
            self._connection,
            lambda client, page: client.v1.invoices.list_async(page),
            most=1,
        )
        return tuple(
            Bill(
                str(row.id),
                row.customer if isinstance(row.customer, str) else str(row.customer.id),
                row.total,
                row.currency,
            )
            for row in rows
            if row.status in ("paid", "open", "uncollectible") and row.customer is not None
        )
