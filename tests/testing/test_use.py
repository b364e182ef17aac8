"""`use`: one StripeMeter bills every tool of the process while it is open."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import fastmcp
import httpx
import pytest
from mcp import Client
from mcp.server.mcpserver import MCPServer

from stripe_meter import StripeMeter
from stripe_meter.emulator import EmulatorServer
from stripe_meter.settings import Settings
from stripe_meter.testing import customer, use
from tests.testing.conftest import call, client_of, shop

pytestmark = pytest.mark.anyio

Make = Callable[..., StripeMeter]
RECEIPT = "stripe-meter/receipt"


@pytest.fixture
def production(make_billing: Make) -> StripeMeter:
    """The author's own StripeMeter: built with a live key, where no connection may ever be opened."""
    billing = make_billing(settings=Settings(stripe_secret_key="sk_live_of_the_author", timeout=0.5))
    assert billing.engine.settings.mode == "live"
    return billing


@pytest.mark.parametrize("kind", [MCPServer, fastmcp.FastMCP], ids=["mcp", "fastmcp"])
async def test_an_attached_server_is_billed_by_the_test(
    production: StripeMeter, stripe_billing: StripeMeter, kind: Any
) -> None:
    """The check, the prices, both kinds of tool and the receipt: nothing of the author's own account is touched."""
    server = shop(kind)
    production.attach(server)
    caller = await customer(server)
    async with client_of(server) as client:
        with caller.calling():
            answers = [await call(client), await call(client, "translate")]
    assert [answer.meta[RECEIPT]["customer"] for answer in answers] == [caller.id, caller.id]
    assert (caller.usage("summarize"), caller.usage("translate")) == (1, 1)
    assert production.stats().accepted == 0
    assert production.engine.tools == []


async def test_it_comes_before_the_one_named_at_the_decorator(
    production: StripeMeter, stripe_billing: StripeMeter
) -> None:
    """The last word is the test's, or a suite would bill whoever the code names."""
    server = shop(priced=production.metered)
    caller = await customer(server)
    async with Client(server) as client:
        with caller.calling():
            await call(client)
            await call(client, "translate")
    assert caller.owed() == "$1.10"
    assert production.engine.tools == []


async def test_a_running_server_follows_with_its_next_call(stripe_emulator: EmulatorServer, make_billing: Make) -> None:
    """Its tasks began before, where a context variable would still say otherwise; `def` tools run in other threads."""
    own, other = make_billing(), make_billing()
    server = shop()
    own.attach(server)
    caller = await customer(server)
    async with Client(server) as client:
        with caller.calling():
            await call(client)
        with use(other), caller.calling():
            await call(client)
            await call(client, "translate")
        with caller.calling():
            await call(client)
    assert (own.stats().accepted, other.stats().accepted) == (2, 2)
    assert caller.usage("summarize") == 3


async def test_the_one_opened_last_counts_in_whatever_order_they_end(
    stripe_emulator: EmulatorServer, make_billing: Make
) -> None:
    """Fixtures of different scopes may end in an order of their own, and nothing of them must stay."""
    first, second, third = make_billing(), make_billing(), make_billing()
    server = shop()
    first.attach(server)
    caller = await customer(server)
    uses = [ExitStack(), ExitStack(), ExitStack()]
    served: list[tuple[int, ...]] = []

    async def served_by() -> None:
        before = [billing.stats().accepted for billing in (first, second, third)]
        async with Client(server) as client:
            with caller.calling():
                assert not (await call(client)).is_error
        after = [billing.stats().accepted for billing in (first, second, third)]
        served.append(tuple(new - old for new, old in zip(after, before, strict=True)))

    uses[0].enter_context(use(second))
    uses[1].enter_context(use(third))
    uses[2].enter_context(use(second))
    for number in (0, 2, 1):
        await served_by()
        uses[number].close()
    await served_by()
    assert served == [(0, 1, 0), (0, 1, 0), (0, 0, 1), (1, 0, 0)]


async def test_a_test_that_fails_ends_it(stripe_emulator: EmulatorServer, make_billing: Make) -> None:
    """A failure must not reach the tests after it."""
    own, other = make_billing(), make_billing()
    server = shop()
    own.attach(server)
    with pytest.raises(AssertionError), use(other):
        raise AssertionError
    caller = await customer(server)
    async with Client(server) as client:
        with caller.calling():
            await call(client)
    assert (own.stats().accepted, other.stats().accepted) == (1, 0)


async def test_a_receipt_waits_for_whoever_bills(
    production: StripeMeter, stripe_emulator: EmulatorServer, make_billing: Make
) -> None:
    """Under `sync` an answer means delivered, also where the attached StripeMeter is not like that."""
    billing = make_billing(settings=Settings(durability="sync"))
    server = shop()
    production.attach(server)
    with use(billing):
        caller = await customer(server)
        async with Client(server) as client:
            with caller.calling():
                result = await call(client)
    assert result.meta[RECEIPT]["status"] == "delivered"
    assert billing.stats().pending == 0


async def test_what_keeps_one_from_billing_does_not_keep_the_other(
    make_billing: Make, stripe_emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason for a refusal is kept for half a minute, which must not reach into a test or out of it."""
    with monkeypatch.context() as shell:
        shell.delenv("STRIPE_METER_EMULATOR")
        without_key = make_billing()
        assert without_key.engine.settings.emulator is None
    able = make_billing()
    parent, server = fastmcp.FastMCP("parent"), shop(fastmcp.FastMCP)
    without_key.attach(server)
    parent.mount(server)  # below a parent the check runs with the first message
    async with client_of(parent) as client:
        reasons = [await _reason(client)]
        with use(able):
            reasons.append(await _reason(client))
        reasons.append(await _reason(client))
    assert reasons == ["billing_unavailable", "identity_required", "billing_unavailable"]


async def test_checkout_leads_back_to_the_pages_of_the_server(
    production: StripeMeter, stripe_billing: StripeMeter, stripe_emulator: EmulatorServer
) -> None:
    """A purchase made in a test ends on the author's own success page, which asks the emulated Stripe about it."""
    server = shop()
    production.attach(server, routes="/pay")
    async with Client(server) as client:
        refused = (await call(client)).meta["stripe-meter/payment-required"]
    back = httpx.URL(stripe_emulator.complete_checkout(refused["checkout_url"], email="caller@example.com"))
    assert back.path == "/pay/success"
    transport = httpx.ASGITransport(app=production.asgi())
    async with httpx.AsyncClient(transport=transport, base_url="http://author") as browser:
        page = await browser.get("/success", params=back.params)
    assert page.status_code == 200
    async with Client(server) as client:
        assert not (await call(client)).is_error  # a stdio server knows the payer by their session


async def test_a_lifespan_delivers_what_the_test_is_billed(
    production: StripeMeter, stripe_billing: StripeMeter
) -> None:
    """The promise of `lifespan` is about the server's usage, whoever bills it."""
    server = MCPServer("tools", lifespan=production.lifespan())
    server.add_tool(production.metered("$0.60")(_summarize))
    production.attach(server)
    caller = await customer(server)
    async with Client(server) as client:
        with caller.calling():
            await call(client)
    assert stripe_billing.stats().pending == 0
    assert stripe_billing.stats().delivered == 1


async def _reason(client: Any) -> str:
    return str((await call(client)).meta["stripe-meter/payment-required"]["reason"])


async def _summarize(url: str) -> str:
    return url


_summarize.__name__ = "summarize"
