"""What strangers try on our routes. Each test is a row of the table in docs/security.md, and says the outcome.

Everywhere the same: a clear 4xx, nothing written at Stripe, and nothing of the request or of others in the answer.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from stripe_meter.domain.identity import ApiKey, Caller
from stripe_meter.domain.refusals import Refusal
from stripe_meter.enforcement.engine import Engine
from stripe_meter.enforcement.purchases import SHARE_A_MINUTE
from stripe_meter.enforcement.tickets import TICKET_FOR, Ticket, Tickets
from stripe_meter.web import reading
from stripe_meter.web.local import serve_pages
from stripe_meter.web.operations import BUYING, PUBLIC, SIGNING_UP
from tests.conftest import a_tool, stranger
from tests.web.conftest import Site

pytestmark = pytest.mark.anyio

JSON = {"content-type": "application/json"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
POSTS = [one.path for one in PUBLIC if one.method == "POST" and not one.is_raw]


def refused(answer: httpx.Response, status: int) -> None:
    """A clear no with our headers, that holds no secret and no traceback."""
    assert answer.status_code == status, answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    for secret in ("smk_", "sk_test", "Traceback", "whsec_"):
        assert secret not in answer.text


# Acting for somebody else.


@pytest.mark.parametrize("path", POSTS)
async def test_a_customer_named_in_the_body_is_refused(site: Site, path: str) -> None:
    """Somebody else's id does nothing, with a good key of one's own beside it or without."""
    victim, _ = await site.customer()
    _, key = await site.customer()
    async with site.client(**{"x-api-key": key}) as client:
        with site.unchanged():
            answer = await client.post(path, json={"customer": victim, "plan": "basic", "pack": "starter"})
    refused(answer, 400)
    assert victim not in answer.text


@pytest.mark.parametrize("page", ["plans", "portal", "setup"])
async def test_a_link_with_another_customer_in_it_is_refused(site: Site, page: Any) -> None:
    """The signature covers who, for what, and until when; each part changed alone breaks it."""
    victim, _ = await site.customer()
    mine, _ = await site.customer()
    name, who, about, ends, mac = site.token(page, mine).split(".")
    forged = [
        f"{name}.{victim}.{about}.{ends}.{mac}",
        f"{name}.{who}.{about}.{int(ends) + 1}.{mac}",
        f"{name}.{who}.{about}.{ends}.{'0' * 32}",
        f"{name}.{who}.{about}.{ends}",
        Tickets("sk_test_another").seal(Ticket(page, victim), site.engine.thread.clock.now()),
        "",
        "x" * 5000,
    ]
    path = "checkout" if page == "plans" else page
    async with site.client() as client:
        with site.unchanged():
            for token in forged:
                refused(await client.get(page, params={"token": token}), 404)
                body = {"token": token, "plan": "basic"} if page == "plans" else {"token": token}
                refused(await client.post(path, json=body), 404)


async def test_a_link_for_one_page_opens_no_other(site: Site) -> None:
    """A link to choose a plan, which an agent may hand on, does not open the portal, where a card is changed."""
    mine, _ = await site.customer()
    async with site.client() as client:
        with site.unchanged():
            refused(await client.post("portal", json={"token": site.token("plans", mine)}), 404)
            refused(await client.post("setup", json={"token": site.token("plans", mine)}), 404)
            refused(await client.post("portal", json={"token": site.token("setup", mine)}), 404)
            refused(await client.post("checkout", json={"token": site.token("portal", mine), "plan": "pro"}), 404)


async def test_an_old_link_is_refused(site: Site) -> None:
    """It works for an hour, and at most ten minutes longer."""
    mine, _ = await site.customer()
    token = site.token("portal", mine)
    now = site.engine.thread.clock.now()
    assert site.engine.sales.front.read(token, "portal") is not None
    site.engine.keep_time_by(site.engine._accounts.monotonic, lambda: now + TICKET_FOR + 601)
    async with site.client() as client:
        with site.unchanged():
            refused(await client.post("portal", json={"token": token}), 404)


async def test_another_site_cannot_send_our_forms(site: Site) -> None:
    """A browser says where a form came from, and a page elsewhere cannot make it say otherwise."""
    mine, key = await site.customer()
    token = site.token("portal", mine)
    elsewhere: list[dict[str, str]] = [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "http://127.0.0.1:9.evil.example"},
    ]
    with site.unchanged():
        for headers in elsewhere:
            async with site.client(**headers, **{"x-api-key": key}) as client:
                refused(await client.post("portal", data={"token": token}), 403)
                refused(await client.post("portal", json={}), 403)


@pytest.mark.parametrize("path", ["checkout", "links", "portal", "setup", "signup"])
async def test_a_form_without_a_link_is_refused_whatever_the_browser_adds(site: Site, path: str) -> None:
    """Credentials that a browser or a proxy sends by itself are not enough for a form: that is how forgery works."""
    _, key = await site.customer()
    fields = {"checkout": b"plan=basic", "links": b"pack=starter"}.get(path, b"")
    async with site.client(**{"x-api-key": key}) as client:
        with site.unchanged():
            refused(await client.post(path, content=fields, headers=FORM), 403)


async def test_keys_guessed_by_the_thousand_cost_a_few_reads(site: Site) -> None:
    """Wrong keys are 401 and then 429; Stripe is asked ten times, not a thousand."""
    victim, _ = await site.customer()
    before = site.stripe.emulator.requests[:]
    statuses = []
    for _ in range(1000):
        async with site.client(**{"x-api-key": ApiKey.new(victim).reveal()}) as client:
            statuses.append((await client.post("portal", json={})).status_code)
    assert set(statuses) == {401, 429}
    assert statuses[-1] == 429
    assert len(site.stripe.emulator.requests) - len(before) <= 10


async def test_the_key_of_a_deleted_customer_opens_nothing(site: Site) -> None:
    """Whoever the seller has deleted is nobody, also for the pages."""
    customer, key = await site.customer()
    async with httpx.AsyncClient(base_url=site.stripe.url, auth=("sk_test_x", "")) as api:
        await api.delete(f"/v1/customers/{customer}")
    async with site.client(**{"x-api-key": key}) as client:
        for path in ("portal", "setup"):
            refused(await client.post(path, json={}), 401)


async def test_a_stranger_has_no_portal(site: Site) -> None:
    """Nor a card to save: both want a link or a key."""
    async with site.client() as client:
        with site.unchanged():
            for path in ("portal", "setup"):
                refused(await client.post(path, json={}), 401)
                refused(await client.get(path), 401)


async def test_a_second_subscription_is_not_sold(site: Site) -> None:
    """A subscriber who posts for another plan is led to the page that changes theirs; no second session is made."""
    caller = await pay_for_basic(site)
    sessions = len(site.rows("checkout.session"))
    async with site.client(**{"x-api-key": caller}) as client:
        answer = await client.post("checkout", json={"plan": "pro"})
    assert "/billing/change?token=" in answer.json()["url"]
    assert len(site.rows("checkout.session")) == sessions


async def pay_for_basic(site: Site) -> str:
    """The API key of a subscriber."""
    async with site.client() as client:
        url = (await client.post("checkout", json={"plan": "basic"})).json()["url"]
        back = urlsplit(site.stripe.complete_checkout(url, email="caller@example.com"))
        page = (await client.get(f"success?{back.query}")).text
    return page.partition('id="api-key">')[2].partition("<")[0]


# Where a browser is sent.


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/",
        "//evil.example/",
        "https://127.0.0.1:9@evil.example/",
        "http://127.0.0.1:9.evil.example/",
        "http://127.0.0.1:9\\@evil.example/",
        "http://127.0.0.1:9%2f@evil.example/",
        "javascript:alert(1)",
        "data:text/html,x",
        "/billing/done",
        "http://127.0.0.1:10/",
        "https://127.0.0.1:9/",
        "http://127.0.0.1:99999/",
        "http://[::1/",
    ],
)
async def test_a_return_address_elsewhere_is_refused(site: Site, url: str) -> None:
    """Only this server and the origins that the author has named: no open redirect."""
    _, key = await site.customer()
    async with site.client(**{"x-api-key": key}) as client:
        with site.unchanged():
            answer = await client.post("portal", json={"return_url": url})
    refused(answer, 400)
    assert "evil" not in answer.text


async def test_a_return_address_that_the_author_allows_is_taken(make_site: Callable[..., Site]) -> None:
    """So that the rule above is a list and no wall."""
    site = make_site(return_origins="https://app.example.com")
    customer, _ = await site.customer()
    async with site.client() as client:
        body = {"token": site.token("portal", customer), "return_url": "https://app.example.com/settings?tab=billing"}
        assert (await client.post("portal", json=body)).status_code == 200
    (session,) = site.rows("billing_portal.session")
    assert session["return_url"] == "https://app.example.com/settings?tab=billing"


async def test_a_forged_host_leads_nobody_astray(site: Site, make_site: Callable[..., Site]) -> None:
    """Where Stripe sends the payer back comes from the settings; without them there is no link at all."""
    async with site.client(host="evil.example") as client:
        assert (await client.post("checkout", json={"plan": "basic"})).status_code == 200
    (session,) = site.rows("checkout.session")
    assert session["success_url"].startswith("http://127.0.0.1:9/billing/success?")
    unknown = make_site(public_url=None)
    async with unknown.client(host="evil.example") as client:
        with unknown.unchanged():
            answer = await client.post("checkout", json={"plan": "basic"})
    refused(answer, 503)
    assert answer.json()["error"]["code"] == "no_address"


async def test_a_line_break_makes_no_header(site: Site) -> None:
    """In a field, in the query, in a link: no header of the answer is the sender's."""
    customer, _ = await site.customer()
    token = site.token("portal", customer)
    breaks = "http://127.0.0.1:9/\r\nSet-Cookie: a=b"
    async with site.client() as client:
        with site.unchanged():
            for body in ({"token": token, "return_url": breaks}, {"token": f"{token}\r\nSet-Cookie: a=b"}):
                answer = await client.post("portal", json=body)
                refused(answer, 400)
                assert "set-cookie" not in answer.headers
            answer = await client.get("plans?token=%0d%0aSet-Cookie:%20a=b")
            assert "set-cookie" not in answer.headers


