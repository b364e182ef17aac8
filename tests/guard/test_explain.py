"""`stripe-meter explain CUSTOMER TOOL`: the same verdict as the server's, with the reason and what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
from click.testing import CliRunner, Result

from stripe_meter import CreditPack, Credits, Free, PayAsYouGo, StripeMeter, Subscription
from stripe_meter.cli import cli
from stripe_meter.domain.identity import Caller
from stripe_meter.domain.refusals import Refusal
from stripe_meter.emulator import EmulatorServer
from stripe_meter.settings import Settings
from tests.conftest import PAGES, a_tool, pay

pytestmark = pytest.mark.anyio

SERVER = """
from mcp.server.mcpserver import MCPServer
from stripe_meter import CreditPack, Credits, Free, PayAsYouGo, StripeMeter, Subscription, metered

mcp = MCPServer("Shop")
StripeMeter({plans}, spend_cap={cap!r}).attach(mcp)

@mcp.tool()
@metered({price!r})
async def summarize(text: str) -> str:
    return text
"""


async def command(*arguments: str) -> Result:
    """`stripe-meter ARGUMENTS`, in a thread without a loop, as on a command line."""
    return await anyio.to_thread.run_sync(lambda: CliRunner().invoke(cli, list(arguments)))


class Seller:
    """A server's file, and the same shop in this process."""

    def __init__(self, stripe: EmulatorServer, folder: Path) -> None:
        self.stripe, self.file = stripe, folder / "server.py"
        self.billing: StripeMeter | None = None

    def sells(self, plans: str, price: Any = "$0.05", cap: str | None = None) -> StripeMeter:
        kinds = {kind.__name__: kind for kind in (CreditPack, Credits, Free, PayAsYouGo, Subscription)}
        self.file.write_text(SERVER.format(plans=plans, price=price, cap=cap))
        settings = Settings(emulator=self.stripe.url, public_url=PAGES)
        self.billing = StripeMeter(eval(plans, kinds), spend_cap=cap, settings=settings)
        self.tool = a_tool(price=price)
        return self.billing

    async def payer(self) -> tuple[Caller, str]:
        """Somebody who bought what the first refusal offers; they and their customer."""
        assert self.billing is not None
        caller = await pay(self.billing.engine, self.stripe, self.tool)
        customer = await self.billing.engine.sales.identify(caller)
        assert customer is not None
        return caller, customer

    async def call(self, caller: Caller) -> Refusal | None:
        """What becomes of a call, settled when it is served."""
        assert self.billing is not None
        verdict = await self.billing.engine.admit(self.tool, caller)
        if isinstance(verdict, Refusal):
            return verdict
        verdict.settle(1)
        assert self.billing.flush()
        return None

    async def explain(self, customer: str, *more: str) -> tuple[int, str]:
        """Exit status and output of the command."""
        done = await command("explain", customer, "summarize", str(self.file), *more)
        return done.exit_code, done.output

    async def data(self, customer: str) -> dict[str, Any]:
        status, output = await self.explain(customer, "--json")
        found: dict[str, Any] = json.loads(output)
        assert (status == 0) == found["served"], output
        assert status in (0, 3)
        return found


@pytest.fixture
def seller(stripe: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Seller]:
    monkeypatch.setenv("STRIPE_METER_EMULATOR", stripe.url)
    made = Seller(stripe, tmp_path)
    yield made
    if made.billing is not None:
        made.billing.close()


async def test_whoever_is_served_is_told_which_pocket_pays(seller: Seller) -> None:
    """In the order in which a server asks them, with what is left in each."""
    seller.sells('[Free(calls=1), Subscription("pro", "$49/month", included=3)]', "1 call")
    caller, customer = await seller.payer()
    assert (await seller.data(customer))["paid_from"] == "free calls"
    assert await seller.call(caller) is None
    found = await seller.data(customer)
    assert found["paid_from"] == "plan pro"
    assert [(p["name"], p["pays"]) for p in found["pockets"]] == [("free calls", False), ("plan pro", True)]
    assert found["pockets"][1]["why"] == "0 of 3 calls of this period are used."
    for _ in range(3):
        assert await seller.call(caller) is None
    assert await seller.call(caller) is not None
    status, said = await seller.explain(customer)
    assert status == 3
    assert "would be refused" in said
    assert "The calls of your plan (3) are used until" in said
    assert "What to do: Wait until then, or sell them more." in said


