"""Where a price may stand: at the decorator, in a list of the code or of a file, as a default; through real clients."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path
from typing import Any

import pytest

from stripe_meter import CreditPack, Credits, Free, PayAsYouGo, StripeMeter
from stripe_meter.errors import ConfigurationError
from stripe_meter.mcp.decorator import metered
from tests.mcp.steps import PRICE, RECEIPT, REFUSED, Make, text_of, tool_of

pytestmark = pytest.mark.anyio


@pytest.mark.usefixtures("paid")
async def test_the_decorator_goes_before_the_list_and_the_list_before_the_default(framework: Any, make: Make) -> None:
    """The nearest word counts."""
    billing = make(prices={"listed": "$0.02", "li*": "$0.09"}, default_price="$0.03")
    server = framework.server()

    @tool_of(server)
    @metered("$0.01")
    async def own() -> str:
        return ""

    @tool_of(server)
    @metered()
    async def listed() -> str:
        return ""

    @tool_of(server)
    @metered
    async def neither() -> str:
        return ""

    @tool_of(server)
    @metered(name="listed-elsewhere")
    def globbed() -> str:
        return ""

    billing.attach(server)
    costs = {"own": "$0.01", "listed": "$0.02", "neither": "$0.03", "globbed": "$0.09"}
    async with framework.client(server) as client:
        shown = await client.tools()
        for name, cost in costs.items():
            assert shown[name].meta[PRICE]["text"] == f"{cost} a call"
            assert (await client.call(name)).meta[RECEIPT]["text"] == cost


@pytest.mark.usefixtures("paid")
async def test_a_bare_decorator_without_attach_takes_the_price_of_its_billing(framework: Any, make: Make) -> None:
    """`@billing.metered` needs nothing else."""
    billing = make(default_price="$0.03")
    server = framework.server()

    @tool_of(server)
    @billing.metered
    async def bare() -> str:
        return "a"

    @tool_of(server)
    @billing.metered()
    def called() -> str:
        return "b"

    async with framework.client(server) as client:
        assert [text_of(await client.call(name)) for name in ("bare", "called")] == ["a", "b"]
    assert billing.flush()
    assert billing.stats().delivered == 2


async def test_a_tool_that_nothing_prices_is_found_before_the_first_call(framework: Any, make: Make) -> None:
    """The sentence says every place where a price may stand."""
    server = framework.server()

    @tool_of(server)
    @metered()
    async def lost() -> str:
        return ""

    make(prices={"other": "$1"}).attach(server)
    with pytest.raises(Exception) as caught:  # noqa: PT011  # each framework wraps it in its own way
        async with framework.client(server):
            raise AssertionError("it connected")
    told = "".join(traceback.format_exception(caught.value))
    assert "tool 'lost' has no price; write @metered" in told
    assert "it connected" not in told


async def test_an_unattached_tool_that_nothing_prices_is_refused_to_everybody(
    framework: Any, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody can look before the first call there; it is not served for nothing, and the author reads why."""
    billing, server = make(), framework.server()

    @tool_of(server)
    @billing.metered()
    async def lost() -> str:
        raise AssertionError("a refused tool does not run")

    with caplog.at_level(logging.ERROR, logger="stripe_meter"):
        async with framework.client(server) as client:
            result = await client.call("lost")
    assert result.is_error
    assert result.meta[REFUSED]["reason"] == "billing_unavailable"
    assert "has no price" in caplog.text


async def test_a_price_for_a_tool_that_is_not_there_is_said(
    framework: Any, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Most likely a typing error, and then the tool itself is free."""
    server = framework.server()

    @tool_of(server)
    async def summarize() -> str:
        return ""

    make(prices={"sumarize": "$0.05", "su*x": "$1"}).attach(server)
    with caplog.at_level(logging.WARNING, logger="stripe_meter"):
        async with framework.client(server):
            pass
    assert "prices name sumarize, which this server does not list" in caplog.text


async def test_what_is_on_offer_for_nothing_is_said_at_the_start(
    framework: Any, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """A pack that no tool takes would be bought in vain; a glob with a typing error makes nothing free."""
    server = framework.server()

    @tool_of(server)
    @metered("$0.05")
    async def summarize() -> str:
        return ""

    make(PayAsYouGo(), Credits([CreditPack(100, "$9.99", "Starter")]), Free(tools=["sumar*"])).attach(server)
    with caplog.at_level(logging.WARNING, logger="stripe_meter"):
        async with framework.client(server):
            pass
    said = [record.getMessage() for record in caplog.records if record.name == "stripe_meter"]
    assert "plan 'credits' is on sale, but can pay for no tool of this server; give one a price" in said[0]
    assert said[1:] == ["Free(tools=['sumar*']) fits no tool with a price here; look for a typing error"]


@pytest.mark.usefixtures("paid")
async def test_a_file_sells_what_the_code_does_not_say(
    framework: Any, make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The code's entry wins, the file's other entries stay."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stripe-meter.toml").write_text(
        'default_price = "$0.07"\n[prices]\nlook = "$0.01"\nsee = ["$0.02", "€0.02"]\n'
    )
    billing, server = make(prices={"look": "$0.05"}), framework.server()

    @tool_of(server)
    async def look() -> str:
        return ""

    @tool_of(server)
    async def see() -> str:
        return ""

    @tool_of(server)
    @metered()
    async def third() -> str:
        return ""

    billing.attach(server)
    async with framework.client(server) as client:
        told = {name: (await client.call(name)).meta[RECEIPT]["text"] for name in ("look", "see", "third")}
    assert told == {"look": "$0.05", "see": "$0.02", "third": "$0.07"}


async def test_a_price_that_cannot_be_read_is_refused_when_the_meter_is_built() -> None:
    """With the entry's name, when the server is imported."""
    with pytest.raises(ConfigurationError, match=r'prices\["look"\]: price=5 could mean'):
        StripeMeter(prices={"look": 5})  # type: ignore[dict-item]  # the mistake under test
    with pytest.raises(ConfigurationError, match="default_price: price='cheap' is not understood"):
        StripeMeter(default_price="cheap")


@pytest.mark.usefixtures("paid")
async def test_a_decorated_tool_is_priced_by_the_name_that_is_listed(framework: Any, make: Make) -> None:
    """An author who writes the name that callers see means that tool; the default would cost 167 times as much."""
    billing = make(prices={"search-images": "$0.03", "search*": "$0.09"}, default_price="$5")
    server = framework.server()

    @server.tool(name="search-images")  # type: ignore[untyped-decorator]  # any framework's
    @metered
    async def search_images() -> str:
        return ""

    billing.attach(server)
    async with framework.client(server) as client:
        assert (await client.tools())["search-images"].meta[PRICE]["text"] == "$0.03 a call"
        assert (await client.call("search-images")).meta[RECEIPT]["text"] == "$0.03"


async def test_a_listed_name_may_be_free(framework: Any, make: Make) -> None:
    """`Free(tools=…)` means the same names as `prices`: nobody is billed for what the author gives away."""
    billing, server = make(Free(tools=["basic-*"]), PayAsYouGo(), default_price="$5"), framework.server()

    @server.tool(name="basic-count")  # type: ignore[untyped-decorator]  # any framework's
    @metered
    async def count() -> str:
        return "1"

    billing.attach(server)
    async with framework.client(server) as client:
        answer = await client.call("basic-count")
    assert text_of(answer) == "1"
    assert answer.meta[RECEIPT]["charged"] is False
