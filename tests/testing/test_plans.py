"""Customers on a plan, with credits, or with nothing: `customer(plan=…, credits=…)`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from mcp import Client
from mcp.server.mcpserver import MCPServer

from stripe_meter import CreditPack, Credits, Free, PayAsYouGo, StripeMeter, Subscription, metered
from stripe_meter.domain.plans import Plan
from stripe_meter.emulator import EmulatorServer
from stripe_meter.errors import ConfigurationError
from stripe_meter.testing import customer

pytestmark = pytest.mark.anyio

RECEIPT = "stripe-meter/receipt"


@pytest.fixture
def server(stripe_emulator: EmulatorServer) -> Iterator[MCPServer[Any]]:
    """One tool, sold in four ways."""
    plans: list[Plan] = [
        PayAsYouGo(),
        Subscription("pro", "$10/month", included=2, overage="$0.25"),
        Credits([CreditPack(100, "$9.99", "Starter")]),
        Free(calls=1),
    ]
    billing = StripeMeter(plans)
    made: MCPServer[Any] = MCPServer("Four ways")

    @made.tool()
    @metered(("$0.05", "3 credits"))
    def look(text: str) -> str:
        return text

    billing.attach(made)
    yield made
    billing.close()


async def paid_from(server: MCPServer[Any], caller: Any, calls: int) -> list[str]:
    """Which pocket paid for each of so many calls; `refused` where none did."""
    found = []
    with caller.calling():
        async with Client(server) as client:
            for _ in range(calls):
                result = await client.call_tool("look", {"text": "a"})
                meta = (result.meta or {}).get(RECEIPT, {})
                found.append("refused" if result.is_error else meta.get("paid_from", "usage"))
    return found


@pytest.mark.parametrize(
    ("options", "pockets"),
    [
        ({}, ["allowance", "usage", "usage"]),
        ({"plan": "pro"}, ["allowance", "plan", "plan"]),
        ({"credits": 6}, ["allowance", "credits", "credits", "refused"]),
        ({"plan": "free"}, ["allowance", "refused"]),
        ({"plan": "credits"}, ["allowance", "credits"]),
    ],
    ids=["the first on offer", "a plan", "given credits", "nothing", "a pack"],
)
async def test_a_customer_pays_from_the_pocket_they_were_given(
    server: MCPServer[Any], options: dict[str, Any], pockets: list[str]
) -> None:
    """An author tests each way to sell without clicking through it."""
    assert await paid_from(server, await customer(server, **options), len(pockets)) == pockets


async def test_a_plan_that_is_not_on_offer_is_named(server: MCPServer[Any]) -> None:
    """With those that are."""
    with pytest.raises(ConfigurationError, match="no plan is called 'gold'; on offer are 'pay-as-you-go', 'pro'"):
        await customer(server, plan="gold")


async def test_no_credits_are_none_to_give(server: MCPServer[Any]) -> None:
    """A typing error in a test must not pass as a customer with nothing."""
    with pytest.raises(ConfigurationError, match="credits=0 cannot be used"):
        await customer(server, credits=0)
