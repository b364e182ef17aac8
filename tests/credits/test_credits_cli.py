"""`stripe-meter credits`: giving by hand, and reading a wallet."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from stripe_meter.domain.plans import CreditPack, Credits
from stripe_meter.emulator import EmulatorServer
from stripe_meter.enforcement.engine import Engine
from tests.cli.support import run, sentence
from tests.conftest import a_tool, pay
from tests.enforcement.test_engine import admitted, refused

pytestmark = pytest.mark.anyio

Make = Callable[..., Engine]
PLAN = Credits([CreditPack(2, "$1", "Two")])


async def test_what_is_given_can_be_spent(make_engine: Make, stripe: EmulatorServer) -> None:
    """Grant and make-good reach the wallet, `show` tells where every credit is."""
    env = {"STRIPE_METER_EMULATOR": stripe.url}
    engine, tool = make_engine(PLAN), a_tool(price="0.5 credits")
    caller = await pay(engine, stripe, tool)
    admission = await admitted(engine, tool, caller)
    receipt = admission.settle(1)
    assert receipt is not None
    customer = str(receipt.customer)
    given = run("credits", "grant", customer, "10", "--json", env=env)
    assert json.loads(given.stdout)["credits"] == 10
    good = run("credits", "make-good", customer, "3", "--reason", "crash on 3 May", env=env)
    assert good.returncode == 0, good.stderr
    assert f"{customer} was given 3 credits" in good.stdout
    engine.close()
    shown = json.loads(run("credits", "show", customer, "--json", env=env).stdout)
    assert (shown["credits"], shown["set_aside"]) == ("14.5", "0")
    assert [(line["credits"], line["description"]) for line in shown["transactions"]] == [
        ("3", "crash on 3 May"),
        ("10", "given by the seller"),
        ("-0.5", "1 × summarize"),
        ("2", "bought"),
    ]
    text = run("credits", "show", customer, env=env).stdout
    assert f"{customer} has 14.5 credits; servers have set aside 0 more" in text


async def test_a_refused_caller_is_served_after_a_grant(make_engine: Make, stripe: EmulatorServer) -> None:
    """A server that was never told asks again after a while."""
    engine, tool = make_engine(PLAN), a_tool(price="2 credits")
    caller = await pay(engine, stripe, tool)
    receipt = (await admitted(engine, tool, caller)).settle(1)
    assert receipt is not None
    assert (await refused(engine, tool, caller)).reason == "credits_exhausted"
    run("credits", "grant", str(receipt.customer), "2", env={"STRIPE_METER_EMULATOR": stripe.url})
    monotonic = engine._accounts.monotonic
    engine._accounts.monotonic = lambda: monotonic() + 120.0
    (await admitted(engine, tool, caller)).settle(1)


async def test_a_debt_is_shown(make_engine: Make, stripe: EmulatorServer) -> None:
    """A pack that was used and paid back: nothing is left, and what is missing is said."""
    env = {"STRIPE_METER_EMULATOR": stripe.url}
    engine, tool = make_engine(PLAN), a_tool(price="2 credits")
    caller = await pay(engine, stripe, tool)
    receipt = (await admitted(engine, tool, caller)).settle(1)
    assert receipt is not None
    wallet = await engine.thread.call(lambda gateway: gateway.wallets.of(str(receipt.customer)), 5.0)
    took = "usd", "refund:1", {"sm": "refund"}, "refunded"
    await engine.thread.call(lambda gateway: gateway.wallets.add(str(wallet), 2, *took), 5.0)
    engine.close()
    shown = json.loads(run("credits", "show", str(receipt.customer), "--json", env=env).stdout)
    assert (shown["credits"], shown["owed"]) == ("0", "2")
    text = run("credits", "show", str(receipt.customer), env=env).stdout
    assert "They owe 2 credits of a payment that went back" in text


def test_mistakes_are_one_sentence(stripe: EmulatorServer) -> None:
    """What is wrong and what to type."""
    env = {"STRIPE_METER_EMULATOR": stripe.url}
    assert "begins with cus_" in run("credits", "show", "nobody", env=env).stderr
    assert "--reason" in run("credits", "make-good", "cus_1", "1", env=env).stderr
    assert "stripe-meter apply" in sentence(run("credits", "grant", "cus_1", "1", env=env))
