"""The chooser, the links and the sign-up over HTTP: what is offered to whom, and where it leads."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from mcp.server.mcpserver import MCPServer
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from stripe_meter import StripeMeter
from stripe_meter.domain.identity import Caller
from stripe_meter.domain.plans import CreditPack, Credits, Plan
from stripe_meter.domain.refusals import Refusal
from stripe_meter.emulator import EmulatorServer
from stripe_meter.enforcement.engine import Engine
from stripe_meter.enforcement.gate import Admission
from stripe_meter.settings import Settings
from stripe_meter.web.local import serve_pages
from stripe_meter.web.routes import app
from tests.conftest import PAGES, a_tool, stranger, with_key
from tests.web.conftest import BASIC, FREE, PACKS, PRO, Site

pytestmark = pytest.mark.anyio


async def refusal_of(engine: Engine, caller: Caller) -> Refusal:
    verdict = await engine.admit(a_tool(), caller)
    assert isinstance(verdict, Refusal)
    return verdict


async def test_a_refusal_leads_to_the_chooser_and_makes_no_session(site: Site) -> None:
    """Several plans: a signed link, equal for equal callers, that costs Stripe nothing."""
    with site.unchanged():
        first, again = await refusal_of(site.engine, stranger()), await refusal_of(site.engine, stranger())
    assert str(first.checkout_url).startswith(f"{PAGES}/billing/plans?token=")
    assert first.checkout_url == again.checkout_url
    assert str(first.checkout_url) in first.text


async def test_one_plan_leads_straight_to_checkout(make_engine: Callable[..., Engine], stripe: EmulatorServer) -> None:
    """Nobody is asked to choose from one thing."""
    engine = make_engine(BASIC)
    engine.sales.front.open()
    assert str((await refusal_of(engine, stranger())).checkout_url).startswith(stripe.url)


async def test_without_routes_the_first_plan_is_linked(
    make_engine: Callable[..., Engine], stripe: EmulatorServer
) -> None:
    """A decorated tool on a server that nobody attached has no pages of ours."""
    engine = make_engine(BASIC, PRO)
    assert str((await refusal_of(engine, stranger())).checkout_url).startswith(stripe.url)


async def test_a_known_caller_sees_what_they_can_buy(site: Site) -> None:
    """Plans and packs; the free key is for those who have none. Their session names them."""
    customer, key = await site.customer()
    caller = with_key(key)
    for _ in range(2):
        verdict = await site.engine.admit(a_tool(), caller)
        assert isinstance(verdict, Admission)
        verdict.settle(1)
    refusal = await refusal_of(site.engine, caller)
    async with site.client() as client:
        page = await client.get(str(refusal.checkout_url))
        assert re.findall(r'value="([^"]+)" required', page.text) == [
            "basic",
            "pro",
            "credits:starter",
            "credits:large",
        ]
        assert 'href="signup"' not in page.text
        (token,) = set(re.findall(r'name="token" value="([^"]+)"', page.text))
        answer = await client.post("checkout", data={"token": token, "choice": "credits:large"})
    assert answer.status_code == 303
    (session,) = site.rows("checkout.session")
    assert answer.headers["location"] == session["url"]
    assert session["customer"] == customer
    assert session["amount_total"] == 7900


async def test_a_form_may_lead_to_stripe_and_nowhere_else(site: Site) -> None:
    """Browsers hold the redirect after a form to the page's own policy."""
    async with site.client() as client:
        policy = (await client.get("plans")).headers["content-security-policy"]
    hosts = " ".join(f"https://{name}.stripe.com" for name in ("checkout", "billing", "buy"))
    assert f"form-action 'self' {hosts} {site.stripe.url}" in policy


async def test_a_program_gets_json(site: Site) -> None:
    """The same routes for an agent or the author's own front end, by the customer's key."""
    customer, key = await site.customer()
    async with site.client(**{"x-api-key": key}) as client:
        for path, body in (
            ("checkout", {"plan": "pro"}),
            ("portal", {}),
            ("portal", {"flow": "payment_method_update"}),
            ("setup", {}),
            ("links", {"pack": "starter"}),
        ):
            answer = await client.post(path, json=body)
            assert answer.status_code == 200, (path, answer.text)
            assert answer.json()["url"].startswith(site.stripe.url)
    assert {row["customer"] for row in site.rows("billing_portal.session")} == {customer}
    assert {row["customer"] for row in site.rows("checkout.session")} == {customer}


@pytest.mark.parametrize("way", ["typed key", "portal button", "program"])
async def test_a_customer_ends_automatic_top_ups(site: Site, way: str) -> None:
    """They agreed "until you stop it", so it takes nobody's help; and nobody does it for them."""
    customer, key = await site.customer()
    async with site.client(**({"x-api-key": key} if way == "program" else {})) as client:
        if way == "typed key":
            assert 'name="key"' in (await client.get("top-ups")).text
            assert (await client.post("top-ups", data={"key": key[:-1] + "~"})).status_code == 401
            assert (await client.post("top-ups", data={"token": "nobody"})).status_code == 404
            answer = await client.post("top-ups", data={"key": key})
        elif way == "portal button":
            answer = await client.post("top-ups", data={"token": site.token("portal", customer)})
        else:
            answer = await client.post("top-ups", json={})
    assert (answer.status_code, "stopped" in answer.text) == (200, True)
    [row] = [row for row in site.rows("customer") if row["id"] == customer]
    assert row["metadata"]["stripe_meter_top_up"].startswith("off ")


