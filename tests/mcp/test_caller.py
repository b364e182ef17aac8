"""Who a request is believed to come from, over real HTTP."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import fastmcp
import httpx2
import pytest
from fastmcp.server.auth import StaticTokenVerifier
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer
from pydantic import AnyHttpUrl

from stripe_meter.domain.identity import Caller, Principal
from stripe_meter.enforcement.engine import Engine
from stripe_meter.enforcement.identity import reading
from stripe_meter.enforcement.identity.reading import principal_of
from stripe_meter.mcp.attach import attach
from stripe_meter.mcp.caller import read_caller
from stripe_meter.mcp.decorator import metered
from tests.mcp.steps import connected, tool_of
from tests.serving import served

pytestmark = pytest.mark.anyio


def request(*headers: tuple[bytes, bytes], token: object = None, **scope: Any) -> Any:
    """What a framework hands over for one HTTP request."""
    values = {
        "client": ("203.0.113.7", 55555),
        "server": ("10.0.0.2", 8000),
        "scheme": "http",
        "headers": list(headers),
        "user": SimpleNamespace(access_token=token) if token else None,
        **scope,
    }
    return SimpleNamespace(request_context=SimpleNamespace(request=SimpleNamespace(scope=values)))


def loopback(*headers: tuple[bytes, bytes], host: bytes = b"127.0.0.1:8000", **scope: Any) -> Any:
    """A request from this machine to this machine."""
    local = {"client": ("127.0.0.1", 55555), "server": ("127.0.0.1", 8000), **scope}
    return request((b"host", host), *headers, **local)


def seen(ctx: Any) -> Caller:
    """Who is read out of a framework's context, by an engine that has met nobody."""
    return read_caller(ctx, Engine())


def test_an_api_key_comes_in_either_header() -> None:
    """Some clients can set only one of them."""
    first = seen(request((b"x-api-key", b"smk_cus_1_a")))
    second = seen(request((b"authorization", b"Bearer smk_cus_1_a")))
    assert first == second
    assert first.api_key == "smk_cus_1_a"
    assert first.client == "203.0.113.7"
    assert b"smk" not in first.credential


@pytest.mark.parametrize(
    "header",
    [
        (b"authorization", b"Bearer eyJhbGciOi"),
        (b"authorization", b"Basic smk_cus_1_a"),
        (b"x-api-key", b"smk_" + b"a" * 9000),
        (b"x-api-key", b"smk_cus_1\x00a"),
        (b"x-api-key", b"   "),
        (b"x-customer", b"cus_1"),
    ],
    ids=["foreign bearer", "basic", "too long", "control character", "blank", "claimed customer"],
)
def test_what_is_no_key_of_ours_is_no_identity(header: tuple[bytes, bytes]) -> None:
    """Such a caller is unknown, not an error."""
    caller = seen(request(header))
    assert caller == Caller(b"a203.0.113.7", client="203.0.113.7")
    assert not caller.is_known


def test_a_verified_token_wins_over_a_key() -> None:
    """It was checked; a key has still to be looked up."""
    token = SimpleNamespace(client_id="app", subject="ann", claims={"iss": "https://id.example"})
    caller = seen(request((b"x-api-key", b"smk_cus_1_a"), token=token))
    assert caller.principal == Principal("https://id.example", "ann")
    assert caller.api_key is None


def test_identities_have_different_credentials() -> None:
    """The credential is a cache key: two identities that share one would share a bill."""
    tokens = [
        SimpleNamespace(client_id="app", subject="ann", claims={"iss": "https://a"}),
        SimpleNamespace(client_id="app", subject="ann", claims={"iss": "https://b"}),
        SimpleNamespace(client_id="app", subject="bob", claims={"iss": "https://a"}),
        SimpleNamespace(client_id="ann", subject=None, claims={"iss": "https://a"}),
        SimpleNamespace(client_id="app", subject="ann", claims=None),
        SimpleNamespace(client_id="ann", subject=None, claims=None),
    ]
    callers = [seen(request(token=token)) for token in tokens]
    callers += [seen(request((b"x-api-key", key))) for key in (b"smk_a", b"smk_b")]
    callers += [seen(request(client=(address, 1))) for address in ("203.0.113.7", "203.0.113.8")]
    assert len({caller.credential for caller in callers}) == len(callers)


def test_an_application_is_billed_only_where_no_person_is_named() -> None:
    """`client_id` is shared by everybody who uses the application, and never looks like a person."""
    assert principal_of(SimpleNamespace(client_id="app", subject=None, claims={"sub": "ann"})) == Principal(
        "client:app", "ann"
    )
    nobody = principal_of(SimpleNamespace(client_id="ann", subject=None, claims={"iss": "client:app"}))
    assert nobody == Principal("application:client:app", "ann")


def test_our_own_pages_are_found_on_this_machine_only() -> None:
    """So that the first run needs no setting."""
    assert seen(loopback()).base_url == "http://127.0.0.1:8000"
    assert seen(loopback(host=b"localhost:8000")).base_url == "http://127.0.0.1:8000"
    assert seen(loopback(host=b"[::1]:8000", server=("::1", 8000))).base_url == "http://[::1]:8000"


