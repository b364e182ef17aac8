"""What whoever runs the server asks it: alive, ready, figures."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from stripe_meter.domain.plans import PayAsYouGo
from stripe_meter.emulator import EmulatorServer
from stripe_meter.enforcement.engine import Engine
from stripe_meter.meter import StripeMeter
from stripe_meter.settings import Settings
from stripe_meter.web.routes import app
from tests.conftest import a_tool, caught_up, pay
from tests.enforcement.test_engine import admitted
from tests.web.conftest import Site

pytestmark = pytest.mark.anyio


def prober(engine: Engine) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app(engine), client=("127.0.0.1", 1234))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:9")


async def test_the_figures_are_those_of_the_calls(make_engine: Callable[..., Engine], stripe: EmulatorServer) -> None:
    """Three charged calls are three in both forms, read by Prometheus' own parser."""
    engine = make_engine(PayAsYouGo())
    caller = await pay(engine, stripe, a_tool())
    for _ in range(3):
        (await admitted(engine, a_tool(), caller)).settle(1)
    assert engine.flush()
    async with prober(engine) as client:
        answer = await client.get("/metrics")
        stats = (await client.get("/admin/stats")).json()
    found = {
        (sample.name, sample.labels.get("fate")): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert found["stripe_meter_calls_accepted_total", None] == 3
    assert found["stripe_meter_calls", "delivered"] == 3
    assert found["stripe_meter_calls", "pending"] == 0
    assert found["stripe_meter_ready", None] == 1
    assert stats["usage"]["accepted"] == stats["usage"]["delivered"] == 3
    assert stats["plans"] == ["pay-as-you-go"]
    assert stats["mode"] == "emulator"


async def test_probes_ask_stripe_nothing(site: Site) -> None:
    """A probe every second must not eat the account's reads."""
    await caught_up(site.engine)
    before = len(site.stripe.emulator.requests)
    async with site.client("127.0.0.1") as client:
        for path in ("healthz", "readyz", "metrics", "admin/stats", "openapi.json"):
            assert (await client.get(path)).status_code == 200
    assert len(site.stripe.emulator.requests) == before


async def test_a_process_that_drains_is_alive_and_not_ready(make_engine: Callable[..., Engine]) -> None:
    """So that whoever balances load sends it nothing new while it delivers."""
    engine = make_engine()
    async with prober(engine) as client:
        assert (await client.get("/readyz")).json() == {"status": "ready"}
        engine.thread.stopping = True
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()) == (503, {"status": "not ready"})
        assert (await client.get("/healthz")).status_code == 200


async def test_a_server_without_a_key_is_not_ready() -> None:
    """And tells a stranger nothing of why."""
    billing = StripeMeter(settings=Settings())
    transport = httpx.ASGITransport(billing.asgi(), client=("203.0.113.7", 1234))
    async with httpx.AsyncClient(transport=transport, base_url="http://a") as client:
        answer = await client.get("/readyz")
        page = await client.get("/plans")
    assert (answer.status_code, answer.json()) == (503, {"status": "not ready"})
    assert page.status_code == 503
    assert "STRIPE_SECRET_KEY" not in page.text
    billing.close()


async def test_who_may_see_figures_is_a_setting(make_site: Callable[..., Site]) -> None:
    """A scraper on another machine is let in by its address."""
    site = make_site(admin_ips="10.0.0.0/8")
    for address, status in (("10.1.2.3", 200), ("127.0.0.1", 403)):
        async with site.client(address) as client:
            assert (await client.get("metrics")).status_code == status
