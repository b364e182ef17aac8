"""A server that takes webhooks, and the ways to deliver to it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import stripe as sdk

from stripe_meter.domain.plans import CreditPack, Credits, PayAsYouGo
from stripe_meter.emulator import EmulatorServer
from stripe_meter.emulator.thin_events import delivered
from stripe_meter.emulator.webhooks import signature
from stripe_meter.enforcement.engine import Engine
from stripe_meter.web.local import serve_pages
from stripe_meter.web.routes import app

SECRET = "whsec_theSecretOfThisTest"
PLANS = (Credits([CreditPack(100, "$9.99", "Starter")]), PayAsYouGo())


@pytest.fixture(autouse=True)
def no_waiting_for_the_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stripe's sandbox takes 25 requests a second; the limiter has tests of its own."""
    monkeypatch.setattr("stripe_meter.gateway.gateway.SANDBOX_RATE", 2000.0)


@pytest.fixture
def make_hooked(make_engine: Callable[..., Engine]) -> Callable[..., Engine]:
    """Engines that take webhooks signed with SECRET."""

    def make(**settings: object) -> Engine:
        return make_engine(*PLANS, **{"stripe_webhook_secret": SECRET, **settings})

    return make


@pytest.fixture
def hooked(make_hooked: Callable[..., Engine]) -> Engine:
    """One of them."""
    return make_hooked()


@pytest.fixture
def client(stripe: EmulatorServer) -> Iterator[sdk.StripeClient]:
    """What the seller does in the Dashboard."""
    transport: Any = sdk.RequestsClient(timeout=10)
    base: Any = {"api": stripe.url, "meter_events": stripe.url}
    yield sdk.StripeClient("sk_test_emulator", base_addresses=base, http_client=transport)
    transport.close()


@asynccontextmanager
async def sender(engine: Engine) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who sends to the server's address."""
    transport = httpx.ASGITransport(app(engine, engine.routes))
    async with httpx.AsyncClient(transport=transport, base_url="http://tools.example.com") as client:
        yield client


def body_of(event: dict[str, Any]) -> str:
    """An event as Stripe delivers it."""
    return json.dumps(delivered(event) if event["object"] == "v2.core.event" else event)


async def send(
    http: httpx.AsyncClient, body: str | bytes, *, secret: str = SECRET, at: float | None = None
) -> httpx.Response:
    """One delivery, signed as Stripe signs it."""
    raw = body.encode() if isinstance(body, str) else body
    signed = signature(raw.decode(), secret, int(time.time() if at is None else at))
    return await http.post("/billing/webhook", content=raw, headers={"Stripe-Signature": signed})


async def deliver(engine: Engine, events: Iterable[dict[str, Any]]) -> None:
    """Deliver events and wait until they are worked off."""
    async with sender(engine) as http:
        for event in events:
            answer = await send(http, body_of(event))
            while answer.status_code == 503:
                await asyncio.sleep(0.02)
                answer = await send(http, body_of(event))
            assert answer.status_code == 200, answer.text
    await worked_off(engine)


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    async with asyncio.timeout(30):
        while not is_so():  # noqa: ASYNC110  # nothing there tells of itself
            await asyncio.sleep(0.002)


async def worked_off(engine: Engine) -> None:
    """Wait until nothing waits."""
    await until(lambda: not engine.sales.webhooks.stats.waiting)


def events(stripe: EmulatorServer, *types: str) -> list[dict[str, Any]]:
    """What happened so far, oldest first; of these types only, if any are named."""
    store = stripe.emulator.account.store
    with stripe.emulator.account.lock:
        rows = [*store.all("event"), *store.all("v2.core.event")]
    return [row for row in rows if not types or row["type"] in types]


async def address(engine: Engine) -> str:
    """The server's webhook address, on a real port."""
    return f"{await engine.thread.call(lambda _: serve_pages(engine), 5.0)}/webhook"