# What is sent.


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("kind", [JSON, FORM])
async def test_ten_megabytes_are_not_read(site: Site, path: str, kind: dict[str, str]) -> None:
    """Neither when the length is declared nor when it comes in pieces; what is read is counted."""
    read = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(160):
            read += 65536
            yield b"x" * 65536

    async with site.client() as client:
        with site.unchanged():
            refused(await client.post(path, content=b"x" * 10_485_760, headers=kind), 413)
            refused(await client.post(path, content=pieces(), headers=kind), 413)
    assert reading.LONGEST_BODY < 65536


async def test_a_body_that_never_ends_is_given_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that sends nothing is not waited for."""
    monkeypatch.setattr(reading, "PATIENCE", 0.01)
    sent: list[dict[str, Any]] = []
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/billing/checkout",
        "raw_path": b"/billing/checkout",
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "server": ("127.0.0.1", 9),
        "client": ("203.0.113.7", 1234),
        "headers": [(b"content-type", b"application/json"), (b"host", b"127.0.0.1:9")],
    }

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(message)

    with site.unchanged():
        await site.served(scope, receive, send)
    assert sent[0]["status"] == 408


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", "application/xml", ""])
async def test_other_content_types_are_refused(site: Site, path: str, kind: str) -> None:
    """`text/plain` and multipart are what a page elsewhere can send without being asked."""
    async with site.client() as client:
        with site.unchanged():
            refused(await client.post(path, content=b'{"plan": "basic"}', headers={"content-type": kind}), 415)


@pytest.mark.parametrize("path", sorted({one.path for one in PUBLIC}))
async def test_other_methods_are_refused_and_the_right_ones_named(site: Site, path: str) -> None:
    """Also by the browser's own question whether another site may ask: there is no CORS."""
    known = {one.method for one in PUBLIC if one.path == path}
    async with site.client("127.0.0.1") as client:  # from where also the figures are open
        with site.unchanged():
            for method in ("PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", *({"GET", "POST"} - known)):
                answer = await client.request(method, path)
                refused(answer, 405)
                assert set(answer.headers["allow"].split(", ")) - {"HEAD"} == known
                assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "text",
    [
        "\x00",
        "basic\n",
        "basic\u2028",
        "\ud800",
        "ba\u202esic",
        "ｂasic",
        "basic\x7f",
        "b" * 31,
        "",
        " ",
        "../x",
        "<b>",
    ],
)
async def test_unicode_and_control_characters_are_refused(site: Site, text: str) -> None:
    """A name is its exact ASCII: nothing is trimmed, folded or guessed."""
    async with site.client() as client:
        with site.unchanged():
            for field in ("plan", "pack", "choice"):
                answer = await client.post("checkout", content=json.dumps({field: text}), headers=JSON)
                refused(answer, 400)
            assert not text.strip() or len(text) < 4 or text not in answer.text


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"basic"',
        b"[" * 16000,
        b'{"plan": ' * 1500,
        b'{"plan": 1}',
        b'{"plan": ["basic"]}',
        b'{"plan": ' + b"9" * 5000 + b"}",
        b'{"plan": "basic"',
        b'{"plan": "basic\xff"}',
        b"\xef\xbb\xbf{}",
        b'{"plan": NaN}',
    ],
)
async def test_json_that_is_none_is_refused(site: Site, body: bytes) -> None:
    """Deep, cut off, of another type, or no UTF-8."""
    async with site.client() as client:
        with site.unchanged():
            refused(await client.post("checkout", content=body, headers=JSON), 400)