@pytest.mark.parametrize(
    "ctx",
    [
        loopback(host=b"evil.example"),
        loopback(host=b"127.0.0.1.evil.example:8000"),
        loopback((b"x-forwarded-host", b"evil.example")),
        loopback((b"forwarded", b"host=evil.example")),
        loopback(client=("203.0.113.7", 1)),
        loopback(server=("10.0.0.2", 8000)),
        loopback(server=None),
        request((b"host", b"localhost")),
    ],
    ids=[
        "forged host",
        "look-alike",
        "forwarded host",
        "forwarded",
        "remote client",
        "remote socket",
        "none",
        "remote",
    ],
)
def test_a_forged_address_is_never_believed(ctx: Any) -> None:
    """The payer's browser would carry the page with their API key to whoever forged it."""
    assert seen(ctx).base_url is None


def test_a_local_caller_is_known_by_the_key_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """On stdio one process serves one caller."""
    ctx = SimpleNamespace(request_context=SimpleNamespace(request=None))
    assert seen(ctx) == Caller(b"local", is_local=True)
    monkeypatch.setenv("STRIPE_METER_API_KEY", "smk_cus_1_a")
    assert seen(ctx) == Caller.local("smk_cus_1_a")
    assert seen(ctx).is_local


class Tokens:
    """A verifier that knows two people who use the same application."""

    async def verify_token(self, token: str) -> AccessToken | None:
        if token not in ("ann", "bob"):
            return None
        return AccessToken(token=token, client_id="app", scopes=[], subject=token, claims={"iss": "https://id.example"})


def mcp_app(engine: Engine, *, auth: bool) -> Any:
    options: Any = {}
    if auth:
        base = AnyHttpUrl("https://id.example")
        settings = AuthSettings(issuer_url=base, resource_server_url=base, validate_token_resource=False)
        options = {"token_verifier": Tokens(), "auth": settings}
    server = MCPServer("tools", **options)
    attach(engine, server, mount=lambda add: add("/billing/hello", ["GET"], hello))
    add_tool(server)
    return server.streamable_http_app()


def fastmcp_app(engine: Engine, *, auth: bool) -> Any:
    people = {name: {"client_id": "app", "sub": name, "iss": "https://id.example"} for name in ("ann", "bob")}
    server = fastmcp.FastMCP("tools", auth=StaticTokenVerifier(people) if auth else None)
    attach(engine, server, mount=lambda add: add("/billing/hello", ["GET"], hello))
    add_tool(server)
    return server.http_app()


def add_tool(server: Any) -> None:
    @tool_of(server)
    @metered("$0.05")
    async def summarize() -> str:
        return "done"


async def hello(request: Any) -> Any:
    from starlette.responses import PlainTextResponse

    return PlainTextResponse("hello")


@pytest.mark.parametrize("make", [mcp_app, fastmcp_app], ids=["mcp", "fastmcp"])
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_an_api_key_is_billed_over_http(
    make: Any, mode: str, engine: Engine, api_key: str, billed: Callable[[], dict[str, int]]
) -> None:
    """The key decides, whatever key the server's own environment holds; without one there is a link."""
    with served(make(engine, auth=False)) as url:
        async with connected(url, mode, **{"x-api-key": api_key}) as client:
            assert (await client.call_tool("summarize", {})).is_error is False
        async with connected(url, mode) as client:
            refused = await client.call_tool("summarize", {})
    assert refused.meta is not None
    assert refused.meta["stripe-meter/payment-required"]["reason"] == "identity_required"
    assert billed() == {"summarize": 1}


@pytest.mark.parametrize("make", [mcp_app, fastmcp_app], ids=["mcp", "fastmcp"])
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_token_is_billed_to_its_subject(make: Any, mode: str, engine: Engine) -> None:
    """Two people behind one application get two links, because they are two customers."""
    links = set()
    with served(make(engine, auth=True)) as url:
        for person in ("ann", "bob"):
            async with connected(url, mode, authorization=f"Bearer {person}") as client:
                refused = await client.call_tool("summarize", {})
            assert refused.meta is not None
            data = refused.meta["stripe-meter/payment-required"]
            assert data["reason"] == "payment_required"
            links.add(data["checkout_url"])
    assert len(links) == 2


@pytest.mark.parametrize("make", [mcp_app, fastmcp_app], ids=["mcp", "fastmcp"])
async def test_pages_are_mounted_into_the_server(make: Any, engine: Engine) -> None:
    """Even where the tools need a token, because the payer's browser has none."""
    with served(make(engine, auth=True)) as url:
        async with httpx2.AsyncClient() as http:
            page = await http.get(f"{url}/billing/hello")
    assert page.text == "hello"


def test_a_newcomer_takes_the_place_of_one_other_caller(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forgetting all at once would read and hash every busy caller anew, whenever enough strangers came by."""
    monkeypatch.setattr(reading, "_MOST_CALLERS", 3)
    for number in range(5):
        read_caller(request((b"x-api-key", b"smk_cus_1_%d" % number)), engine)
    assert [seen[1] for seen in engine.identity.seen] == [b"smk_cus_1_2", b"smk_cus_1_3", b"smk_cus_1_4"]
