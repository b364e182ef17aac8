"""API keys in the hands of clients: rotated, revoked, guessed, and left over from a customer who is gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from stripe_meter.domain.identity import ApiKey
from stripe_meter.domain.refusals import Refusal
from stripe_meter.enforcement.accounts import FRESH
from stripe_meter.enforcement.callers import GUESSES_A_MINUTE, GUESSES_AN_HOUR, SHARE_AN_HOUR
from tests.cli.support import run
from tests.conftest import a_tool, pay, with_key
from tests.identity.conftest import Open, Shop
from tests.mcp.steps import connected

pytestmark = pytest.mark.anyio


async def a_key(shop: Shop) -> ApiKey:
    """Of somebody who has paid."""
    caller = await pay(shop.engine, shop.stripe, a_tool())
    key = ApiKey.parse(str(caller.api_key))
    assert key is not None
    return key


def shown(key: ApiKey) -> dict[str, str]:
    return {"x-api-key": key.reveal()}


@asynccontextmanager
async def guessing(shop: Shop, turn: dict[str, str]) -> AsyncIterator[Client]:
    """One client that shows another key, from another address if it likes, with each request."""

    async def show(request: httpx2.Request) -> None:
        request.headers["x-api-key"] = turn["key"]
        if turn.get("from"):
            request.headers["x-forwarded-for"] = turn["from"]

    async with (
        httpx2.AsyncClient(event_hooks={"request": [show]}, timeout=30) as http,
        Client(streamable_http_client(f"{shop.url}/mcp", http_client=http)) as client,
    ):
        yield client


async def test_a_key_is_rotated_without_a_gap(opening: Open) -> None:
    """Both keys work until the old one is revoked, and from then on within the stated hour only the new one."""
    with opening() as shop:
        env = {"STRIPE_METER_EMULATOR": shop.stripe.url}
        old = await a_key(shop)
        assert not (await shop.call(**shown(old))).is_error

        done = run("keys", "rotate", old.customer, old.id, env=env)
        assert done.returncode == 0, done.stderr
        assert f"stripe-meter keys revoke {old.customer} {old.id}" in done.stdout
        new = next(key for word in done.stdout.split() if (key := ApiKey.parse(word)) is not None)
        for key in (old, new, old):
            assert not (await shop.call(**shown(key))).is_error

        assert run("keys", "revoke", old.customer, old.id, env=env).returncode == 0
        now = time.monotonic()
        shop.engine.keep_time_by(lambda: now + FRESH + 1, time.time)
        text, data = await shop.refused(**shown(old))
        assert data["reason"] == "identity_required"
        assert "not valid" in text
        assert not (await shop.call(**shown(new))).is_error
        assert shop.billed() == {old.customer: 5}


async def test_a_revoked_key_works_no_longer_than_stated(opening: Open) -> None:
    """An hour, where no webhook tells: until then the snapshot is not read again, after it the key is gone."""
    with opening() as shop:
        key = await a_key(shop)
        assert not (await shop.call(**shown(key))).is_error
        assert await shop.engine.thread.call(lambda g: g.customers.revoke_key(key.customer, key.id), 5.0)
        now = time.monotonic()
        shop.engine.keep_time_by(lambda: now + FRESH - 400, time.time)
        assert not (await shop.call(**shown(key))).is_error
        shop.engine.keep_time_by(lambda: now + FRESH + 1, time.time)
        assert (await shop.refused(**shown(key)))[1]["reason"] == "identity_required"


async def test_a_key_of_a_deleted_customer_opens_nothing(opening: Open) -> None:
    """Neither for a server that never met them, nor for one that did, once it looks again."""
    with opening() as shop:
        key = await a_key(shop)
        assert not (await shop.call(**shown(key))).is_error
        async with httpx2.AsyncClient(headers={"Authorization": "Bearer sk_test_emulator"}) as http:
            deleted = await http.delete(f"{shop.stripe.url}/v1/customers/{key.customer}")
        assert deleted.status_code == 200
        now = time.monotonic()
        shop.engine.keep_time_by(lambda: now + FRESH + 1, time.time)
        assert (await shop.refused(**shown(key)))[1]["reason"] == "identity_required"
    with opening() as other:
        text, data = await other.refused(**shown(key))
        assert data["reason"] == "identity_required"
        assert key.customer not in text


async def guess(shop: Shop, number: int, client: str) -> str:
    """One more guess, as the edge hands it on, which is all that most of a thousand requests need; the reason."""
    refusal = await shop.engine.admit(a_tool(), with_key(ApiKey.new(f"cus_guess{number}").reveal(), client))
    assert isinstance(refusal, Refusal)
    return refusal.reason


async def test_guessed_keys_by_the_thousand_do_not_drain_the_reads(opening: Open) -> None:
    """One client has ten guesses a minute; a known caller is served all the while."""
    with opening() as shop:
        key = await a_key(shop)
        assert not (await shop.call(**shown(key))).is_error
        before, turn = shop.reads(), {"key": ""}
        async with guessing(shop, turn) as client:
            for _ in range(3 * GUESSES_A_MINUTE):
                turn["key"] = ApiKey.new("cus_guess").reveal()
                assert (await client.call_tool("summarize", {})).is_error
        assert {await guess(shop, number, "127.0.0.1") for number in range(1000)} == {"rate_limited"}
        assert shop.reads() - before == GUESSES_A_MINUTE
        assert not (await shop.call(**shown(key))).is_error


async def test_guesses_from_a_thousand_addresses_do_not_either(opening: Open) -> None:
    """A header that says where a request came from is believed from a proxy, and easily written by anybody else."""
    with opening() as shop:
        key = await a_key(shop)
        assert not (await shop.call(**shown(key))).is_error
        before, turn = shop.reads(), {"key": "", "from": ""}
        async with guessing(shop, turn) as client:
            for number in range(2 * GUESSES_A_MINUTE):
                turn["key"], turn["from"] = ApiKey.new("cus_guess").reveal(), f"203.0.113.{number}"
                assert (await client.call_tool("summarize", {})).is_error
            assert shop.reads() - before == 2 * GUESSES_A_MINUTE
            await asyncio.gather(*(guess(shop, n, f"198.51.{n // 250}.{n % 250}") for n in range(1000)))
            turn["key"], turn["from"] = ApiKey.new("cus_guess").reveal(), "203.0.113.254"
            last: Any = await client.call_tool("summarize", {})
        asked = shop.reads() - before
        assert GUESSES_AN_HOUR <= asked < GUESSES_AN_HOUR + 20  # those that were under way at once
        assert "tried here" in last.content[0].text
        assert not (await shop.call(**shown(key))).is_error


async def test_whatever_is_guessed_whoever_has_a_key_is_served(opening: Open) -> None:
    """A server that has just started knows nobody, and a key that it made is told from invented ones without a read."""
    with opening() as shop, opening() as restarted:
        key = await a_key(shop)
        dead = await a_key(shop)
        assert await shop.engine.thread.call(lambda g: g.customers.revoke_key(dead.customer, dead.id), 5.0)
        before = restarted.reads()
        for n in range(GUESSES_AN_HOUR):
            await guess(restarted, n, "127.0.0.1" if n < GUESSES_A_MINUTE else f"198.51.100.{n}")
        assert await guess(restarted, 1000, "203.0.113.9") == "rate_limited"
        assert not (await restarted.call(**shown(key))).is_error
        asked = restarted.reads()
        assert asked - before == GUESSES_AN_HOUR + 1
        for _ in range(20):
            assert (await restarted.refused(**shown(dead)))[1]["reason"] == "identity_required"
        assert restarted.reads() - asked == 1


async def test_one_address_takes_no_more_than_its_share_of_the_guesses(opening: Open) -> None:
    """Else somebody with one address and some patience would use up what there is for all."""
    with opening() as shop:
        before, begun = shop.reads(), time.monotonic()
        for minute in range(6):
            later = begun + 61 * minute
            shop.engine.keep_time_by(lambda later=later: later, time.time)
            for number in range(2 * GUESSES_A_MINUTE):
                await guess(shop, 100 * minute + number, "203.0.113.7")
        assert shop.reads() - before == SHARE_AN_HOUR
        assert await guess(shop, 1000, "203.0.113.8") == "identity_required"


async def test_a_key_of_before_the_stripe_key_was_rolled_is_as_good(opening: Open) -> None:
    """It bears no mark that counts any more, so it is looked up as guesses are, and opens what it opened."""
    with opening() as shop:
        key = await a_key(shop)
        rolled = ApiKey(key.customer, "abcdef", "A" * 34)
        async with httpx2.AsyncClient(headers={"Authorization": "Bearer sk_test_emulator"}) as http:
            await http.post(
                f"{shop.stripe.url}/v1/customers/{key.customer}",
                data={f"metadata[{rolled.metadata_key}]": f"{rolled.hash} 0"},
            )
    with opening() as other:
        assert not (await other.call(**shown(rolled))).is_error


async def test_the_addresses_of_one_subscriber_count_as_one(opening: Open) -> None:
    """Who has one address of IPv6 has 18 million million million of them."""
    with opening() as shop:
        before, turn = shop.reads(), {"key": "", "from": ""}
        async with guessing(shop, turn) as client:
            for number in range(3 * GUESSES_A_MINUTE):
                turn["key"], turn["from"] = ApiKey.new("cus_guess").reveal(), f"2001:db8:0:7::{number:x}"
                assert (await client.call_tool("summarize", {})).is_error
        assert shop.reads() - before == GUESSES_A_MINUTE


async def test_a_dead_key_that_is_shown_for_ever_is_looked_up_once(opening: Open) -> None:
    """An agent that was not told goes on for weeks."""
    with opening() as shop:
        before, dead = shop.reads(), ApiKey.new("cus_gone")
        async with connected(shop.url, "auto", **shown(dead)) as client:
            for _ in range(20):
                assert (await client.call_tool("summarize", {})).is_error
        assert shop.reads() - before == 1
