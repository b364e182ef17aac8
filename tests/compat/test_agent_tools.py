"""Tools with which callers' agents look after their own billing, on every framework, as their clients see them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from stripe_meter import CreditPack, Credits, PayAsYouGo, StripeMeter, Subscription, metered
from stripe_meter.emulator import EmulatorServer
from stripe_meter.settings import Settings
from tests.compat import drivers
from tests.compat.server import classes
from tests.conftest import PAGES, a_tool

pytestmark = pytest.mark.anyio

NAMES = {"billing_status", "choose_plan", "buy_credits", "manage_billing", "set_spend_cap"}
PACKS = Credits([CreditPack(100, "$9.99", "Starter"), CreditPack(1000, "$79", "Big")], credit_value="$0.05")
PRO = Subscription("pro", "$49/month", included=5000, overage="$0.25")


class Shop:
    """A server with agent tools, served over HTTP, and its callers."""

    #: Where it is served.
    url = ""

    def __init__(self, line: str, stripe: EmulatorServer) -> None:
        self._line, self.stripe = line, stripe
        settings = Settings(emulator=stripe.url, public_url=PAGES)
        self.billing = StripeMeter(
            [PayAsYouGo(), PRO, PACKS], prices={"*": "$9"}, spend_cap="$20/month", settings=settings
        )
        self.server = classes(line)[0]("Shop")

        async def summarize(text: str) -> str:
            return text.upper()

        self.server.tool()(metered("$0.05")(summarize))
        self.billing.attach(self.server, agent_tools=True)
        self.tool = a_tool()

    async def payer(self) -> tuple[str, str]:
        """An API key of somebody who pays as they go, and their customer."""
        await self.billing.engine.prepare([self.tool])
        url = await self.billing.checkout(None, "pay-as-you-go")
        back = self.stripe.complete_checkout(url, email="caller@example.com")
        query = parse_qs(urlsplit(back).query)
        done = await self.billing.engine.sales.complete(query["session_id"][0], query["claim"][0])
        assert done.key is not None
        return done.key.reveal(), done.key.customer

    async def ask(self, key: str | None, tool: str, **arguments: str) -> tuple[Any, drivers.Outcome]:
        """What one call answers: its data, and the whole outcome."""
        headers = {} if key is None else {"x-api-key": key}
        async with drivers.over_http(self._line, self.url, headers) as client:
            outcome = await client.call(tool, **arguments)
        return (json.loads(outcome.text) if tool in NAMES and not outcome.is_error else None), outcome


@pytest.fixture
def shop(line: str, stripe: EmulatorServer) -> Iterator[Shop]:
    made = Shop(line, stripe)
    with drivers.served(drivers.app_of(line, made.server)) as made.url:
        yield made
    made.billing.close()


async def test_the_tools_are_listed_only_where_the_author_asks_for_them(shop: Shop, line: str) -> None:
    """Opt-in, free whatever a price list says, and without a parameter that could name a customer."""
    async with drivers.over_http(line, shop.url, {}) as client:
        listed = await client.tools()
    assert set(listed) == NAMES | {"summarize"}
    for name in NAMES:
        assert listed[name]["_meta"]["stripe-meter/price"]["text"] == "free"
        assert listed[name]["description"]
        assert set(listed[name]["inputSchema"].get("properties", {})) <= {"plan", "pack", "amount"}
    plain = classes(line)[0]("Plain")
    shop_of_its_own = StripeMeter(settings=Settings(emulator=shop.stripe.url))
    shop_of_its_own.attach(plain)
    async with drivers.in_memory(line, plain) as client:
        assert set(await client.tools()) == set()


async def test_a_stranger_is_told_what_is_on_offer(shop: Shop) -> None:
    """An agent without a key is no dead end either: it gets a link that a person can pay by."""
    status, _ = await shop.ask(None, "billing_status")
    assert status["known"] is False
    offered, _ = await shop.ask(None, "choose_plan")
    assert [(ware["plan"], ware["pack"]) for ware in offered["on_offer"]] == [
        ("pay-as-you-go", None),
        ("pro", None),
        ("credits", "starter"),
        ("credits", "big"),
    ]
    chosen, outcome = await shop.ask(None, "choose_plan", plan="pro")
    assert chosen["url"].startswith(shop.stripe.url)
    assert chosen["url"] in chosen["text"]
    assert outcome.meta["stripe-meter/receipt"]["charged"] is False
    for tool in ("manage_billing", "set_spend_cap"):
        _, refused = await shop.ask(None, tool, **({"amount": "$1"} if tool == "set_spend_cap" else {}))
        assert refused.is_error
        assert "Nobody knows you here yet" in refused.text


async def test_a_caller_sees_what_they_have_and_nobody_else(shop: Shop) -> None:
    """Who is asked about is who shows the key, never an argument."""
    (alice, first), (bob, second) = await shop.payer(), await shop.payer()
    await shop.ask(alice, "summarize", text="a")
    assert shop.billing.flush()
    for key, customer, spent in ((alice, first, "$0.05"), (bob, second, "$0.00")):
        status, outcome = await shop.ask(key, "billing_status")
        assert (status["customer"], status["plan"], status["has_card"]) == (customer, "pay-as-you-go", True)
        assert status["cap"] == {"limit": "$20.00 a month", "spent": spent}
        assert "You are on plan pay-as-you-go (active)." in status["text"]
        assert ({first, second} - {customer}).pop() not in outcome.text


async def test_asking_again_and_again_costs_no_reads(shop: Shop) -> None:
    """Agents ask often, and Stripe rations reads for the whole account."""
    key, _ = await shop.payer()
    await shop.ask(key, "billing_status")
    await shop.ask(key, "manage_billing")
    before = len(shop.stripe.emulator.requests)
    for _ in range(3):
        await shop.ask(key, "billing_status")
        await shop.ask(key, "manage_billing")
    assert shop.stripe.emulator.requests[before:] == []


async def test_links_are_made_for_whoever_calls(shop: Shop) -> None:
    """Credits bought by the link are the caller's; a person pays, the agent does not."""
    key, customer = await shop.payer()
    bought, _ = await shop.ask(key, "buy_credits", pack="Starter")
    shop.stripe.complete_checkout(bought["url"], email="caller@example.com")
    (session,) = [row for row in _sessions(shop.stripe) if row["mode"] == "payment"]
    assert session["customer"] == customer
    managed, _ = await shop.ask(key, "manage_billing")
    assert managed["url"].startswith(shop.stripe.url)
    _, refused = await shop.ask(key, "buy_credits", pack="Nothing of that name")
    assert refused.is_error


