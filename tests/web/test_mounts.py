"""Our pages below a path of another app: links in refusals, on pages and in the OpenAPI document lead to them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from mcp.server.mcpserver import MCPServer
from starlette.applications import Starlette
from starlette.routing import Mount

from stripe_meter import StripeMeter
from stripe_meter.emulator import EmulatorServer
from stripe_meter.errors import ConfigurationError
from stripe_meter.settings import Settings
from tests.compat import drivers
from tests.web.conftest import BASIC, FREE, PACKS

pytestmark = pytest.mark.anyio


def shop(stripe: EmulatorServer, *, attached: bool = True, **settings: str) -> tuple[StripeMeter, MCPServer[Any]]:
    """A seller with a server of one paid tool."""
    billing = StripeMeter([FREE, BASIC, PACKS], settings=Settings(emulator=stripe.url, **settings))
    server = MCPServer("Research tools")
    if attached:
        billing.attach(server)

    @server.tool()
    @billing.metered("$0.05")
    async def summarize() -> str:
        return "done"

    return billing, server


def mounted(**apps: Any) -> Starlette:
    """One app with others below its paths; the first one's lifespan is its own."""
    first = next(iter(apps.values()))
    lifespan: Callable[[Starlette], AbstractAsyncContextManager[Any]] = first.router.lifespan_context
    return Starlette(routes=[Mount(f"/{path}", app) for path, app in apps.items()], lifespan=lambda _: lifespan(first))


async def refused(url: str) -> str:
    """The link that a call without a key is answered with."""
    async with drivers.over_http("mcp-2", url) as client:
        outcome = await client.call("summarize")
    assert outcome.is_error
    return str(outcome.meta["stripe-meter/payment-required"]["checkout_url"])


async def test_a_server_below_a_path_links_to_its_pages(stripe: EmulatorServer) -> None:
    """An author tries it out inside their own app: from the refusal to the chooser, Checkout, and back."""
    billing, server = shop(stripe)
    with drivers.served(mounted(api=server.streamable_http_app())) as url:
        base = url.removesuffix("/mcp")
        link = await refused(f"{base}/api/mcp")
        assert link.startswith(f"{base}/api/billing/plans?token=")
        async with httpx.AsyncClient() as client:
            assert (await client.get(link)).status_code == 200
            document = (await client.get(f"{base}/api/billing/openapi.json")).json()
            token = urlsplit(link).query.removeprefix("token=")
            leaves = await client.post(f"{base}/api/billing/checkout", data={"token": token, "choice": "basic"})
            back = stripe.complete_checkout(leaves.headers["location"], email="payer@example.com")
            assert "smk_" in (await client.get(back)).text
    assert document["servers"] == [{"url": "/api/billing"}]
    billing.close()


async def test_pages_of_their_own_are_where_they_are_mounted(stripe: EmulatorServer) -> None:
    """A server with decorators alone beside the pages, each at a path of its own."""
    billing, server = shop(stripe, attached=False)
    app = mounted(tools=server.streamable_http_app(), pay=billing.asgi(routes="/pay"))
    with drivers.served(app) as url:
        base = url.removesuffix("/mcp")
        link = await refused(f"{base}/tools/mcp")
        async with httpx.AsyncClient() as client:
            assert (await client.get(link)).status_code == 200
            assert (await client.get(f"{base}/pay/openapi.json")).json()["servers"] == [{"url": "/pay"}]
            leaves = await client.post(f"{base}/pay/checkout", json={"plan": "basic"})
            back = stripe.complete_checkout(leaves.json()["url"], email="payer@example.com")
            assert (await client.get(back)).status_code == 200
    assert link.startswith(f"{base}/pay/plans?token=")
    billing.close()


async def test_pages_where_no_link_leads_say_what_to_write(
    stripe: EmulatorServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Refusals are made before anybody opened a page, so the path has to be told; a bad one is refused at once."""
    billing, _ = shop(stripe, attached=False)
    with drivers.served(mounted(pay=billing.asgi())) as url, caplog.at_level(logging.ERROR, "stripe_meter"):
        async with httpx.AsyncClient() as client:
            for _ in range(2):
                await client.get(url.replace("/mcp", "/pay/healthz"))
    (said,) = [record.getMessage() for record in caplog.records if "is mounted at" in record.getMessage()]
    assert 'asgi(routes="/pay")' in said
    with pytest.raises(ConfigurationError, match="is no path"):
        billing.asgi(routes="pay")
    billing.close()


async def test_an_address_without_the_path_is_noticed(stripe: EmulatorServer, caplog: pytest.LogCaptureFixture) -> None:
    """With a public address the links are made of it; one that forgets the path leads nowhere, and says so once."""
    billing, server = shop(stripe, public_url="https://tools.example.com")
    told = []
    with drivers.served(mounted(api=server.streamable_http_app())) as url, caplog.at_level(logging.WARNING):
        for _ in range(2):
            link = await refused(url.replace("/mcp", "/api/mcp"))
        async with httpx.AsyncClient() as client:
            document = (await client.get(url.replace("/mcp", "/api/billing/openapi.json"))).json()
        told = [record.getMessage() for record in caplog.records if "is mounted at" in record.getMessage()]
    assert link.startswith("https://tools.example.com/billing/")
    assert document["servers"] == [{"url": "https://tools.example.com/billing"}]
    assert len(told) == 1
    assert "STRIPE_METER_PUBLIC_URL=https://tools.example.com/api" in told[0]
    billing.close()