async def test_a_failed_payment_is_found_with_the_invoice_to_pay(seller: Seller) -> None:
    """The most common answer to "why was I blocked?"."""
    seller.sells("[PayAsYouGo()]")
    caller, customer = await seller.payer()
    assert await seller.call(caller) is None
    assert (await seller.data(customer))["paid_from"] == "plan pay-as-you-go"
    with seller.stripe.emulator.account.lock:
        (subscription,) = seller.stripe.emulator.account.store.all("subscription")
        subscription["status"] = "past_due"
    found = await seller.data(customer)
    assert found["pockets"] == [
        {
            "name": "plan pay-as-you-go",
            "pays": False,
            "why": f"{subscription['id']} is past_due.",
            "remedy": found["remedy"],
        }
    ]
    assert found["remedy"]


async def test_credits_are_counted_and_can_be_given(seller: Seller) -> None:
    """Nothing is set aside by asking: the wallet is as it was."""
    seller.sells('[Credits([CreditPack(2, "$9.99", "Two")])]', "2 credits")
    caller, customer = await seller.payer()
    assert (await seller.data(customer))["pockets"][0]["why"] == "A call needs 2 credits and 2 credits are left."
    assert (await seller.data(customer))["paid_from"] == "credits"
    assert await seller.call(caller) is None
    assert seller.billing is not None
    seller.billing.close()
    found = await seller.data(customer)
    assert "A call needs 2 credits and 0 credits are left" in found["pockets"][0]["why"]
    assert f"stripe-meter credits grant {customer} 100" in found["remedy"]


async def test_a_spending_limit_is_named_although_the_plan_would_pay(seller: Seller) -> None:
    """And whose limit it is, for only the seller can raise it."""
    billing = seller.sells("[PayAsYouGo()]", cap="$1/month")
    caller, customer = await seller.payer()
    await billing.engine.desk.limit(customer, "$0.05")
    assert await seller.call(caller) is None
    assert await seller.call(caller) is not None
    found = await seller.data(customer)
    assert "your spending limit of $0.05 a month is reached" in found["stop"]
    assert f"stripe_meter_spend_cap in the metadata of {customer}" in found["remedy"]


async def test_whoever_has_bought_nothing_is_told_what_they_could_buy(seller: Seller) -> None:
    """Such as a customer who was made by hand."""
    billing = seller.sells('[Subscription("pro", "$49/month", included=3)]', "1 call")
    await billing.engine.prepare([seller.tool])
    _, customer = await seller.payer()
    with seller.stripe.emulator.account.lock:
        (subscription,) = seller.stripe.emulator.account.store.all("subscription")
        subscription["status"] = "canceled"
    status, said = await seller.explain(customer)
    assert status == 3
    assert "They have bought nothing that covers it; a refused call links to pro." in said
    assert (await seller.data("cus_nobody"))["stop"].startswith("There is no customer cus_nobody")


