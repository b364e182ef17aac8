"""Prices by name: for decorated tools that name none, and for tools that nobody decorated, through real clients."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fastmcp
import pytest
from mcp.types import CallToolResult, TextContent

from stripe_meter import PayAsYouGo, StripeMeter, Subscription, current_call
from stripe_meter.cli import standin
from stripe_meter.emulator import EmulatorServer
from stripe_meter.errors import ConfigurationError
from stripe_meter.mcp.decorator import metered
from stripe_meter.settings import Settings
from tests.conftest import PAGES, a_tool, pay
from tests.mcp.steps import RECEIPT, text_of, tool_of

pytestmark = pytest.mark.anyio

REFUSED = "stripe-meter/payment-required"
PRICE = "stripe-meter/price"
Make = Callable[..., StripeMeter]


@pytest.fixture
def make(stripe: EmulatorServer) -> Iterator[Make]:
    """A StripeMeter on the emulator, closed at the end."""
    made: list[StripeMeter] = []

    def build(*plans: Any, **options: Any) -> StripeMeter:
        settings = Settings(emulator=stripe.url, public_url=PAGES, **options.pop("settings", {}))
        made.append(StripeMeter(plans or None, settings=settings, **options))
        return made[-1]

    yield build
    for billing in made:
        billing.close()


@pytest.fixture
async def paid(stripe: EmulatorServer, make: Make, monkeypatch: pytest.MonkeyPatch) -> str:
    """Somebody who has paid calls in memory; their customer."""
    billing = make()
    caller = await pay(billing.engine, stripe, a_tool("entry", "$1"))
    monkeypatch.setenv("STRIPE_METER_API_KEY", str(caller.api_key))
    return str(caller.api_key)


def sent(stripe: EmulatorServer, billing: StripeMeter) -> dict[str, int]:
    """What has reached Stripe, by meter."""
    assert billing.flush()
    total: dict[str, int] = {}
    for record in stripe.emulator.log.records:
        if record.path.endswith("/billing/meter_events"):
            body: Any = record.body
            name = body["event_name"].partition(".")[2]
            total[name] = total.get(name, 0) + int(body["payload"]["value"])
    return total


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


@pytest.mark.usefixtures("paid")
async def test_undecorated_tools_are_metered_by_name(framework: Any, make: Make, stripe: EmulatorServer) -> None:
    """Async, sync, raising and cancelling ones; the default price leaves the rest alone."""
    billing = make(prices={"search-*": "$0.02", "search-help": "free", "shout": "$0.05"}, default_price="$9")
    server = framework.server()

    def search(text: str) -> str:
        return text.upper()

    async def broken(text: str) -> str:
        raise ValueError(text)

    async def shout(text: str) -> str:
        current_call().cancel() if text == "free" else current_call()
        return f"{text}!"

    async def unpriced(text: str) -> str:
        return text

    tools = {"search-web": search, "search-help": search, "search-broken": broken, "shout": shout}
    for name, function in {**tools, "unpriced": unpriced}.items():
        server.tool(name=name)(function) if framework.name != "fastmcp" else server.tool(function, name=name)
    billing.attach(server)
    async with framework.client(server) as client:
        shown = await client.tools()
        assert {name for name, tool in shown.items() if PRICE in (tool.meta or {})} == {
            "search-web",
            "search-broken",
            "shout",
        }
        for _ in range(3):
            answer = await client.call("search-web", text="a")
            assert text_of(answer) == "A"
            assert answer.meta[RECEIPT]["text"] == "$0.02"
        assert (await client.call("search-broken", text="a")).is_error
        assert (await client.call("shout", text="a")).meta[RECEIPT]["text"] == "$0.05"
        assert (await client.call("shout", text="free")).meta[RECEIPT]["charged"] is False
        for name in ("search-help", "unpriced"):
            assert RECEIPT not in ((await client.call(name, text="a")).meta or {})
    assert sent(stripe, billing) == {"search-web": 3, "shout": 1}


async def test_an_undecorated_tool_is_refused_with_price_and_link(
    framework: Any, make: Make, stripe: EmulatorServer
) -> None:
    """Before it runs, in the same form as a decorated one."""
    billing, server = make(prices={"look": "$0.05"}), framework.server()

    @tool_of(server)
    async def look(url: str) -> str:
        raise AssertionError("a refused tool does not run")

    billing.attach(server)
    async with framework.client(server) as client:
        result = await client.call("look", url="u")
    assert result.is_error is True
    assert result.structured_content is None
    assert result.meta[REFUSED]["checkout_url"] in text_of(result)
    assert "look costs $0.05" in text_of(result)
    assert sent(stripe, billing) == {}


@pytest.mark.usefixtures("paid")
async def test_a_tool_added_while_serving_is_metered_from_its_first_call(framework: Any, make: Make) -> None:
    """Nobody listed it in between."""
    billing, server = make(prices={"*": "$0.02"}), framework.server()
    billing.attach(server)

    async with framework.client(server) as client:

        @tool_of(server)
        async def late() -> str:
            return "now"

        assert (await client.call("late")).meta[RECEIPT]["text"] == "$0.02"
        assert (await client.call("nothing")).is_error


@pytest.mark.usefixtures("paid")
async def test_only_the_outermost_call_is_metered(framework: Any, make: Make, stripe: EmulatorServer) -> None:
    """An undecorated tool on the price list may call another one of its server."""
    billing, server = make(prices={"outer": "$0.05", "inner": "$0.01"}), framework.server()

    @tool_of(server)
    async def inner() -> str:
        return "in"

    @tool_of(server)
    async def outer() -> str:
        await server.call_tool("inner", {})
        return "out"

    billing.attach(server)
    async with framework.client(server) as client:
        assert text_of(await client.call("outer")) == "out"
    assert sent(stripe, billing) == {"outer": 1}


@pytest.mark.usefixtures("paid")
@pytest.mark.parametrize("parent_is_attached", [False, True])
async def test_a_mounted_server_sells_by_its_own_list(
    make: Make, stripe: EmulatorServer, parent_is_attached: bool
) -> None:
    """Whoever answers the client meters it, once."""
    child, parent = fastmcp.FastMCP("child"), fastmcp.FastMCP("parent")

    @child.tool
    async def look() -> str:
        return "seen"

    billing = make(prices={"look": "$0.05"})
    billing.attach(child)
    if parent_is_attached:
        make().attach(parent)
    parent.mount(child, namespace="sub")
    async with fastmcp.Client(parent) as client:
        for _ in range(2):
            assert (await client.call_tool("sub_look")).data == "seen"
    assert sent(stripe, billing) == {"look": 2}


@pytest.mark.usefixtures("paid")
async def test_a_twin_elsewhere_in_the_process_changes_nothing(
    framework: Any, make: Make, stripe: EmulatorServer
) -> None:
    """A decorated function of another server that looks the same is not this one."""
    other, server = framework.server(), framework.server()

    @tool_of(other)
    @metered("$9")
    async def look(url: str) -> str:
        return "dear"

    @tool_of(other)
    @metered("$9")
    async def elsewhere(text: str) -> str:
        return "dear"

    async def cheap(url: str) -> str:
        return "cheap"

    async def seen(text: str) -> str:
        return "seen"

    for name, function in (("look", cheap), ("see", seen)):
        server.tool(name=name)(function) if framework.name != "fastmcp" else server.tool(function, name=name)
    billing = make(prices={"look": "$0.05", "see": "$0.05"})
    billing.attach(server)
    async with framework.client(server) as client:
        for name, arguments in (("look", {"url": "u"}), ("see", {"text": "t"})):
            assert (await client.call(name, **arguments)).meta[RECEIPT]["text"] == "$0.05"
    assert sent(stripe, billing) == {"look": 1, "see": 1}


@pytest.mark.usefixtures("paid")
async def test_a_proxied_server_is_metered_by_name(make: Make, stripe: EmulatorServer) -> None:
    """Its functions run elsewhere, so only the list can say what they cost."""
    far = fastmcp.FastMCP("far")

    @far.tool
    async def look(url: str) -> str:
        return url

    server = fastmcp.server.create_proxy(far)
    billing = make(prices={"*": "$0.05"})
    billing.attach(server)
    async with fastmcp.Client(server) as client:
        result = await client.call_tool("look", {"url": "u"})
    assert result.data == "u"
    assert (result.meta or {})[RECEIPT]["text"] == "$0.05"
    assert sent(stripe, billing) == {"look": 1}


@pytest.mark.parametrize(
    ("prices", "says"),
    [
        ({"look": "$0.01 per word"}, "nothing in it counts words"),
        ({"look": "1 credit"}, "which no plan on sale can charge"),
    ],
)
async def test_an_undecorated_tool_that_cannot_be_sold_is_found_before_the_first_call(
    framework: Any, make: Make, prices: dict[str, str], says: str
) -> None:
    """One sentence, and no call is served for nothing."""
    server = framework.server()

    @tool_of(server)
    async def look() -> str:
        return ""

    make(prices=prices).attach(server)
    with pytest.raises(Exception) as caught:  # noqa: PT011  # each framework wraps it in its own way
        async with framework.client(server):
            raise AssertionError("it connected")
    assert says in "".join(traceback.format_exception(caught.value))


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


async def test_a_tool_with_a_feature_asks_for_the_plan_that_unlocks_it(
    framework: Any, make: Make, stripe: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal names the plan, and its link sells that plan."""
    billing = make(PayAsYouGo(), Subscription("pro", "$10/month", included=5, features=["export"]))
    server = framework.server()

    @tool_of(server)
    @metered("$0.05", feature="export")
    async def export() -> str:
        return "file"

    billing.attach(server)
    async with framework.client(server) as client:
        url = (await client.call("export")).meta[REFUSED]["checkout_url"]
    assert "10.00 USD" in standin.page(url)
    caller = await pay(billing.engine, stripe, billing.engine.tools[0])
    monkeypatch.setenv("STRIPE_METER_API_KEY", str(caller.api_key))
    again, other = make(*billing.engine.offering.plans), framework.server()

    @tool_of(other)
    @metered("$0.05", feature="export", name="export")
    async def export_more() -> str:
        return "file"

    again.attach(other)
    async with framework.client(other) as client:
        assert (await client.call("export_more")).meta[RECEIPT]["paid_from"] == "plan"