@pytest.mark.parametrize(
    "body", [b"token=a&token=b", b"%ff=%fe", b"a" * 100, b"&".join(b"a%d=1" % n for n in range(60))]
)
async def test_a_form_with_two_meanings_is_refused(site: Site, body: bytes) -> None:
    """A field that stands twice might be checked once and used once."""
    async with site.client() as client:
        with site.unchanged():
            refused(await client.post("checkout", content=body, headers=FORM), 400)


@pytest.mark.parametrize(
    "metadata",
    [
        {f"key{number}": "x" for number in range(41)},
        {"k" * 41: "x"},
        {"key": "x" * 501},
        {"key": ""},
        {"key[0]": "x"},
        {"key": "a\nb"},
        {"stripe_meter_units": "1000000"},
        {"stripe_meter": "other"},
        {"key": 1},
        {"key": {"deep": "x"}},
        ["key"],
        "key",
    ],
)
async def test_metadata_that_stripe_or_we_could_misread_is_refused(site: Site, metadata: object) -> None:
    """Over Stripe's limits, or under a name by which we know what was bought."""
    async with site.client() as client:
        with site.unchanged():
            refused(await client.post("checkout", json={"plan": "basic", "metadata": metadata}), 400)


@pytest.mark.parametrize("turning", "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069", ids=ascii)
async def test_metadata_that_reads_as_something_else_is_refused(site: Site, turning: str) -> None:
    """Characters that turn text around let the Dashboard show an order that is not the one."""
    async with site.client() as client:
        with site.unchanged():
            for metadata in ({"order": f"A-17{turning}71-B"}, {f"order{turning}": "A-17"}):
                refused(await client.post("checkout", json={"plan": "basic", "metadata": metadata}), 400)


