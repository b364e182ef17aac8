"""Callers who show nothing, where the seller gives them some calls; over real HTTP."""

from __future__ import annotations

import time
from unittest.mock import patch

import pytest

from stripe_meter.domain.plans import Free, PayAsYouGo
from stripe_meter.enforcement.gate import Admission
from stripe_meter.enforcement.identity import anonymous
from stripe_meter.errors import ConfigurationError
from tests.conftest import a_tool, stranger
from tests.identity.conftest import Open, Shop, bearer

pytestmark = pytest.mark.anyio

SOME = Free(calls=10, anonymous_calls=2)


async def served_to(shop: Shop, address: str) -> int:
    """How many of five calls from there are served; the emulated proxy on loopback is believed."""
    results = [await shop.call(**{"x-forwarded-for": address}) for _ in range(5)]
    return sum(not result.is_error for result in results)


async def test_nothing_is_given_to_strangers_unless_asked(opening: Open) -> None:
    """The default refuses, with the way to become known."""
    with opening(Free(calls=10), PayAsYouGo()) as shop:
        _, data = await shop.refused()
        assert data["reason"] == "identity_required"
        assert data["checkout_url"]


async def test_each_address_has_its_calls_of_the_day(opening: Open) -> None:
    """Counted apart, charged to nobody, and without any customer or read at Stripe; tomorrow there are new ones."""
    with opening(SOME, PayAsYouGo()) as shop:
        assert await served_to(shop, "203.0.113.7") == 2
        assert await served_to(shop, "203.0.113.8") == 2
        assert await served_to(shop, "203.0.113.7") == 0
        assert not shop.billed()
        assert (shop.reads(), shop.customers()) == (0, 0)
        monotonic = time.monotonic
        shop.engine.keep_time_by(lambda: monotonic() + 86400, lambda: time.time() + 86400)
        assert await served_to(shop, "203.0.113.7") == 2


async def test_after_them_the_refusal_has_a_link(opening: Open) -> None:
    """As for any stranger."""
    with opening(SOME, PayAsYouGo()) as shop:
        await served_to(shop, "127.0.0.1")
        _, data = await shop.refused()
        assert data["reason"] == "identity_required"
        assert data["checkout_url"]


async def test_one_subscriber_of_ipv6_is_one_address(opening: Open) -> None:
    """Otherwise there would be no end of free calls."""
    with opening(SOME, PayAsYouGo()) as shop:
        assert await served_to(shop, "2001:db8:0:7::1") == 2
        assert await served_to(shop, "2001:db8:0:7:1234::1") == 0
        assert await served_to(shop, "2001:db8:0:8::1") == 2


async def test_whoever_shows_a_bad_key_or_token_is_told(opening: Open) -> None:
    """Served for nothing they would learn of it only when the free calls end."""
    trusting = {"jwt_issuer": "https://a", "jwt_audience": "b", "jwt_secret": "c" * 64}
    with opening(SOME, PayAsYouGo(), **trusting) as shop:
        assert "not valid" in (await shop.refused(**{"x-api-key": "smk_nonsense"}))[0]
        assert "not accepted" in (await shop.refused(**bearer("nonsense")))[0]
        assert not (await shop.call()).is_error


async def test_a_full_memory_admits_no_newcomers(opening: Open) -> None:
    """Forgetting the oldest would give every address its calls again; who is remembered keeps theirs."""
    with patch.object(anonymous, "MOST", 2), opening(SOME, PayAsYouGo()) as shop:
        assert not (await shop.call(**{"x-forwarded-for": "203.0.113.1"})).is_error
        assert await served_to(shop, "203.0.113.2") == 2
        assert await served_to(shop, "203.0.113.3") == 0
        assert await served_to(shop, "203.0.113.1") == 1


async def test_a_call_that_fails_takes_none_of_them(opening: Open) -> None:
    """A tool that fails is free, for strangers too."""
    with opening(SOME, PayAsYouGo()) as shop:
        tool = a_tool("summarize")
        for _ in range(5):
            admission = await shop.engine.admit(tool, stranger())
            assert isinstance(admission, Admission)
            assert admission.customer is None
            admission.release()
        for left in (True, True, False):
            admission = await shop.engine.admit(tool, stranger())
            assert isinstance(admission, Admission) is left
            if isinstance(admission, Admission):
                receipt = admission.settle(1)
                assert receipt is not None
                assert receipt.customer is None


def test_strangers_get_no_more_than_those_who_sign_up() -> None:
    """Nobody would sign up then."""
    with pytest.raises(ConfigurationError, match="write calls=20 or more"):
        Free(calls=10, anonymous_calls=20)
    with pytest.raises(ConfigurationError, match="anonymous_calls=-1"):
        Free(calls=10, anonymous_calls=-1)
