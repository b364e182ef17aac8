"""The author's own word on who calls: `StripeMeter(identify=…)`, over real HTTP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import fastmcp
import pytest

from stripe_meter import Principal
from stripe_meter.domain.refusals import Refusal
from stripe_meter.enforcement.identity.reading import from_scope
from stripe_meter.enforcement.identity.resolving import caller_of_request
from stripe_meter.errors import IdentityUnavailable
from tests.conftest import a_tool
from tests.identity.conftest import Open, bearer
from tests.identity.issuer import Issuer, token

pytestmark = pytest.mark.anyio

SESSIONS = {"a1": "ann", "b2": "bob"}


def by_cookie(headers: Mapping[str, str]) -> Principal | None:
    person = SESSIONS.get(headers.get("cookie", "").removeprefix("session="))
    return None if person is None else Principal("shop", person)


async def by_cookie_later(headers: Mapping[str, str]) -> Principal | None:
    await asyncio.sleep(0)
    return by_cookie(headers)


@pytest.mark.parametrize("identify", [by_cookie, by_cookie_later], ids=["def", "async def"])
@pytest.mark.parametrize("is_async", [True, False], ids=["async tool", "def tool"])
@pytest.mark.parametrize("framework", ["mcp", "fastmcp"])
async def test_the_author_says_who_calls(identify: Any, is_async: bool, framework: str, opening: Open) -> None:
    """In either form, above either kind of tool: whoever it names pays once and is served from then on."""
    server = fastmcp.FastMCP("tools") if framework == "fastmcp" else None
    with opening(identify=identify, is_async=is_async, server=server) as shop:
        ann = await shop.paid(cookie="session=a1")
        _, data = await shop.refused(cookie="session=b2")
        assert data["reason"] == "payment_required"
        assert not (await shop.call(cookie="session=a1")).is_error
        assert (await shop.refused(cookie="session=c3"))[1]["reason"] == "identity_required"
        assert shop.billed() == {ann: 2}
        assert shop.customers() == 2


async def test_nobody_is_remembered_longer_than_the_author_says(opening: Open) -> None:
    """It is asked for every call, so a session that was ended is ended."""
    sessions = dict(SESSIONS)

    def identify(headers: Mapping[str, str]) -> Principal | None:
        person = sessions.get(headers.get("x-session", ""))
        return None if person is None else Principal("shop", person)

    with opening(identify=identify) as shop:
        await shop.paid(**{"x-session": "a1"})
        before = shop.reads()
        assert not (await shop.call(**{"x-session": "a1"})).is_error
        assert shop.reads() == before
        del sessions["a1"]
        assert (await shop.refused(**{"x-session": "a1"}))[1]["reason"] == "identity_required"


async def test_none_leaves_it_to_tokens_and_keys(opening: Open, issuer: Issuer) -> None:
    """And where it names somebody, no token of somebody else's counts."""
    with opening(identify=by_cookie, **issuer.settings()) as shop:
        ann = await shop.paid(**bearer(token("ann")))
        cookie_ann = await shop.paid(cookie="session=a1", **bearer(token("ann")))
        assert ann != cookie_ann
        assert shop.billed() == {ann: 1, cookie_ann: 1}


def raises(_: Mapping[str, str]) -> Principal:
    raise LookupError("password=hunter2")


async def raises_later(_: Mapping[str, str]) -> Principal:
    raise RuntimeError("password=hunter2")


async def never_answers(_: Mapping[str, str]) -> Principal:
    await asyncio.Event().wait()
    raise AssertionError


def garbled(_: Mapping[str, str]) -> Principal:
    return Principal("shop", "ann\nbob")


BAD: dict[str, tuple[Callable[..., Any], str]] = {
    "raises": (raises, "raised LookupError at"),
    "raises later": (raises_later, "raised RuntimeError at"),
    "a string": (lambda _: "ann", "returned no usable Principal"),
    "True": (lambda _: True, "returned no usable Principal"),
    "empty": (lambda _: Principal("", ""), "returned no usable Principal"),
    "garbled": (garbled, "returned no usable Principal"),
    "takes too long": (never_answers, "no answer in time"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("is_async", [True, False], ids=["async tool", "def tool"])
async def test_a_failure_refuses_the_call_and_is_logged(
    case: str, is_async: bool, opening: Open, caplog: pytest.LogCaptureFixture
) -> None:
    """Serving whoever could not be judged would be serving anybody; its message may hold what the caller sent."""
    identify, said = BAD[case]
    with opening(identify=identify, is_async=is_async, timeout=0.3) as shop, caplog.at_level(logging.ERROR):
        text, data = await shop.refused(cookie="session=a1")
    assert data["reason"] == "billing_unavailable"
    assert said in caplog.text
    assert "hunter2" not in caplog.text + text
    assert "identify" not in text


async def test_a_thread_that_is_not_the_frameworks_can_ask_a_def(opening: Open) -> None:
    """As where an author runs tools in a pool of their own; an `async def` has no loop there and is refused."""
    tool, scope = a_tool("summarize"), {"headers": [(b"cookie", b"session=a1")], "client": ("127.0.0.1", 1)}
    for identify, reason in ((by_cookie, "payment_required"), (by_cookie_later, "billing_unavailable")):
        with opening(identify=identify) as shop:
            caller = from_scope(scope, shop.engine.identity)
            with ThreadPoolExecutor(1) as pool:
                verdict = await asyncio.wrap_future(pool.submit(shop.engine.admit_blocking, tool, caller))
        assert isinstance(verdict, Refusal)
        assert verdict.reason == reason


async def test_our_own_routes_ask_the_author_as_well(opening: Open) -> None:
    """A page for another caller than the tool's would sell to the wrong one."""
    with opening(identify=by_cookie_later) as shop:
        known = await caller_of_request(shop.engine, {b"cookie": b"session=a1"}, "127.0.0.1")
        assert known.principal == Principal("shop", "ann")
        unknown = await caller_of_request(shop.engine, {b"cookie": b"session=c3"}, "127.0.0.1")
        assert not unknown.is_known
        assert not unknown.is_pending
    with opening(identify=raises) as shop, pytest.raises(IdentityUnavailable):
        await caller_of_request(shop.engine, {}, "127.0.0.1")