async def test_metadata_that_is_sound_reaches_stripe(site: Site) -> None:
    """Session and subscription carry it beside our own."""
    async with site.client() as client:
        body = {"plan": "basic", "metadata": {"order": "A-17 – naïve ☂ שלום\u200f"}}
        assert (await client.post("checkout", json=body)).status_code == 200
    (session,) = site.rows("checkout.session")
    assert session["metadata"]["order"] == "A-17 – naïve ☂ שלום\u200f"
    assert session["metadata"]["stripe_meter_plan"] == "basic"


async def test_markup_in_a_link_stays_text(site: Site) -> None:
    """Not even a tool whose name is markup becomes part of the page."""
    async with site.client() as client:
        page = await client.get("plans", params={"token": site.token("plans", "", "<script>alert(1)</script>")})
    assert page.status_code == 200
    assert "<script" not in page.text
    assert "&lt;script&gt;" in page.text


# How often.


async def test_one_client_cannot_crowd_out_others(site: Site) -> None:
    """Past the limit it is 429 with the time to wait, before Stripe is asked; another address is served."""
    async with site.client("198.51.100.1") as client:
        statuses = [(await client.post("portal", json={})).status_code for _ in range(BUYING.count + 1)]
        answer = await client.post("portal", json={})
    assert statuses == [401] * BUYING.count + [429]
    refused(answer, 429)
    assert 1 <= int(answer.headers["retry-after"]) <= BUYING.seconds
    async with site.client("198.51.100.2") as client:
        assert (await client.post("portal", json={})).status_code == 401


