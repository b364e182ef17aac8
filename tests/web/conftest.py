"""A seller's routes with browsers at them, and what Stripe was told meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from stripe_meter.domain.plans import CreditPack, Credits, Free, Subscription
from stripe_meter.emulator import EmulatorServer
from stripe_meter.enforcement.engine import Engine
from stripe_meter.enforcement.tickets import Page
from stripe_meter.web.routes import app
from tests.conftest import a_tool

BASIC = Subscription("basic", "$5/month", included=10)
PRO = Subscription("pro", "$50/month", included=100, overage="$0.25")
PACKS = Credits([CreditPack(100, "$9.99", "Starter"), CreditPack(1000, "$79", "Large")], credit_value="$0.05")
FREE = Free(calls=2)


@dataclass(frozen=True)
class Site:
    """One seller's routes."""

    engine: Engine
    stripe: EmulatorServer
    served: Any

    def client(self, address: str = "203.0.113.7", **headers: str) -> httpx.AsyncClient:
        """A visitor from that address."""
        transport = httpx.ASGITransport(self.served, client=(address, 1234))
        return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:9/billing", headers=headers)

    async def customer(self) -> tuple[str, str]:
        """Somebody who has signed up: `cus_…` and their API key."""
        key = await self.engine.sales.front.sign_up(f"test-{len(self.rows('customer'))}")
        assert key is not None
        return key.customer, key.reveal()

    def token(self, page: Page, who: str = "", about: str = "") -> str:
        """What a signed link carries."""
        return self.engine.sales.front.token(page, who, about)

    def rows(self, kind: str) -> list[dict[str, Any]]:
        """What Stripe has of these."""
        return list(self.stripe.emulator.account.store.all(kind))

    def writes(self) -> int:
        """Requests so far that change something at Stripe."""
        return sum(record.method != "GET" for record in self.stripe.emulator.requests)

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Nothing is written at Stripe meanwhile."""
        before = self.writes()
        yield
        assert self.writes() == before


@pytest.fixture
def make_site(make_engine: Callable[..., Engine], stripe: EmulatorServer) -> Callable[..., Site]:
    """Sites with other settings."""

    def make(**settings: object) -> Site:
        engine = make_engine(FREE, BASIC, PRO, PACKS, **settings)
        engine.sales.front.open("Research tools")
        return Site(engine, stripe, app(engine, "/billing"))

    return make


@pytest.fixture
async def site(make_site: Callable[..., Site]) -> Site:
    """Two plans, two packs, free calls."""
    made = make_site()
    await made.engine.prepare([a_tool()])
    return made