async def test_every_pocket_says_why_it_does_not_pay(seller: Seller, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credits alone would be no answer to whoever wonders about their plan; a limit over all of it is named too."""
    monkeypatch.setenv("STRIPE_METER_RATE_LIMIT", "60/minute")
    plans = (
        '[Free(calls=1), Subscription("basic", "$5/month", included=3, rate_limit="2/minute"), '
        'Subscription("pro", "$9/month", included=9, features=["deep"]), '
        'Credits([CreditPack(2, "$9.99", "Two")]), PayAsYouGo()]'
    )
    seller.sells(plans, ("$0.05", "1 credit"))
    _, customer = await seller.payer()
    source = seller.file.read_text()
    seller.file.write_text(source.replace("@metered(('$0.05', '1 credit'))", '@metered("1 call", feature="deep")'))
    status, said = await seller.explain(customer)
    assert status == 3, said
    for line in (
        "- free calls: summarize needs 'deep', which pro unlocks.",
        "- plan basic: summarize needs 'deep', which pro unlocks.",
        "- plan pro: They are not subscribed to it.",
        "- credits: summarize needs 'deep', which pro unlocks.",
        "- plan pay-as-you-go: summarize needs 'deep', which pro unlocks.",
        "~ at most 60 calls a minute",
        "~ at most 2 calls a minute",
        "What to do: Their plan does not cover it; pro would.",
    ):
        assert line in said
    seller.file.write_text(source)
    found = await seller.data(customer)
    assert found["limits"] == ["60 calls a minute", "2 calls a minute"]
    assert [(p["name"], p["pays"]) for p in found["pockets"]] == [("free calls", True)]


async def test_an_automatic_top_up_counts_as_served(seller: Seller) -> None:
    """An empty wallet is filled by the next call as often as its owner agreed, so that is what is explained."""
    seller.sells('[Credits([CreditPack(1, "$9.99", "One")], top_up="One", top_up_limit=1)]', "1 credit")
    caller, customer = await seller.payer()
    assert await seller.call(caller) is None
    found = await seller.data(customer)
    assert found["served"]
    assert "The next call buys One for them." in found["pockets"][0]["why"]
    assert await seller.call(caller) is None
    found = await seller.data(customer)
    assert not found["served"]
    assert "The automatic top-ups of this month (1) are used." in found["pockets"][0]["why"]
    assert await seller.call(caller) is not None


async def test_a_catalogue_that_is_not_there_is_not_called_live(seller: Seller) -> None:
    """With a stand-in or a test key, nobody is sent looking in their live account."""
    seller.sells("[PayAsYouGo()]")
    status, said = await seller.explain("cus_nobody")
    assert status == 1
    assert "not set up in this Stripe account" in said


async def test_asking_changes_nothing_in_stripe(seller: Seller) -> None:
    """It is a question: every request is a GET."""
    seller.sells('[Free(calls=1), Credits([CreditPack(2, "$9.99", "Two")]), PayAsYouGo()]', ("$0.05", "1 credit"))
    _, customer = await seller.payer()
    before = len(seller.stripe.emulator.requests)
    assert (await seller.data(customer))["served"]
    asked = seller.stripe.emulator.requests[before:]
    assert asked
    assert {record.method for record in asked} == {"GET"}


async def test_the_explanation_agrees_with_the_server(seller: Seller) -> None:
    """Through the life of one customer on three pockets: what is explained is what happens next."""
    seller.sells('[Free(calls=2), Credits([CreditPack(2, "$9.99", "Two")]), PayAsYouGo()]', ("$0.05", "1 credit"))
    caller, customer = await seller.payer()
    for _ in range(6):
        foretold = (await seller.data(customer))["served"]
        assert (await seller.call(caller) is None) == foretold


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["smk_cus_1_secret", "summarize"], "this is no customer id"),
        (["cus_1", "sumarize", "TARGET"], "no tool is sold as 'sumarize'; there are: summarize"),
        (["cus_1", "summarize"], "name your server as well"),
    ],
)
async def test_wrong_usage_says_what_to_type(
    seller: Seller, arguments: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And never repeats what might be a key."""
    seller.sells("[PayAsYouGo()]")
    target = str(tmp_path / "server.py")
    monkeypatch.chdir(tmp_path.parent)
    done = await command("explain", *[target if a == "TARGET" else a for a in arguments])
    assert done.exit_code in (1, 2)
    assert told in done.output
    assert "smk_cus_1_secret" not in done.output
