"""Customers: they pay as callers do, and tell what Stripe has."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.server.mcpserver import MCPServer

import stripe_meter
from stripe_meter import PayAsYouGo, StripeMeter, metered
from stripe_meter.emulator import EmulatorServer
from stripe_meter.errors import ConfigurationError, StripeUnavailable
from stripe_meter.settings import Settings
from stripe_meter.testing import HandClock, customer, emulated_stripe, use
from tests.testing.conftest import call, shop

pytestmark = pytest.mark.anyio

Make = Callable[..., StripeMeter]
ROOT = Path(stripe_meter.__file__).parents[1]
STDIO_SERVER = """
from mcp.server.mcpserver import MCPServer
from stripe_meter import metered

mcp = MCPServer("tools")

@mcp.tool()
@metered("$0.60")
async def summarize(url: str) -> str:
    return url

mcp.run("stdio")
"""


async def test_usage_is_found_where_tools_share_a_meter() -> None:
    """`PayAsYouGo(meter="price")`: two tools at $1 count on one meter, which is asked for by the name of either."""
    with emulated_stripe():
        server = MCPServer("Shared")
        billing = StripeMeter([PayAsYouGo(meter="price")])
        billing.attach(server)

        @server.tool()
        @metered("$1")
        async def one() -> str:
            return ""

        @server.tool()
        @metered("$1")
        async def other() -> str:
            return ""

        caller = await customer(server)
        async with Client(server) as client:
            with caller.calling():
                for tool in ("one", "other"):
                    await client.call_tool(tool, {})
        assert (caller.usage("one"), caller.usage("other")) == (2, 2)
        billing.close()


@pytest.mark.usefixtures("stripe_billing")
async def test_the_bill_is_what_the_calls_cost_to_the_cent() -> None:
    """Two at $0.60 and one at $0.50; the one that failed is free."""
    server = shop()
    caller = await customer(server)
    async with Client(server) as client:
        with caller.calling():
            for url in ("a", "b", "bad"):
                await call(client, url=url)
            await call(client, "translate")
    assert (caller.usage("summarize"), caller.usage("translate")) == (2, 1)
    bill = caller.next_invoice()
    assert (bill.total, bill.amount_due, bill.currency, bill.status) == (170, 170, "usd", "draft")
    assert caller.owed() == "$1.70"
    assert caller.invoices() == ()


@pytest.mark.usefixtures("stripe_billing")
async def test_each_pays_for_their_own_calls() -> None:
    """Of several that are open, the one opened last calls; and whoever is left when others end, calls again."""
    server = shop()
    ann, bob = await customer(server), await customer(server)
    assert (ann.id, bob.id) == ("cus_test_1", "cus_test_2")
    async with Client(server) as client:
        first, second = ann.calling(), bob.calling()
        with first:
            await call(client)
            second.__enter__()
            await call(client, "translate")
        await call(client, "translate")
        second.__exit__(None, None, None)
        assert (await call(client)).is_error
    assert (ann.owed(), bob.owed()) == ("$0.60", "$1.00")


@pytest.mark.usefixtures("stripe_billing")
async def test_over_http_the_header_names_the_caller() -> None:
    """As it does for real callers; whoever calls in memory meanwhile is somebody else."""
    server = shop()
    ann, bob = await customer(server), await customer(server)
    app = server.streamable_http_app(json_response=True, stateless_http=True)
    transport = httpx2.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000", headers=ann.headers) as http,
        Client(streamable_http_client("http://127.0.0.1:8000/mcp", http_client=http)) as client,
    ):
        with bob.calling():
            await call(client)
    assert (ann.usage("summarize"), bob.usage("summarize")) == (1, 0)


@pytest.mark.usefixtures("stripe_billing")
async def test_a_server_in_a_process_of_its_own_bills_them(tmp_path: Path) -> None:
    """Its usage is there when it has ended, because it delivers before."""
    (tmp_path / "server.py").write_text(STDIO_SERVER)
    caller = await customer(shop())
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    parameters = StdioServerParameters(
        command=sys.executable,
        args=[str(tmp_path / "server.py")],
        env={**kept, "PYTHONPATH": str(ROOT), **caller.env},
        cwd=tmp_path,
    )
    async with Client(parameters) as client:
        assert not (await call(client)).is_error
    assert caller.usage("summarize") == 1


@pytest.mark.usefixtures("stripe_billing")
@pytest.mark.parametrize("card", ["good", "3-d secure", "declined later", "5555 5555 5555 4444"])
async def test_a_card_that_is_taken_makes_a_customer(card: str) -> None:
    """What it does afterwards is another story."""
    assert (await customer(shop(), card=card)).id == "cus_test_1"


@pytest.mark.usefixtures("stripe_billing")
@pytest.mark.parametrize(
    ("card", "said"),
    [
        ("declined", "Your card was declined"),
        ("insufficient funds", "Your card has insufficient funds"),
        ("1234 5678 1234 5678", "only test card numbers work"),
        ("god", 'none of "good", "declined"'),
    ],
)
async def test_a_card_that_is_not_taken_is_an_error(card: str, said: str) -> None:
    """In the words that the payer would read."""
    with pytest.raises(ValueError, match=said):
        await customer(shop(), card=card)


async def test_a_card_that_fails_at_the_end_of_the_month_stops_the_calls(stripe_clock: HandClock) -> None:
    """Stripe took it at Checkout, so only the invoice shows it; the caller is sent to that invoice."""
    server = shop()
    caller = await customer(server, card="declined later")
    async with Client(server) as client:
        with caller.calling():
            await call(client)
            stripe_clock.advance(days=31)
            refused = await call(client)
    assert "your last invoice is not paid" in refused.content[0].text
    assert [(invoice.text, invoice.status) for invoice in caller.invoices()] == [("$0.60", "open")]


@pytest.mark.usefixtures("stripe_billing")
async def test_a_misspelt_tool_is_an_error() -> None:
    """A quiet 0 would let a test pass that looks at nothing."""
    caller = await customer(shop())
    with pytest.raises(LookupError, match="no tool 'sumarize' was ever on sale; summarize, translate was"):
        caller.usage("sumarize")


async def test_usage_that_cannot_arrive_is_an_error(
    stripe_billing: StripeMeter, stripe_emulator: EmulatorServer
) -> None:
    """Else a bill would be compared that is not complete."""
    server = shop()
    caller = await customer(server)
    stripe_emulator.emulator.faults.add(kind="status", status=503, path="/v1/billing/meter_events", times=1000)
    async with Client(server) as client:
        with caller.calling():
            await call(client)
    with pytest.raises(TimeoutError, match="1 calls did not reach the emulated Stripe"):
        caller.owed()
    stripe_emulator.emulator.faults.clear()


@pytest.mark.usefixtures("stripe_billing")
async def test_who_has_cancelled_has_no_next_invoice(stripe_emulator: EmulatorServer) -> None:
    """Stripe says so, and a test must not read it as nothing owed."""
    caller = await customer(shop())
    async with httpx2.AsyncClient(headers={"Authorization": "Bearer sk_test_emulator"}) as dashboard:
        await dashboard.delete(f"{stripe_emulator.url}/v1/subscriptions/sub_test_1")
    with pytest.raises(StripeUnavailable, match="No upcoming invoices for customer: cus_test_1"):
        caller.owed()


@pytest.mark.usefixtures("stripe_billing")
async def test_the_key_is_in_no_representation() -> None:
    """Test reports are published."""
    caller = await customer(shop())
    assert caller.api_key.startswith("smk_cus_test_1_")
    assert caller.api_key not in repr(caller)


async def test_a_server_that_nobody_bills_has_no_customers() -> None:
    """The sentence names the fixture."""
    with pytest.raises(ConfigurationError, match="ask for the fixture stripe_billing"):
        await customer(shop())


async def test_nobody_pays_stripe_itself_with_a_test_card(make_billing: Make) -> None:
    """A customer of a real account would be real."""
    with (
        use(make_billing(settings=Settings(stripe_secret_key="sk_live_of_the_author"))),
        pytest.raises(ConfigurationError, match="billed by Stripe itself"),
    ):
        await customer(shop())


@pytest.mark.usefixtures("stripe_billing")
async def test_a_server_that_sells_nothing_has_no_customers() -> None:
    """The sentence shows how to sell something."""
    with pytest.raises(ConfigurationError, match=r'write @metered\("\$0.05"\) below @mcp.tool\(\)'):
        await customer(MCPServer("tools"))


async def test_where_billing_is_switched_off_nobody_can_buy(
    stripe_emulator: EmulatorServer, make_billing: Make
) -> None:
    """A suite that turned it off by mistake would otherwise test tools that are free."""
    with use(make_billing(settings=Settings(enabled=False))), pytest.raises(StripeUnavailable, match="switched off"):
        await customer(shop())


async def test_without_use_the_author_s_own_meters_sell(stripe_emulator: EmulatorServer, make_billing: Make) -> None:
    """The one attached to the server, or the one that its tools name."""
    for is_attached in (True, False):
        billing = make_billing()
        server = shop() if is_attached else shop(priced=billing.metered)
        if is_attached:
            billing.attach(server)
        caller = await customer(server)
        async with Client(server) as client:
            with caller.calling():
                await call(client)
        assert caller.owed() == "$0.60"
        assert billing.stats().accepted == 1


async def test_an_emulated_stripe_that_is_gone_is_an_error(
    stripe_billing: StripeMeter, stripe_emulator: EmulatorServer
) -> None:
    """Not a bill of nothing."""
    caller = await customer(shop())
    stripe_emulator.stop()
    with pytest.raises(StripeUnavailable, match="did not answer"):
        caller.owed()