async def test_addresses_of_one_ipv6_network_share_their_limit(site: Site) -> None:
    """One subscriber has 2⁶⁴ of them."""
    statuses = []
    for number in range(BUYING.count + 1):
        async with site.client(f"2001:db8::{number:x}") as client:
            statuses.append((await client.post("portal", json={})).status_code)
    assert statuses[-1] == 429


async def test_free_keys_are_not_made_by_the_hundred(site: Site) -> None:
    """One client gets five an hour; the rest is 429, and Stripe has five customers."""
    async with site.client() as client:
        statuses = [(await client.post("signup", json={})).status_code for _ in range(100)]
    assert statuses == [200] * SIGNING_UP.count + [429] * (100 - SIGNING_UP.count)
    assert len(site.rows("customer")) == SIGNING_UP.count


async def test_a_sign_up_sent_twice_shows_one_key_once(site: Site) -> None:
    """Nor does somebody else who has seen the form's token get the key."""
    token = site.token("signup", about="an-occasion")
    async with site.client() as first, site.client("198.51.100.9") as second:
        shown = await first.post("signup", data={"token": token})
        again = await second.post("signup", data={"token": token})
    assert "smk_" in shown.text
    assert "smk_" not in again.text
    assert "shown already" in again.text
    assert len(site.rows("customer")) == 1


async def test_strangers_cannot_open_sessions_without_end(site: Site) -> None:
    """From a thousand addresses: sixty Checkout sessions a minute, then 429."""
    statuses = []
    for number in range(80):
        async with site.client(f"198.51.100.{number}") as client:
            statuses.append((await client.post("checkout", json={"plan": "basic"})).status_code)
    assert set(statuses) == {200, 429}
    assert len(site.rows("checkout.session")) <= 60


async def test_one_stranger_leaves_sessions_for_the_others(site: Site) -> None:
    """One address opens twenty sessions and links a minute; whoever comes from another one can buy."""
    async with site.client("198.51.100.1") as client:
        statuses = [(await client.post("checkout", json={"plan": "basic"})).status_code for _ in range(40)]
        refused(await client.post("links", json={"pack": "starter"}), 429)
    assert statuses == [200] * SHARE_A_MINUTE + [429] * (40 - SHARE_A_MINUTE)
    async with site.client("198.51.100.2") as client:
        assert (await client.post("checkout", json={"plan": "basic"})).status_code == 200


# What only the seller may see.


@pytest.mark.parametrize("path", ["admin/stats", "metrics"])
async def test_figures_are_shown_to_this_machine_alone(site: Site, path: str) -> None:
    """Not to other addresses, not to who claims another one, not through a proxy that runs here."""
    asked: list[tuple[str, dict[str, str]]] = [
        ("203.0.113.7", {}),
        ("203.0.113.7", {"x-forwarded-for": "127.0.0.1"}),
        ("203.0.113.7", {"x-real-ip": "127.0.0.1", "forwarded": "for=127.0.0.1"}),
        ("127.0.0.1", {"x-forwarded-for": "203.0.113.7"}),
        ("127.0.0.1", {"x-forwarded-for": "127.0.0.1"}),
        ("::ffff:203.0.113.7", {}),
        ("", {}),
        ("testclient", {}),
    ]
    for address, headers in asked:
        async with site.client(address, **headers) as client:
            refused(await client.get(path), 403)
    for address in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
        async with site.client(address) as client:
            assert (await client.get(path)).status_code == 200


async def test_figures_name_no_customer(site: Site) -> None:
    """Whoever scrapes them learns counts."""
    customer, key = await site.customer()
    async with site.client("127.0.0.1") as client:
        for path in ("admin/stats", "metrics", "healthz", "readyz", "openapi.json"):
            text = (await client.get(path)).text
            for private in (customer, key, "cus_", "sk_test"):
                assert private not in text


