"""What only the MCP SDK 1.x does: a session that outlives requests, and no way to its handlers but a private one."""

# Annotations are real objects here: the context class is known only when a server is built.

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from types import MappingProxyType
from typing import Any

import pytest

from stripe_meter import metered
from stripe_meter.emulator import EmulatorServer
from stripe_meter.enforcement.engine import Engine
from stripe_meter.errors import KeyRefused
from stripe_meter.mcp.attach import attach
from tests.compat import drivers
from tests.compat.server import build, classes
from tests.compat.test_frameworks import REFUSED, assert_refused

LINE = "mcp-1"
IS_HERE = drivers.installed(LINE) is not None and os.environ.get("COMPAT_LINE", LINE) == LINE

if not IS_HERE:
    pytest.skip(f"{LINE} is not under test here; nox tests it in an environment of its own", allow_module_level=True)

pytestmark = pytest.mark.anyio

Billed = Callable[..., dict[str, int]]


@asynccontextmanager
async def changing(url: str, headers: dict[str, str]) -> AsyncIterator[tuple[drivers.Session, Any]]:
    """One session whose requests carry whatever the headers are then."""
    mcp, http = import_module("mcp"), import_module("httpx").AsyncClient(headers=headers)
    connect = import_module("mcp.client.streamable_http").streamable_http_client
    async with http, connect(url, http_client=http) as (read, write, _), mcp.ClientSession(read, write) as client:
        await client.initialize()
        yield drivers.Session(client, is_fastmcp=False), http.headers


async def test_each_request_of_a_session_shows_who_pays(
    engine: Engine, stripe: EmulatorServer, api_key: str, billed: Billed
) -> None:
    """Not whoever opened the session."""
    built = build(LINE)
    attach(engine, built.server)
    with drivers.served(drivers.app_of(LINE, built.server)) as url:
        async with changing(url, {}) as (client, headers):
            assert_refused(await client.call("sync_plain", text="a"), "sync_plain", stripe)
            headers["x-api-key"] = api_key
            assert not (await client.call("sync_plain", text="a")).is_error
            del headers["x-api-key"]
            assert_refused(await client.call("sync_plain", text="a"), "sync_plain", stripe)
    assert engine.flush()
    assert billed(1) == {"sync_plain": 1}


@pytest.mark.filterwarnings("ignore:`AuthSettings.validate_token_resource`:DeprecationWarning")
async def test_a_verified_token_pays_and_nobody_else_can_use_its_session(
    engine: Engine, stripe: EmulatorServer
) -> None:
    """The subject of the token is the customer; the SDK turns another subject away."""
    access = import_module("mcp.server.auth.provider").AccessToken

    class Tokens:
        async def verify_token(self, token: str) -> Any:
            claims = {"iss": "https://id.example"}
            return access(token=token, client_id="app", scopes=[], subject=token, claims=claims)

    auth = {"issuer_url": "https://id.example", "resource_server_url": "http://127.0.0.1/mcp"}
    settings = import_module("mcp.server.auth.settings").AuthSettings(**auth)
    server = classes(LINE)[0]("tools", auth=settings, token_verifier=Tokens())

    @server.tool()  # type: ignore[untyped-decorator]  # known only at run time
    @metered("$0.05")
    def summarize() -> str:
        return "done"

    attach(engine, server)
    with drivers.served(drivers.app_of(LINE, server)) as url:
        async with changing(url, {"authorization": "Bearer ann"}) as (client, headers):
            refused = (await client.call("summarize")).meta[REFUSED]
            stripe.complete_checkout(refused["checkout_url"], email="ann@example.com")
            assert not (await client.call("summarize")).is_error
            headers["authorization"] = "Bearer bob"
            with pytest.raises(import_module("mcp").McpError):
                await client.call("summarize")
    assert engine.flush()
    assert engine.stats().accepted == 1