async def test_our_pages_say_what_saving_a_card_agrees_to(
    make_engine: Callable[..., Engine], stripe: EmulatorServer
) -> None:
    """Before the button, not only on Stripe's page behind it; and the way out is beside the way in."""
    engine = make_engine(Credits([CreditPack(100, "$9.99", "Starter")], top_up="Starter", top_up_limit=1))
    await engine.prepare([a_tool(price="1 credit")])
    site = Site(engine, stripe, app(engine, "/billing"))
    _, key = await site.customer()
    async with site.client(**{"x-api-key": key}) as client:
        saving, managing = await client.get("setup"), await client.get("portal")
    said = "100 more are bought with this card for $9.99, at most once a month, until you stop it at"
    assert f"{said} {PAGES}/billing/top-ups." in saving.text
    assert 'action="top-ups"' in managing.text


async def test_the_link_of_a_refusal_asks_for_no_consent(
    make_engine: Callable[..., Engine], stripe: EmulatorServer
) -> None:
    """Whoever was sent it may pay by it, and must not have agreed to pay for this customer from then on."""
    packs = [CreditPack(100, "$9.99", "Starter"), CreditPack(1000, "$79", "Large")]
    engine = make_engine(Credits(packs, top_up="Starter", top_up_limit=1))
    await engine.prepare([a_tool(price="1 credit")])
    site = Site(engine, stripe, app(engine, "/billing"))
    customer, key = await site.customer()
    async with site.client() as client:
        form = {"token": site.token("plans", customer), "choice": "credits:large"}
        by_link = await client.post("checkout", data=form)
        assert "bought with this card" not in (await get(by_link.headers["location"]))
    async with site.client(**{"x-api-key": key}) as client:
        by_key = await client.post("checkout", json={"pack": "large"})
    assert "bought with this card" in (await get(by_key.json()["url"]))


async def get(url: str) -> str:
    async with httpx.AsyncClient() as client:
        return (await client.get(url)).text


async def test_what_is_not_on_offer_is_told_as_such(site: Site) -> None:
    """409, and nothing is made."""
    _, key = await site.customer()
    wrong: list[tuple[str, dict[str, str]]] = [
        ("checkout", {"plan": "gold"}),
        ("checkout", {"plan": "free"}),
        ("checkout", {"pack": "gold"}),
        ("links", {"pack": "gold"}),
        ("portal", {"flow": "subscription_cancel"}),
    ]
    async with site.client(**{"x-api-key": key}) as client:
        with site.unchanged():
            for path, body in wrong:
                answer = await client.post(path, json=body)
                assert (answer.status_code, answer.json()["error"]["code"]) == (409, "not_for_sale")


async def test_a_free_key_for_a_program(site: Site) -> None:
    """It serves the free calls; whoever has a key gets no second one by it."""
    async with site.client() as client:
        key = (await client.post("signup", json={})).json()["api_key"]
    assert isinstance(await site.engine.admit(a_tool(), with_key(key)), Admission)
    async with site.client(**{"x-api-key": key}) as client:
        assert (await client.post("signup", json={})).status_code == 409


async def test_without_a_free_plan_there_is_no_sign_up(make_engine: Callable[..., Engine]) -> None:
    """404, as for a page that does not exist."""
    from stripe_meter.web.routes import app

    engine = make_engine(BASIC)
    engine.sales.front.open()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app(engine)), base_url=PAGES) as client:
        assert (await client.get("/signup")).status_code == 404
        assert (await client.post("/signup", json={})).status_code == 404


async def test_a_stdio_server_sells_by_its_chooser(make_engine: Callable[..., Engine], stripe: EmulatorServer) -> None:
    """The one caller chooses on loopback, pays, and is recognised by paying: no key to copy."""
    engine = make_engine(BASIC, PRO, PACKS, public_url=None)
    engine.local_pages = serve_pages
    engine.sales.front.open()
    local = Caller(b"local", is_local=True)
    url = str((await refusal_of(engine, local)).checkout_url)
    assert url.startswith("http://127.0.0.1:")
    async with httpx.AsyncClient() as client:
        page = await client.get(url)
        token = re.findall(r'name="token" value="([^"]+)"', page.text)[0]
        chosen = await client.post(url.partition("/plans")[0] + "/checkout", data={"token": token, "choice": "pro"})
    stripe.complete_checkout(chosen.headers["location"], email="caller@example.com")
    assert isinstance(await engine.admit(a_tool(), local), Admission)


async def test_pages_name_the_server_where_stripe_names_nobody(
    make_engine: Callable[..., Engine], stripe: EmulatorServer
) -> None:
    """A restricted key may not read the account; the page works all the same, and the account is asked once."""
    stripe.emulator.faults.add(path="/v1/account", kind="status", status=403, times=1)
    engine = make_engine(BASIC, PRO)
    engine.sales.front.open("Research tools")
    from stripe_meter.web.routes import app

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app(engine)), base_url=PAGES) as client:
        pages = [await client.get("/cancel"), await client.get("/cancel")]
    assert all("<strong>Research tools</strong>" in page.text for page in pages)


PLANS: list[Plan] = [BASIC, PRO]


async def test_attached_routes_leave_the_servers_own_alone(stripe: EmulatorServer) -> None:
    """A server has its own /healthz; ours stand under the prefix."""
    server: MCPServer[Any] = MCPServer("Research tools")
    billing = StripeMeter([FREE, *PLANS], settings=Settings(emulator=stripe.url, public_url=PAGES))
    billing.attach(server, routes="/pay")

    async def mine(request: Request) -> Response:
        return PlainTextResponse("mine")

    server.custom_route("/healthz", ["GET"])(mine)
    transport = httpx.ASGITransport(server.streamable_http_app())
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
        assert (await client.get("/healthz")).text == "mine"
        assert (await client.get("/pay/healthz")).json() == {"status": "ok"}
        assert (await client.get("/pay/openapi.json")).json()["servers"] == [{"url": f"{PAGES}/pay"}]
    billing.close()
