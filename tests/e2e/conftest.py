"""A paid server on real HTTP, for clients that are not ours: a browser, and a client in another language."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Final

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.mcpserver import MCPServer
from playwright.async_api import Page, async_playwright

from stripe_meter import StripeMeter
from stripe_meter.emulator import EmulatorServer
from stripe_meter.settings import Settings
from tests import serving as over_http


@dataclass(frozen=True)
class Served:
    """A running server."""

    url: str
    billing: StripeMeter


@contextlib.contextmanager
def serving(billing: StripeMeter, port: int = 0) -> Iterator[Served]:
    """The README's server, in a thread, on a loopback port; a free one unless given."""
    mcp = MCPServer("Research tools")
    billing.attach(mcp)

    @mcp.tool()
    @billing.metered("$0.05")
    async def summarize(url: str) -> str:
        """Summarize a page."""
        return f"Three sentences about {url}."

    try:
        with over_http.served(mcp.streamable_http_app(), port) as url:
            yield Served(url, billing)
    finally:
        billing.close()


@pytest.fixture
def served(stripe: EmulatorServer) -> Iterator[Served]:
    with serving(StripeMeter(settings=Settings(emulator=stripe.url))) as running:
        yield running


def needs(program: str) -> str:
    """Path of a program that a test drives; skips only where it is absent and nobody demands it."""
    path = shutil.which(program)
    if path is None and not os.environ.get("CI"):
        pytest.skip(f"{program} is not installed")
    assert path is not None, f"{program} is not installed"
    return path


_FLAGS: Final = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    """A phone-sized page in Chromium, without JavaScript."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=needs("chromium"), args=_FLAGS)
        context = await browser.new_context(viewport={"width": 360, "height": 740}, java_script_enabled=False)
        # A busy machine may be slow; that fails no test.
        context.set_default_timeout(30_000)
        yield await context.new_page()
        await browser.close()


async def call(served: Served, key: str | None = None) -> tuple[bool, str, dict[str, object]]:
    """One call of the tool by a real client over HTTP: whether it failed, its text, its `_meta`."""
    headers = {"x-api-key": key} if key else {}
    async with httpx2.AsyncClient(headers=headers) as http:
        transport = streamable_http_client(f"{served.url}/mcp", http_client=http)
        async with Client(transport) as client:
            result = await client.call_tool("summarize", {"url": "https://example.com"})
    text = getattr(result.content[0], "text", "")
    return bool(result.is_error), text, dict(result.meta or {})


def link(meta: dict[str, object]) -> str:
    data = meta["stripe-meter/payment-required"]
    assert isinstance(data, dict)
    return str(data["checkout_url"])


async def fits(page: Page) -> None:
    """Nothing sticks out at 360 px: what does makes the page scroll, while its root stays as wide as the window."""
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360