@pytest.mark.usefixtures("paid")
@pytest.mark.parametrize("is_attached", [True, False])
async def test_a_tool_that_charges_always_charges_its_failures(
    framework: Any, make: Make, stripe: EmulatorServer, is_attached: bool
) -> None:
    """Raising and answering an error, async and sync; only the tool itself can make a call free."""
    billing, server = make(), framework.server()

    @tool_of(server)
    @billing.metered("$0.05", charge_on="always")
    async def raises() -> str:
        raise ValueError("out of order")

    @tool_of(server)
    @billing.metered("$0.05", charge_on="always")
    def raises_in_thread() -> str:
        raise ValueError("out of order")

    @tool_of(server)
    @billing.metered("$0.05", charge_on="always")
    async def says_error() -> CallToolResult:
        return CallToolResult(content=[TextContent(type="text", text="no")], is_error=True)

    @tool_of(server)
    @billing.metered("$0.01 per row", charge_on="always")
    async def counts_and_raises() -> str:
        current_call().add(3)
        raise ValueError("after three rows")

    @tool_of(server)
    @billing.metered("$0.05", charge_on="always")
    async def lets_go() -> str:
        current_call().cancel()
        raise ValueError("our own mistake")

    if is_attached:
        billing.attach(server)
    names = ("raises", "raises_in_thread", "says_error", "counts_and_raises", "lets_go")
    async with framework.client(server) as client:
        for name in names:
            assert (await client.call(name)).is_error is True
    assert sent(stripe, billing) == {"raises": 1, "raises_in_thread": 1, "says_error": 1, "counts_and_raises": 3}


async def test_a_price_that_cannot_be_read_is_refused_when_the_meter_is_built() -> None:
    """With the entry's name, when the server is imported."""
    with pytest.raises(ConfigurationError, match=r'prices\["look"\]: price=5 could mean'):
        StripeMeter(prices={"look": 5})  # type: ignore[dict-item]  # the mistake under test
    with pytest.raises(ConfigurationError, match="default_price: price='cheap' is not understood"):
        StripeMeter(default_price="cheap")
