"""The pages a payer comes back to, over HTTP."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit

import httpx
import pytest

from stripe_meter.domain.identity import Caller
from stripe_meter.domain.refusals import Refusal
from stripe_meter.emulator import EmulatorServer
from stripe_meter.enforcement.engine import Engine
from stripe_meter.enforcement.gate import Admission
from stripe_meter.meter import StripeMeter
from stripe_meter.settings import Settings
from stripe_meter.web.local import serve_pages
from stripe_meter.web.routes import app
from tests.conftest import a_tool, stranger, with_key

pytestmark = pytest.mark.anyio


def browser(engine: Engine) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app(engine, engine.routes))
    return httpx.AsyncClient(transport=transport, base_url="http://tools.example.com")


async def paid_link(engine: Engine, stripe: EmulatorServer) -> str:
    """Path and query of the success page after a stranger paid."""
    refusal = await engine.admit(a_tool(), stranger())
    assert isinstance(refusal, Refusal)
    back = urlsplit(stripe.complete_checkout(str(refusal.checkout_url), email="caller@example.com"))
    return f"{back.path}?{back.query}"


async def test_the_success_page_shows_a_key_that_works_once(engine: Engine, stripe: EmulatorServer) -> None:
    """The first visit shows it, the second says that it was shown."""
    link = await paid_link(engine, stripe)
    async with browser(engine) as client:
        first, second = await client.get(link), await client.get(link)
    match = re.search(r'id="api-key">(smk_[^<]+)<', first.text)
    assert match is not None
    assert isinstance(await engine.admit(a_tool(), with_key(match[1])), Admission)
    assert second.status_code == 200
    assert "smk_" not in second.text
    assert "shown already" in second.text


async def test_pages_that_show_secrets_are_not_kept_framed_or_leaked(engine: Engine, stripe: EmulatorServer) -> None:
    """No cache, no referrer, no frame, no script."""
    async with browser(engine) as client:
        page = await client.get(await paid_link(engine, stripe))
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["x-frame-options"] == "DENY"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "<script" not in page.text


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?session_id=cs_1234",
        "?session_id=../../v1/customers",
        "?session_id=cs_1234&claim=<script>",
        "?session_id=" + "c" * 5000,
        "?session_id=cs_1234%00",
    ],
)
async def test_a_link_that_belongs_to_no_payment_shows_nothing(engine: Engine, query: str) -> None:
    """A clear 404; what was in the link is not repeated."""
    async with browser(engine) as client:
        page = await client.get(f"/billing/success{query}")
    assert page.status_code == 404
    assert "does not belong to a finished payment" in page.text
    assert "script>" not in page.text


async def test_when_stripe_is_away_the_page_asks_to_reload(engine: Engine, stripe: EmulatorServer) -> None:
    """The key is not lost: reloading shows it."""
    link = await paid_link(engine, stripe)
    stripe.emulator.faults.add(path="/v1/checkout/sessions", kind="status", status=503, times=3)
    async with browser(engine) as client:
        page, again = await client.get(link), await client.get(link)
    assert page.status_code == 503
    assert "Reload" in page.text
    assert "smk_" in again.text


async def test_a_known_customer_is_told_to_go_back(engine: Engine, stripe: EmulatorServer) -> None:
    """No key is needed where the access token says who calls."""
    from tests.enforcement.test_engine import someone

    refusal = await engine.admit(a_tool(), someone())
    assert isinstance(refusal, Refusal)
    back = urlsplit(stripe.complete_checkout(str(refusal.checkout_url)))
    async with browser(engine) as client:
        page = await client.get(f"{back.path}?{back.query}")
        cancelled = await client.get("/billing/cancel")
    assert "smk_" not in page.text
    assert "call the tool again" in page.text
    assert "Nothing was charged" in cancelled.text


async def test_other_methods_are_refused(engine: Engine) -> None:
    """The pages are read only."""
    async with browser(engine) as client:
        assert (await client.post("/billing/success")).status_code == 405


async def test_a_stdio_server_shows_the_page_on_loopback(
    make_engine: Callable[..., Engine], stripe: EmulatorServer
) -> None:
    """It has no HTTP of its own, so its pages are served beside it, on this machine only."""
    engine = make_engine(public_url=None)
    engine.local_pages = serve_pages
    refusal = await engine.admit(a_tool(), Caller(b"local", is_local=True))
    assert isinstance(refusal, Refusal)
    back = stripe.complete_checkout(str(refusal.checkout_url), email="caller@example.com")
    assert urlsplit(back).hostname == "127.0.0.1"
    async with httpx.AsyncClient() as client:
        page = await client.get(back)
    assert "smk_" in page.text
    assert await engine.thread.call(lambda _: serve_pages(engine), 5.0) == back.partition("/success")[0]


async def test_the_pages_mount_into_any_asgi_app(stripe: EmulatorServer) -> None:
    """`StripeMeter.asgi()`."""
    billing = StripeMeter(settings=Settings(emulator=stripe.url))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(billing.asgi()), base_url="http://a") as client:
        assert (await client.get("/cancel")).status_code == 200
    billing.close()
