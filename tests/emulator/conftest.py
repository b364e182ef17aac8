"""Fixtures of the emulator's own tests: a running emulator, clients for it, and a small shop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import stripe

from stripe_meter.emulator import Emulator, EmulatorServer

KEY = "sk_test_emulator"
DAY = 86_400
MONTH = 31 * DAY


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _no_telemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stripe, "enable_telemetry", False)


@pytest.fixture
def emulator() -> Emulator:
    """An emulator that counts meter events at once, on a frozen clock at the start of a minute."""
    made = Emulator(lag=0.0)
    made.clock.freeze()
    made.clock.advance(60 - made.clock.now() % 60 + 30)
    return made


@pytest.fixture
def server(emulator: Emulator) -> Iterator[EmulatorServer]:
    """The emulator on a loopback port."""
    with EmulatorServer(emulator) as running:
        yield running


@pytest.fixture
def v1(server: EmulatorServer) -> Iterator[Any]:
    """The v1 services of the real SDK, pointed at the emulator."""
    transport: Any = stripe.RequestsClient(timeout=10)
    base: Any = {"api": server.url, "meter_events": server.url}
    yield stripe.StripeClient(KEY, base_addresses=base, http_client=transport).v1
    transport.close()


@pytest.fixture
def http(server: EmulatorServer) -> Iterator[httpx.Client]:
    """Plain HTTP with a test key."""
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=10) as client:
        yield client


@dataclass
class Shop:
    """A customer with a good card, a meter, and a metered price of 5 cents."""

    v1: Any
    server: EmulatorServer
    customer: str
    meter: str
    product: str
    price: str

    @property
    def now(self) -> int:
        """Whole seconds of the emulator's clock."""
        return int(self.server.emulator.clock.now())

    def use(self, value: str = "1", **more: Any) -> Any:
        """Send one meter event for the customer."""
        payload = {"stripe_customer_id": self.customer, "value": value}
        return self.v1.billing.meter_events.create({"event_name": "calls", "payload": payload, **more})

    def subscribe(self, *prices: str, **more: Any) -> Any:
        """Subscribe the customer, to the metered price unless others are named."""
        items = [{"price": price} for price in prices or (self.price,)]
        return self.v1.subscriptions.create({"customer": self.customer, "items": items, **more})

    def metered(self, **terms: Any) -> str:
        """Another price on the shop's meter."""
        recurring = {"interval": "month", "usage_type": "metered", "meter": self.meter}
        base = {"currency": "usd", "product": self.product, "recurring": recurring}
        return str(self.v1.prices.create({**base, **terms}).id)

    def fee(self, cents: int, **terms: Any) -> str:
        """A licensed monthly price."""
        base = {"currency": "usd", "product": self.product, "recurring": {"interval": "month"}}
        return str(self.v1.prices.create({**base, "unit_amount": cents, **terms}).id)

    def newest_invoice(self) -> Any:
        """The customer's newest invoice."""
        return self.v1.invoices.list({"customer": self.customer, "limit": 1}).data[0]

    def total(self) -> float:
        """All usage of the customer, in one bucket."""
        start = self.now - self.now % 60 - 40 * DAY
        params = {"customer": self.customer, "start_time": start, "end_time": start + 80 * DAY}
        rows = self.v1.billing.meters.event_summaries.list(self.meter, params).data
        return float(rows[0].aggregated_value) if rows else 0.0


@pytest.fixture
def shop(v1: Any, server: EmulatorServer) -> Shop:
    """A shop with one customer."""
    customer = v1.customers.create({"email": "ann@example.com"}).id
    card = v1.payment_methods.attach("pm_card_visa", {"customer": customer})
    v1.customers.update(customer, {"invoice_settings": {"default_payment_method": card.id}})
    formula = {"formula": "sum"}
    meter = v1.billing.meters.create({"display_name": "Calls", "event_name": "calls", "default_aggregation": formula})
    product = v1.products.create({"name": "Calls", "unit_label": "call"})
    recurring = {"interval": "month", "usage_type": "metered", "meter": meter.id}
    terms = {"currency": "usd", "unit_amount": 5, "product": product.id, "recurring": recurring}
    price = v1.prices.create({**terms, "lookup_key": "calls"})
    return Shop(v1, server, customer, meter.id, product.id, price.id)
