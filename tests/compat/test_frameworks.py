"""What every framework line must do for a paid tool, in memory, over stdio and over HTTP."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stripe_meter.emulator import EmulatorServer
from stripe_meter.enforcement.engine import Engine
from stripe_meter.mcp.attach import attach
from stripe_meter.mcp.frameworks import line_of
from tests.compat import drivers
from tests.compat.drivers import Outcome
from tests.compat.server import Built, build, classes

pytestmark = pytest.mark.anyio

Billed = Callable[..., dict[str, int]]

REFUSED = "stripe-meter/payment-required"
RECEIPT = "stripe-meter/receipt"
PRICE = "stripe-meter/price"


def assert_refused(outcome: Outcome, tool: str, stripe: EmulatorServer) -> None:
    assert outcome.is_error
    assert f"{tool} costs $0.05" in outcome.text
    assert stripe.url in outcome.text


def command(line: str, how: str, transport: str = "stdio", port: int = 0) -> list[str]:
    return [sys.executable, str(Path(__file__).with_name("server.py")), line, how, transport, str(port)]


def environment(**more: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
    return {"FASTMCP_CHECK_FOR_UPDATES": "off", "FASTMCP_LOG_LEVEL": "ERROR", **kept, **more}


def test_the_line_is_installed(wanted_line: str) -> None:
    """Where it is not, it is tested elsewhere."""
    if drivers.installed(wanted_line) is None and not os.environ.get("COMPAT_LINE"):
        pytest.skip(f"{wanted_line} is not installed here; nox tests it in an environment of its own")
    assert drivers.installed(wanted_line) is not None


def test_the_classes_of_a_line_are_told_apart(line: str) -> None:
    """FastMCP 3 and 4 share their names; what belongs to no framework is of no line."""
    server, context = classes(line)
    assert line_of(server) == line_of(context) == line
    assert line_of(dict) is None


async def test_an_unpaid_call_answers_with_price_and_link(line: str, engine: Engine, stripe: EmulatorServer) -> None:
    """As a tool error, which every client shows, from every shape of tool."""
    built = build(line)
    attach(engine, built.server)
    async with drivers.in_memory(line, built.server) as client:
        for tool in ("async_plain", "sync_plain", "async_context", "sync_context"):
            assert_refused(await client.call(tool, text="a"), tool, stripe)


async def test_a_refusal_carries_its_data(line: str, engine: Engine) -> None:
    """For clients that read more than text."""
    built = build(line)
    attach(engine, built.server)
    async with drivers.in_memory(line, built.server) as client:
        for tool in ("async_plain", "sync_plain"):
            data = (await client.call(tool, text="a")).meta[REFUSED]
            assert data["price"] == "$0.05 a call"
            assert data["checkout_url"].startswith("http")


@pytest.mark.parametrize("tool", ["async_plain", "async_context", "sync_plain", "sync_context"])
async def test_a_paid_call_answers_and_is_billed_once(
    line: str, tool: str, engine: Engine, api_key: str, billed: Billed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the shape of the tool."""
    monkeypatch.setenv("STRIPE_METER_API_KEY", api_key)
    built = build(line)
    attach(engine, built.server)
    async with drivers.in_memory(line, built.server) as client:
        outcome = await client.call(tool, text="a")
    assert outcome.text == ("A Context" if tool.endswith("context") else "A")
    assert not outcome.is_error
    assert engine.flush()
    assert billed(1) == {tool: 1}


