"""What strangers may cost: reads at Stripe, connections, and a look at the figures."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

import pytest

from stripe_meter.enforcement.guesses import GUESSES_A_MINUTE, GUESSES_AN_HOUR, SHARE_AN_HOUR, Guesses
from stripe_meter.enforcement.purchases import STRANGERS_A_MINUTE
from stripe_meter.errors import TooMany
from stripe_meter.web import reading
from tests.web.conftest import Site

pytestmark = pytest.mark.anyio


def reads(site: Site) -> int:
    """How often Stripe was asked about a Checkout session."""
    asked = [record.path for record in site.stripe.emulator.requests if record.method == "GET"]
    return sum(path.startswith("/v1/checkout/sessions/") for path in asked)


async def paid(site: Site) -> str:
    """The query of a success link, from an address of its own."""
    async with site.client("192.0.2.1") as client:
        url = (await client.post("checkout", json={"plan": "basic"})).json()["url"]
    return urlsplit(await asyncio.to_thread(site.stripe.complete_checkout, url, email="caller@example.com")).query


async def test_guessed_sessions_cost_a_few_reads(site: Site) -> None:
    """A hundred ids from one address are ten reads and then 429; a payer elsewhere gets their key."""
    query = await paid(site)
    before = reads(site)
    async with site.client("198.51.100.1") as client:
        answers = [await client.get(f"success?session_id=cs_test_{number:06d}") for number in range(100)]
    assert [answer.status_code for answer in answers] == [404] * GUESSES_A_MINUTE + [429] * (100 - GUESSES_A_MINUTE)
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert reads(site) - before == GUESSES_A_MINUTE
    async with site.client("198.51.100.2") as client:
        assert "smk_" in (await client.get(f"success?{query}")).text


async def test_guesses_at_once_are_no_more_than_one_by_one(site: Site) -> None:
    """An attempt counts from its beginning, not from Stripe's answer."""
    before = reads(site)
    async with site.client("198.51.100.1") as client:
        await asyncio.gather(*(client.get(f"success?session_id=cs_test_{number:06d}") for number in range(50)))
    assert reads(site) - before == GUESSES_A_MINUTE


async def test_an_unknown_session_is_asked_for_once(site: Site) -> None:
    """Stripe has no such id, and will never have; whoever opens the link, it costs one read."""
    before = reads(site)
    for number in range(20):
        async with site.client(f"198.51.100.{number}") as client:
            assert (await client.get("success?session_id=cs_test_unknown")).status_code == 404
    assert reads(site) - before == 1


async def test_guesses_from_many_addresses_stop_before_a_payer(site: Site) -> None:
    """All together are bounded as well, and whoever paid by a link of this process is let through."""
    query = await paid(site)
    before, statuses = reads(site), []
    for number in range(GUESSES_AN_HOUR + 20):
        async with site.client(f"198.51.100.{number}") as client:
            statuses.append((await client.get(f"success?session_id=cs_test_{number:06d}")).status_code)
    assert statuses == [404] * GUESSES_AN_HOUR + [429] * 20
    assert reads(site) - before == GUESSES_AN_HOUR
    async with site.client("192.0.2.9") as client:
        assert "smk_" in (await client.get(f"success?{query}")).text


async def test_one_address_opens_no_more_than_its_share(site: Site) -> None:
    """Else one address with some patience would take the guesses of all, and keep payers of other processes waiting."""
    now = 0.0
    guesses = Guesses(lambda: now)
    for _ in range(SHARE_AN_HOUR):
        guesses.count("198.51.100.1", is_ours=False)
        now += 10
    with pytest.raises(TooMany):
        guesses.count("198.51.100.1", is_ours=False)
    guesses.count("198.51.100.1", is_ours=True)
    for number in range(SHARE_AN_HOUR):
        guesses.count(f"203.0.113.{number}", is_ours=False)
    now = 3600.0
    guesses.count("198.51.100.1", is_ours=False)


async def test_a_session_that_nobody_has_paid_is_no_way_around(site: Site) -> None:
    """Anybody can open a Checkout, and so know one good id; asking about it counts as a guess."""
    async with site.client("198.51.100.1") as client:
        url = (await client.post("checkout", json={"plan": "basic"})).json()["url"]
        (session,) = site.rows("checkout.session")
        assert session["url"] == url
        before = reads(site)
        statuses = [(await client.get(f"success?session_id={session['id']}")).status_code for _ in range(30)]
    assert statuses == [404] * GUESSES_A_MINUTE + [429] * (30 - GUESSES_A_MINUTE)
    assert reads(site) - before == GUESSES_A_MINUTE


async def test_a_payer_may_reload_as_often_as_they_like(site: Site) -> None:
    """What names a payer is no guess."""
    query = await paid(site)
    async with site.client("192.0.2.1") as client:
        statuses = {(await client.get(f"success?{query}")).status_code for _ in range(2 * GUESSES_A_MINUTE)}
    assert statuses == {200}


async def test_strangers_ask_for_so_many_links_of_packs(site: Site) -> None:
    """Each costs a read at Stripe, so they come out of the budget of strangers; a customer is served."""
    _, key = await site.customer()
    statuses = []
    for number in range(STRANGERS_A_MINUTE + 10):
        async with site.client(f"198.51.100.{number}") as client:
            statuses.append((await client.post("links", json={"pack": "starter"})).status_code)
    assert statuses == [200] * STRANGERS_A_MINUTE + [429] * 10
    async with site.client(**{"x-api-key": key}) as client:
        assert (await client.post("links", json={"pack": "starter"})).status_code == 200


async def test_a_webhook_that_never_ends_is_given_up(make_site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one address without a limit for each client does not hold connections open for nothing."""
    monkeypatch.setattr(reading, "PATIENCE", 0.01)
    site = make_site(stripe_webhook_secret="whsec_" + "a" * 32)
    sent: list[dict[str, Any]] = []
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/billing/webhook",
        "raw_path": b"/billing/webhook",
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "server": ("127.0.0.1", 9),
        "client": ("203.0.113.7", 1234),
        "headers": [(b"content-type", b"application/json"), (b"stripe-signature", b"t=1,v1=00")],
    }

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(message)

    await site.served(scope, receive, send)
    assert sent[0]["status"] == 408


@pytest.mark.parametrize("path", ["admin/stats", "metrics"])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
async def test_figures_are_not_shown_through_a_proxy_or_a_foreign_name(site: Site, path: str, address: str) -> None:
    """A proxy here, or a browser here on a site whose name points here, comes from loopback and is somebody else."""
    names = ("evil.example", "tools.example.com:8000", "127.0.0.1.evil.example", "localhost.evil.example", "[", "")
    proxies = ("cf-connecting-ip", "x-client-ip", "true-client-ip", "x-forwarded-prefix", "via")
    for headers in [{"host": name} for name in names] + [{name: "203.0.113.9"} for name in proxies]:
        async with site.client(address, **headers) as client:
            assert (await client.get(path)).status_code == 403, headers
    for name in ("localhost", "LOCALHOST:8000", "127.0.0.1:8000", "[::1]:8000"):
        async with site.client(address, host=name) as client:
            assert (await client.get(path)).status_code == 200, name
