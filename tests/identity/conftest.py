"""A server that sells one tool over HTTP, an identity provider, and clients that show what a test wants."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from mcp.server.mcpserver import MCPServer

from stripe_meter import StripeMeter
from stripe_meter.domain.plans import PayAsYouGo, Plan
from stripe_meter.emulator import EmulatorServer
from stripe_meter.settings import Settings
from tests.conftest import PAGES
from tests.identity.issuer import Issuer, running
from tests.mcp.steps import connected, text_of, tool_of
from tests.serving import served

PAYMENT = "stripe-meter/payment-required"


class Shop:
    """One served tool, `summarize`, and its seller's Stripe."""

    def __init__(self, url: str, billing: StripeMeter, stripe: EmulatorServer) -> None:
        self.url, self.engine, self.stripe = url, billing.engine, stripe

    async def call(self, **headers: str) -> Any:
        """One call by a client of its own, which sends these headers."""
        async with connected(self.url, "auto", **headers) as client:
            return await client.call_tool("summarize", {})

    async def refused(self, **headers: str) -> tuple[str, dict[str, Any]]:
        """The text and data of a refusal."""
        result = await self.call(**headers)
        assert result.is_error, text_of(result)
        return text_of(result), result.meta[PAYMENT]

    async def paid(self, **headers: str) -> str:
        """Be refused as somebody known, pay by the link, and be served; returns the customer."""
        _, data = await self.refused(**headers)
        assert data["reason"] == "payment_required"
        self.stripe.complete_checkout(data["checkout_url"], email="caller@example.com")
        before = self.billed()
        assert not (await self.call(**headers)).is_error
        (customer,) = self.billed() - before
        return customer

    def billed(self) -> Counter[str]:
        """Units at Stripe, by customer."""
        assert self.engine.flush()
        found: Counter[str] = Counter()
        for record in self.stripe.emulator.requests:
            if record.path.endswith("/billing/meter_events"):
                payload: Any = record.body["payload"]
                found[payload["stripe_customer_id"]] += int(payload["value"])
        return found

    def reads(self) -> int:
        """GETs of customers so far."""
        return sum(r.method == "GET" and r.path.startswith("/v1/customers") for r in self.stripe.emulator.requests)

    def customers(self) -> int:
        """Customers made so far."""
        return sum(r.method == "POST" and r.path == "/v1/customers" for r in self.stripe.emulator.requests)


def _sell_async(mcp: Any, billing: StripeMeter) -> None:
    @tool_of(mcp)
    @billing.metered("$0.05")
    async def summarize() -> str:
        return "done"


def _sell(mcp: Any, billing: StripeMeter) -> None:
    @tool_of(mcp)
    @billing.metered("$0.05")
    def summarize() -> str:
        return "done"


Open = Callable[..., Any]


@pytest.fixture
def opening(stripe: EmulatorServer) -> Iterator[Open]:
    """Shops on the emulator, closed at the end."""
    sellers: list[StripeMeter] = []

    @contextmanager
    def open_shop(
        *plans: Plan, identify: Any = None, server: Any = None, is_async: bool = True, **settings: Any
    ) -> Iterator[Shop]:
        values = {"emulator": stripe.url, "public_url": PAGES, **settings}
        billing = StripeMeter(plans or (PayAsYouGo(),), identify=identify, settings=Settings(**values))
        sellers.append(billing)
        mcp = MCPServer("tools") if server is None else server
        billing.attach(mcp)
        (_sell_async if is_async else _sell)(mcp, billing)
        app = mcp.streamable_http_app() if isinstance(mcp, MCPServer) else mcp.http_app()
        with served(app) as url:
            yield Shop(url, billing, stripe)

    yield open_shop
    for billing in sellers:
        billing.close()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    """An identity provider with one RSA key."""
    with running() as issuer:
        yield issuer


@pytest.fixture
def shop(opening: Open, issuer: Issuer) -> Iterator[Shop]:
    """A seller who trusts the issuer."""
    with opening(**issuer.settings()) as shop:
        yield shop


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}
