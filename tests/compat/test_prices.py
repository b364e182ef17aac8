"""Prices by name on every framework line: decorated tools without a price, and tools that nobody decorated."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stripe_meter import StripeMeter, metered
from stripe_meter.emulator import EmulatorServer
from stripe_meter.errors import ConfigurationError
from stripe_meter.settings import Settings
from tests.compat import drivers
from tests.compat.server import build, classes
from tests.compat.test_frameworks import PRICE, RECEIPT, REFUSED
from tests.conftest import PAGES

pytestmark = pytest.mark.anyio

Billed = Callable[..., dict[str, int]]
NAMES = ("async_plain", "sync_plain", "async_context", "sync_context")


@pytest.fixture
def billing(stripe: EmulatorServer) -> Iterator[StripeMeter]:
    """A seller with a price list for the tools of the test server."""
    prices = {"*sync_*": "$0.05", "failing": "$0.05"}
    meter = StripeMeter(prices=prices, default_price="$9", settings=Settings(emulator=stripe.url, public_url=PAGES))
    yield meter
    meter.close()


async def test_undecorated_tools_are_refused_then_billed_once(
    line: str,
    billing: StripeMeter,
    stripe: EmulatorServer,
    api_key: str,
    billed: Billed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sync and async, with the context and without; a failure and a tool that no price names cost nothing."""
    server = build(line, is_paid=False).server
    billing.attach(server)
    async with drivers.in_memory(line, server) as client:
        listed = await client.tools()
        priced = {name for name, tool in listed.items() if PRICE in (tool["_meta"] or {})}
        assert priced == {*NAMES, "failing"}
        for name in NAMES:
            refused = await client.call(name, text="a")
            assert refused.is_error
            assert f"{name} costs $0.05" in refused.text
            assert refused.meta[REFUSED]["checkout_url"] in refused.text
        monkeypatch.setenv("STRIPE_METER_API_KEY", api_key)
        billing.engine.local = None  # read once for a process; here it changes
        for name in NAMES:
            paid = await client.call(name, text="a")
            assert paid.text.startswith("A")
            assert paid.meta[RECEIPT]["text"] == "$0.05"
        assert (await client.call("failing", text="a")).is_error
        assert RECEIPT not in (await client.call("free")).meta
    assert billing.flush()
    assert billed(4) == dict.fromkeys(NAMES, 1)


async def test_a_client_that_can_is_asked_to_pay_for_an_undecorated_tool(
    line: str, billing: StripeMeter, stripe: EmulatorServer
) -> None:
    """And gets the text after that, once it calls again unpaid."""
    server = build(line, is_paid=False).server
    billing.attach(server)
    asked: list[str] = []
    with drivers.served(drivers.app_of(line, server)) as url:
        async with asyncio.timeout(30), drivers.sdk_over_http(url, asked=asked.append) as client:
            refused = await client.call("async_plain", text="a")
    assert refused.is_error
    assert len(asked) == 1
    assert asked[0] == refused.meta[REFUSED]["checkout_url"]


async def test_a_decorator_without_price_takes_it_from_the_list(
    line: str, billing: StripeMeter, api_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sync and async; a tool on no list gets the default."""
    server, decorate = classes(line)[0]("tools"), metered
    monkeypatch.setenv("STRIPE_METER_API_KEY", api_key)

    @decorate
    def sync_tool() -> str:
        return ""

    @decorate()
    async def other() -> str:
        return ""

    for tool in (sync_tool, other):
        server.tool()(tool)
    billing.attach(server)
    async with drivers.in_memory(line, server) as client:
        told = [(await client.call(name)).meta[RECEIPT]["text"] for name in ("sync_tool", "other")]
    assert told == ["$0.05", "$9.00"]


async def test_a_tool_that_nothing_prices_keeps_the_server_from_selling(line: str, stripe: EmulatorServer) -> None:
    """Found where the server is checked."""
    server = classes(line)[0]("tools")
    billing = StripeMeter(settings=Settings(emulator=stripe.url, public_url=PAGES))

    @metered
    def lost() -> str:
        return ""

    server.tool()(lost)
    billing.attach(server)
    app: Any = drivers.app_of(line, server)
    with pytest.raises(ConfigurationError, match="tool 'lost' has no price"):
        async with app.router.lifespan_context(app):
            pytest.fail("it served")
    billing.close()


async def test_a_tool_that_charges_always_charges_its_failure(
    line: str, billing: StripeMeter, api_key: str, billed: Billed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sync and async, attached and not."""
    monkeypatch.setenv("STRIPE_METER_API_KEY", api_key)

    @billing.metered("$0.05", charge_on="always")
    def sync_fails() -> str:
        raise RuntimeError("out of order")

    @billing.metered("$0.05", charge_on="always")
    async def async_fails() -> str:
        raise RuntimeError("out of order")

    for is_attached in (False, True):
        server = classes(line)[0]("tools")
        for tool in (sync_fails, async_fails):
            server.tool()(tool)
        if is_attached:
            billing.attach(server)
        async with drivers.in_memory(line, server) as client:
            for name in ("sync_fails", "async_fails"):
                assert (await client.call(name)).is_error
    assert billing.flush()
    assert billed(4) == {"sync_fails": 2, "async_fails": 2}
