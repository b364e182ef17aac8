"""What a decorator may say beside the price: a feature to unlock, and that failures cost too; through real clients."""

from __future__ import annotations

from typing import Any

import pytest
from mcp.types import CallToolResult, TextContent

from stripe_meter import PayAsYouGo, Subscription, current_call
from stripe_meter.cli import standin
from stripe_meter.emulator import EmulatorServer
from stripe_meter.mcp.decorator import metered
from tests.conftest import pay
from tests.mcp.steps import RECEIPT, REFUSED, Make, sent, tool_of

pytestmark = pytest.mark.anyio


async def test_a_tool_with_a_feature_asks_for_the_plan_that_unlocks_it(
    framework: Any, make: Make, stripe: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal names the plan, and its link sells that plan."""
    billing = make(PayAsYouGo(), Subscription("pro", "$10/month", included=5, features=["export"]))
    server = framework.server()

    @tool_of(server)
    @metered("$0.05", feature="export")
    async def export() -> str:
        return "file"

    billing.attach(server)
    async with framework.client(server) as client:
        url = (await client.call("export")).meta[REFUSED]["checkout_url"]
    assert "10.00 USD" in standin.page(url)
    caller = await pay(billing.engine, stripe, billing.engine.tools[0])
    monkeypatch.setenv("STRIPE_METER_API_KEY", str(caller.api_key))
    again, other = make(*billing.engine.offering.plans), framework.server()

    @tool_of(other)
    @metered("$0.05", feature="export", name="export")
    async def export_more() -> str:
        return "file"

    again.attach(other)
    async with framework.client(other) as client:
        assert (await client.call("export_more")).meta[RECEIPT]["paid_from"] == "plan"


@pytest.mark.usefixtures("paid")
@pytest.mark.parametrize("is_attached", [True, False])
async def test_a_tool_that_charges_always_charges_its_failures(
    framework: Any, make: Make, stripe: EmulatorServer, is_attached: bool
) -> None:
    """Raising and answering an error, async and sync; only the tool itself can make a call free."""
    billing, server = make(), framework.server()

    @tool_of(server)
    @billing.metered("$0.05", charge_on="always")
    async def raises() -> str:
        raise ValueError("out of order")

    @tool_of(server)
    @billing.metered("$0.05", charge_on="always")
    def raises_in_thread() -> str:
        raise ValueError("out of order")

    @tool_of(server)
    @billing.metered("$0.05", charge_on="always")
    async def says_error() -> CallToolResult:
        return CallToolResult(content=[TextContent(type="text", text="no")], is_error=True)

    @tool_of(server)
    @billing.metered("$0.01 per row", charge_on="always")
    async def counts_and_raises() -> str:
        current_call().add(3)
        raise ValueError("after three rows")

    @tool_of(server)
    @billing.metered("$0.05", charge_on="always")
    async def lets_go() -> str:
        current_call().cancel()
        raise ValueError("our own mistake")

    if is_attached:
        billing.attach(server)
    names = ("raises", "raises_in_thread", "says_error", "counts_and_raises", "lets_go")
    async with framework.client(server) as client:
        for name in names:
            assert (await client.call(name)).is_error is True
    assert sent(stripe, billing) == {"raises": 1, "raises_in_thread": 1, "says_error": 1, "counts_and_raises": 3}