async def test_a_caught_refusal_leaves_the_answer_alone(engine: Engine) -> None:
    """A free tool may pass its context on, be refused, and do without."""
    server, context = build(LINE, is_paid=False).server, classes(LINE)[1]

    @metered("$0.05")
    async def extra(word: str, ctx: context) -> str:  # type: ignore[valid-type]  # known only at run time
        return word

    async def modest(words: int, ctx: context) -> str:  # type: ignore[valid-type]  # known only at run time
        try:
            return await extra("a", ctx=ctx)
        except Exception as refusal:
            return f"without: {refusal}"

    server.tool()(extra)
    attach(engine, server)
    async with drivers.in_memory(LINE, server) as client:
        assert (await client.call("extra", word="a")).is_error
        server.tool()(modest)  # added while serving, so nothing is known about it yet
        outcome = await client.call("modest", words=1)
    assert not outcome.is_error
    assert outcome.text.startswith("without: extra costs $0.05")


async def test_without_the_way_to_the_handlers_the_text_remains(
    engine: Engine,
    make_engine: Callable[..., Engine],
    stripe: EmulatorServer,
    api_key: str,
    billed: Billed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is private to the SDK, so a release may take it away."""
    stranger, payer = build(LINE).server, build(LINE).server
    for server, biller in ((stranger, make_engine()), (payer, engine)):
        low_level = server._mcp_server
        low_level.request_handlers = MappingProxyType(low_level.request_handlers)
        attach(biller, server)
    for tool in ("async_plain", "sync_plain"):
        async with drivers.in_memory(LINE, stranger) as client:
            assert_refused(await client.call(tool, text="a"), tool, stripe)
    monkeypatch.setenv("STRIPE_METER_API_KEY", api_key)
    for tool in ("async_plain", "sync_plain"):
        async with drivers.in_memory(LINE, payer) as client:
            assert not (await client.call(tool, text="a")).is_error
    assert engine.flush()
    assert billed(2) == {"async_plain": 1, "sync_plain": 1}


async def test_somebody_elses_asgi_server_gets_the_sentence_as_an_exception(make_engine: Callable[..., Engine]) -> None:
    """A process that is not ours to end is told before it serves."""
    for name in ("streamable_http_app", "sse_app"):
        built = build(LINE)
        attach(make_engine(emulator=None), built.server)
        app = getattr(built.server, name)()
        with pytest.raises(KeyRefused, match="no Stripe key"):
            async with app.router.lifespan_context(app):
                pytest.fail("it served")


async def test_a_server_in_memory_without_a_key_refuses(
    make_engine: Callable[..., Engine], caplog: pytest.LogCaptureFixture
) -> None:
    """The check runs with the first message; its sentence is for the log alone."""
    built = build(LINE)
    attach(make_engine(emulator=None), built.server)
    with caplog.at_level(logging.ERROR, logger="stripe_meter"):
        async with drivers.in_memory(LINE, built.server) as client:
            for tool in ("async_plain", "sync_plain"):
                outcome = await client.call(tool, text="a")
                assert outcome.is_error
                assert outcome.meta[REFUSED]["reason"] == "billing_unavailable"
                assert "STRIPE_SECRET_KEY" not in outcome.text
            assert "async_plain" in await client.tools()
    assert len([record for record in caplog.records if record.name == "stripe_meter"]) == 1


async def test_a_server_without_sessions_answers_with_text_at_once(engine: Engine, stripe: EmulatorServer) -> None:
    """It knows nothing of the client that it could ask, so it asks nothing."""
    built = build(LINE)
    built.server.settings.stateless_http = True
    attach(engine, built.server)
    asked: list[str] = []
    with drivers.served(drivers.app_of(LINE, built.server)) as url:
        async with asyncio.timeout(15), drivers.sdk_over_http(url, asked=asked.append) as client:
            for tool in ("async_plain", "sync_plain"):
                assert_refused(await client.call(tool, text="a"), tool, stripe)
    assert asked == []