async def test_a_spending_limit_goes_down_and_never_up(shop: Shop) -> None:
    """What an agent was talked into must not cost more than its person allowed."""
    key, customer = await shop.payer()
    lowered, _ = await shop.ask(key, "set_spend_cap", amount="$0.07")
    assert lowered["limit"] == "$0.07 a month"
    assert shop.stripe.emulator.account.store.get("customer", customer)["metadata"]["stripe_meter_spend_cap"] == "7"
    for amount, told in (("$5", "only the seller can raise it"), ("€0.01", "kept in USD"), ("all", "amount=")):
        _, refused = await shop.ask(key, "set_spend_cap", amount=amount)
        assert refused.is_error
        assert told in refused.text
    assert shop.stripe.emulator.account.store.get("customer", customer)["metadata"]["stripe_meter_spend_cap"] == "7"
    _, served = await shop.ask(key, "summarize", text="a")
    assert not served.is_error
    _, stopped = await shop.ask(key, "summarize", text="a")
    assert stopped.meta["stripe-meter/payment-required"]["reason"] == "spend_cap"


async def test_what_is_too_long_is_not_repeated(shop: Shop) -> None:
    """An agent that sends pages of text for a name gets a sentence back, not its pages."""
    key, _ = await shop.payer()
    for tool, argument in (("set_spend_cap", "amount"), ("choose_plan", "plan"), ("buy_credits", "pack")):
        _, refused = await shop.ask(key, tool, **{argument: "pages " * 2_000})
        assert refused.is_error
        assert "too long for a name or an amount" in refused.text
        assert len(refused.text) < 300


async def test_somebody_elses_key_or_none_at_all_opens_nothing(shop: Shop) -> None:
    """A key that is nobody's is a stranger; it is neither believed nor repeated."""
    key, customer = await shop.payer()
    forged = key[:-4] + "AAAA"
    status, outcome = await shop.ask(forged, "billing_status")
    assert status["known"] is False
    assert customer not in outcome.text
    _, refused = await shop.ask(forged, "manage_billing")
    assert refused.is_error
    assert forged not in refused.text


async def test_while_stripe_is_away_the_caller_is_told_when_to_come_back(shop: Shop) -> None:
    """In the words of any other refusal, without a traceback or an address of ours."""
    key, _ = await shop.payer()
    shop.stripe.emulator.faults.add(path="/v1/billing_portal", times=50, kind="status", status=503)
    _, refused = await shop.ask(key, "manage_billing")
    assert refused.meta["stripe-meter/payment-required"]["reason"] == "billing_unavailable"
    assert "Traceback" not in refused.text


def _sessions(stripe: EmulatorServer) -> list[Any]:
    with stripe.emulator.account.lock:
        return stripe.emulator.account.store.dump()["checkout.session"]