async def test_a_closed_server_answers_its_own_networks(make_site: Callable[..., Site]) -> None:
    """With a list of networks all others get 403, everywhere but at the webhook, which knows Stripe by signature."""
    site = make_site(allowed_ips="10.0.0.0/8, 2001:db8::/32")
    async with site.client("203.0.113.7") as client:
        for one in PUBLIC:
            answer = await client.request(one.method, one.path, headers=JSON if one.method == "POST" else {})
            if one.audience == "stripe":
                assert answer.status_code in (400, 404)
            else:
                refused(answer, 403)
                for method in ("TRACE", "DELETE", "OPTIONS"):
                    refused(await client.request(method, one.path), 403)
    async with site.client("10.1.2.3") as client:
        assert (await client.get("healthz")).status_code == 200
    async with site.client("2001:db8::1") as client:
        assert (await client.get("cancel")).status_code == 200


# What the answers give away.


async def test_a_preview_of_a_link_changes_nothing(site: Site) -> None:
    """Chat programs open links to show them; only a button or a body changes anything."""
    customer, _ = await site.customer()
    pages: list[Any] = ["plans", "portal", "setup"]
    async with site.client() as client:
        with site.unchanged():
            for page in pages:
                for method in ("GET", "HEAD"):
                    answer = await client.request(method, page, params={"token": site.token(page, customer)})
                    assert answer.status_code == 200
            assert (await client.get("links")).status_code == 200
            assert (await client.get("signup")).status_code == 200


@pytest.mark.parametrize("path", [one.path for one in PUBLIC if one.method == "GET"])
async def test_no_answer_is_kept_framed_or_sniffed(site: Site, path: str) -> None:
    """Pages and refusals alike: no cache, no frame, no referrer, no script, no cookie."""
    async with site.client("127.0.0.1") as client:
        answer = await client.get(path)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "set-cookie" not in answer.headers
    if answer.headers["content-type"].startswith("text/html"):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "<script" not in answer.text


async def test_a_failure_at_stripe_tells_nothing_of_it(site: Site) -> None:
    """503 with a time to wait; no request id, no path, no word of Stripe's."""
    site.stripe.emulator.faults.add(path="/v1/checkout/sessions", kind="status", status=500, times=10)
    async with site.client() as client:
        answer = await client.post("checkout", json={"plan": "basic"})
    refused(answer, 503)
    assert int(answer.headers["retry-after"]) >= 1
    for private in ("req_", "/v1/", "cs_"):
        assert private not in answer.text


async def test_a_name_that_points_here_reads_no_local_page(make_engine: Callable[..., Engine]) -> None:
    """A site that lets its own name resolve to this machine (DNS rebinding) gets 400 from a stdio server's pages."""
    engine = make_engine(public_url=None)
    base = await engine.thread.call(lambda _: serve_pages(engine), 5.0)
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{base}/cancel", headers={"host": "evil.example"})
        assert answer.status_code == 400
        assert (await client.get(f"{base}/cancel")).status_code == 200


async def test_a_success_link_without_its_secret_shows_no_key(site: Site) -> None:
    """Whoever has seen the session's id in a link or a log does not get the payer's key, and the payer still does."""
    async with site.client() as client:
        url = (await client.post("checkout", json={"plan": "basic"})).json()["url"]
        back = urlsplit(site.stripe.complete_checkout(url, email="caller@example.com"))
        session = back.query.partition("&")[0]
        for guess in ("", f"&claim={'A' * 32}", "&claim="):
            answer = await client.get(f"success?{session}{guess}")
            assert answer.status_code == 404
            assert "smk_" not in answer.text
        assert "smk_" in (await client.get(f"success?{back.query}")).text


async def test_the_one_caller_of_a_stdio_server_is_not_taken_over_by_http(site: Site) -> None:
    """A link that says `local` is signed as well; nobody can write one."""
    good = site.token("plans", "local")
    async with site.client() as client:
        with site.unchanged():
            refused(
                await client.post("checkout", json={"token": good.replace(good[-8:], "00000000"), "plan": "pro"}), 404
            )
    refusal = await site.engine.admit(a_tool(), stranger())
    assert isinstance(refusal, Refusal)
    assert ".local." not in str(refusal.checkout_url)
    assert isinstance(await site.engine.admit(a_tool(), Caller(b"local", is_local=True)), Refusal)