async def test_a_result_carries_its_receipt(
    line: str, engine: Engine, api_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that an agent knows what it has spent."""
    monkeypatch.setenv("STRIPE_METER_API_KEY", api_key)
    built = build(line)
    attach(engine, built.server)
    async with drivers.in_memory(line, built.server) as client:
        for tool in ("async_plain", "sync_plain"):
            assert (await client.call(tool, text="a")).meta[RECEIPT]["charged"] is True


async def test_a_failing_tool_costs_nothing(
    line: str, engine: Engine, api_key: str, billed: Billed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client sees the framework's error, and Stripe nothing of it; nor of arguments that do not fit."""
    monkeypatch.setenv("STRIPE_METER_API_KEY", api_key)
    built = build(line)
    attach(engine, built.server)
    async with drivers.in_memory(line, built.server) as client:
        failed = await client.call("failing", text="a")
        unfit = await client.call("sync_plain", text="a", times="often")
        assert not (await client.call("async_plain", text="a")).is_error
    assert failed.is_error
    assert unfit.is_error
    assert engine.flush()
    assert billed(1) == {"async_plain": 1}


async def test_metering_changes_no_schema(line: str, engine: Engine) -> None:
    """Parameters, results and documentation are listed as they are without it."""
    paid, free = build(line), build(line, is_paid=False)
    attach(engine, paid.server)
    async with drivers.in_memory(line, paid.server) as client:
        metered = await client.tools()
    async with drivers.in_memory(line, free.server) as client:
        plain = await client.tools()
    for tools in (metered, plain):
        for tool in tools.values():
            tool.pop("_meta", None)
    assert metered == plain


async def test_the_list_shows_prices(line: str, engine: Engine) -> None:
    """An agent can compare before it calls."""
    built = build(line)
    attach(engine, built.server)
    async with drivers.in_memory(line, built.server) as client:
        tools = await client.tools()
    assert tools["sync_plain"]["_meta"][PRICE]["text"] == "$0.05 a call"
    assert PRICE not in (tools["free"].get("_meta") or {})


async def test_a_direct_call_is_plain_python(line: str, engine: Engine, stripe: EmulatorServer) -> None:
    """A unit test of the author's pays nothing and needs no key."""
    built = build(line)
    attach(engine, built.server)
    assert await built.tools["async_plain"]("a") == "A"
    assert built.tools["sync_plain"]("a", times=2) == "AA"
    assert engine.flush()
    assert not stripe.emulator.log.records


def parent_of_child(line: str) -> Built:
    """A server with nothing to sell, and one with paid tools mounted below it."""
    if not line.startswith("fastmcp"):
        pytest.skip(f"{line} mounts no servers into servers")
    parent, child = build(line, is_paid=False, name="Parent"), build(line, name="Child")
    parent.server.mount(child.server, namespace="sub")
    return parent


async def test_a_tool_of_a_mounted_child_is_refused(line: str, engine: Engine, stripe: EmulatorServer) -> None:
    """Attached to the parent, the refusal comes through with its link."""
    parent = parent_of_child(line)
    attach(engine, parent.server)
    async with drivers.in_memory(line, parent.server) as client:
        assert_refused(await client.call("sub_sync_plain", text="a"), "sync_plain", stripe)


async def test_a_tool_of_a_mounted_child_is_billed(
    line: str, engine: Engine, api_key: str, billed: Billed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attached to the parent, billing reaches what is mounted below it."""
    monkeypatch.setenv("STRIPE_METER_API_KEY", api_key)
    parent = parent_of_child(line)
    attach(engine, parent.server)
    async with drivers.in_memory(line, parent.server) as client:
        for tool in ("sub_sync_plain", "sub_async_context"):
            outcome = await client.call(tool, text="a")
            assert not outcome.is_error
            assert outcome.meta[RECEIPT]["charged"] is True
        assert (await client.tools())["sub_sync_plain"]["_meta"][PRICE]["text"] == "$0.05 a call"
    assert engine.flush()
    assert billed(2) == {"sync_plain": 1, "async_context": 1}


async def test_looking_up_a_new_caller_stops_nobody_else(line: str, engine: Engine, stripe: EmulatorServer) -> None:
    """Stripe is slow, and meanwhile the event loop answers others; also where `def` tools run on it."""
    built = build(line)
    attach(engine, built.server)
    async with drivers.in_memory(line, built.server) as client:
        assert (await client.call("free")).text == "free"  # the check before the first call has been made
        slow = stripe.emulator.faults.add(kind="slow", path="/v1/checkout", seconds=2.0)
        cold = asyncio.create_task(client.call("sync_plain", text="a"))
        async with asyncio.timeout(drivers.WAIT):
            while slow.times:  # until the request has come in, and its answer waits
                assert (await client.call("free")).text == "free"
        assert (await client.call("free")).text == "free"
        assert not cold.done()
        assert_refused(await cold, "sync_plain", stripe)


async def test_over_http_a_key_in_the_headers_pays(
    line: str, engine: Engine, api_key: str, billed: Billed, stripe: EmulatorServer
) -> None:
    """Each request shows who calls; without a key there is the link."""
    built = build(line)
    attach(engine, built.server)
    with drivers.served(drivers.app_of(line, built.server)) as url:
        async with drivers.over_http(line, url) as client:
            for tool in ("async_plain", "sync_context"):
                assert_refused(await client.call(tool, text="a"), tool, stripe)
        async with drivers.over_http(line, url, {"x-api-key": api_key}) as client:
            for tool in ("async_plain", "sync_context"):
                assert not (await client.call(tool, text="a")).is_error
    assert engine.flush()
    assert billed(2) == {"async_plain": 1, "sync_context": 1}


@pytest.mark.parametrize("tool", ["async_plain", "sync_plain"])
async def test_a_client_that_can_is_asked_to_open_the_link(
    line: str, tool: str, engine: Engine, stripe: EmulatorServer
) -> None:
    """Once, and whatever it answers the text with the link follows."""
    built = build(line)
    attach(engine, built.server)
    asked: list[str] = []
    with drivers.served(drivers.app_of(line, built.server)) as url:
        async with drivers.sdk_over_http(url, asked=asked.append) as client:
            outcome = await client.call(tool, text="a")
    assert_refused(outcome, tool, stripe)
    assert len(asked) == 1
    assert asked[0] in outcome.text


async def test_a_server_that_answers_in_json_sends_the_text_at_once(
    line: str, engine: Engine, stripe: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a call cannot ask while it runs is not waited for."""
    built = build(line)
    attach(engine, built.server)
    with drivers.served(drivers.json_app_of(line, built.server, monkeypatch)) as url:
        async with asyncio.timeout(15), drivers.sdk_over_http(url, asked=lambda link: None) as client:
            for tool in ("async_plain", "sync_plain"):
                assert_refused(await client.call(tool, text="a"), tool, stripe)


@pytest.mark.parametrize("how", ["attached", "bare"])
async def test_over_stdio_the_key_of_the_environment_pays(
    line: str, how: str, engine: Engine, api_key: str, billed: Billed, stripe: EmulatorServer
) -> None:
    """With the decorator alone as well as attached."""
    settings = environment(STRIPE_METER_EMULATOR=stripe.url, STRIPE_METER_API_KEY=api_key)
    async with drivers.over_stdio(line, command(line, how), settings) as client:
        for tool in ("async_plain", "sync_context"):
            assert not (await client.call(tool, text="a")).is_error
        assert (await client.call("failing", text="a")).is_error
    assert billed(2) == {"async_plain": 1, "sync_context": 1}


async def test_over_stdio_the_decorator_alone_refuses(line: str, stripe: EmulatorServer) -> None:
    """Text and link need nothing else, whatever the framework does with results."""
    settings = environment(STRIPE_METER_EMULATOR=stripe.url)
    async with drivers.over_stdio(line, command(line, "bare"), settings) as client:
        for tool in ("async_plain", "sync_plain"):
            assert_refused(await client.call(tool, text="a"), tool, stripe)


@pytest.mark.parametrize("transport", ["stdio", "streamable-http"])
def test_a_server_without_a_key_ends_with_one_sentence(line: str, transport: str) -> None:
    """Before it serves anything, with status 1 and without a traceback, though its stdin stays open."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with subprocess.Popen(
        command(line, "attached", transport, port),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        assert process.stderr is not None
        try:
            status = process.wait(drivers.WAIT)
        finally:
            process.kill()
        said = process.stderr.read()
    ours = [text for text in said.splitlines() if not re.match(r"INFO:|WARNING:|\s*$", text)]
    assert len(ours) == 1, said
    assert ours[0].startswith("stripe-meter: no Stripe key: set STRIPE_SECRET_KEY=")
    assert status == 1
