"""The audit log: one line for what moves money or access, with Stripe's ids and nothing private."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from stripe_meter.domain.plans import CreditPack, Credits
from stripe_meter.emulator import EmulatorServer
from stripe_meter.enforcement import audit
from stripe_meter.enforcement.engine import Engine
from tests.conftest import a_tool, pay, stranger
from tests.enforcement.test_engine import admitted
from tests.guard.scanner import CANARY, Scanner, scanning

Audited = Callable[..., list[dict[str, Any]]]
#: In parts, so that this file's own traceback holds no secret either.
API_KEY = "smk_" + "cus_1_" + "k" * 40
WEBHOOK = "whsec_" + "w" * 32


@pytest.mark.anyio
async def test_a_refusal_and_a_charge_are_a_line_each(engine: Engine, stripe: EmulatorServer, audited: Audited) -> None:
    """Thirty calls that reach Stripe as one meter event are one line, with the event's own identifier."""
    tool = a_tool()
    caller = await pay(engine, stripe, tool)
    (refused,) = audited("refusal")
    assert (refused["tool"], refused["reason"]) == ("summarize", "identity_required")
    assert "customer" not in refused
    for _ in range(30):
        (await admitted(engine, tool, caller)).settle(1)
    assert engine.flush()
    charged = audited("charge")
    sent: list[Any] = [r.body for r in stripe.emulator.log.records if r.path.endswith("/billing/meter_events")]
    assert [line["identifier"] for line in charged] == [body["identifier"] for body in sent]
    assert sum(line["calls"] for line in charged) == 30
    assert {line["customer"] for line in charged} == {sent[0]["payload"]["stripe_customer_id"]}
    assert {line["meter"] for line in charged} == {"mcp.summarize"}


@pytest.mark.anyio
async def test_what_stripe_does_not_have_is_not_logged_as_charged(
    engine: Engine, stripe: EmulatorServer, audited: Audited
) -> None:
    """An auditor who adds up the lines gets what Stripe has."""
    tool = a_tool()
    caller = await pay(engine, stripe, tool)
    stripe.emulator.faults.add(path="/v1/billing/meter_events", times=1000, kind="status", status=503)
    (await admitted(engine, tool, caller)).settle(1)
    assert not engine.flush(0.5)
    assert audited("charge") == []
    stripe.emulator.faults.clear()
    assert engine.flush(30)
    assert sum(line["calls"] for line in audited("charge")) == 1


@pytest.mark.anyio
async def test_refusals_while_stripe_is_away_are_lines_as_well(
    engine: Engine, stripe: EmulatorServer, audited: Audited
) -> None:
    """The sentence for the caller is not the only trace of an outage."""
    stripe.emulator.faults.add(times=1000, kind="status", status=503)
    await engine.admit(a_tool(), stranger())
    stripe.emulator.faults.clear()
    assert [line["reason"] for line in audited("refusal")] == ["billing_unavailable"]


@pytest.mark.anyio
async def test_buying_credits_leaves_the_story_in_ids(
    make_engine: Callable[..., Engine], stripe: EmulatorServer, audited: Audited
) -> None:
    """Who bought, what was granted, and which key was made, each found again in Stripe by its id."""
    engine, tool = make_engine(Credits([CreditPack(10, "$9.99", "Starter")])), a_tool(price="1 credit")
    caller = await pay(engine, stripe, tool)
    (await admitted(engine, tool, caller)).settle(1)
    assert engine.flush()
    kinds = {line["kind"] for line in audited()}
    assert kinds == {"refusal", "purchase", "grant", "key", "charge"}
    text = json.dumps(audited())
    assert "caller@example.com" not in text
    assert caller.api_key is not None
    assert caller.api_key not in text


def test_whatever_is_passed_no_secret_and_no_address_is_written(caplog: pytest.LogCaptureFixture) -> None:
    """Logs travel further than anybody thinks."""
    caplog.set_level(logging.INFO, "stripe_meter.audit")
    audit.record("key", customer="cus_1", id=API_KEY, why="for a@example.com", secret=WEBHOOK, extra=CANARY, key=None)
    (line,) = [json.loads(record.getMessage()) for record in caplog.records]
    assert {name for name, value in line.items() if value == "[hidden]"} == {"id", "why", "secret", "extra"}
    assert line["customer"] == "cus_1"
    assert "key" not in line


@pytest.mark.parametrize("name", ["read_secret_notes", "sk_test_runner", "my_whsec_tool", "pi_secret_x", "smk_helper"])
def test_a_tool_that_is_named_like_a_secret_is_still_named(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """A line that does not say which tool it is about is of no use to an auditor."""
    caplog.set_level(logging.INFO, "stripe_meter.audit")
    audit.record("refusal", tool=name)
    assert json.loads(caplog.records[0].getMessage())["tool"] == name


@pytest.mark.parametrize(
    "secret", ["pi_3Mtw_secret_Yr", "seti_1Ab_secret_emulated", "x_secret_YrKJUKribcBjcG8HVhf", "eyJh.b"]
)
def test_the_secret_of_a_payment_is_hidden(secret: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever has a client secret can finish that payment, and whoever has a token is its owner."""
    caplog.set_level(logging.INFO, "stripe_meter.audit")
    audit.record("refusal", tool=f"t {secret}")
    assert json.loads(caplog.records[0].getMessage())["tool"] == "[hidden]"


def test_a_line_stays_a_line(caplog: pytest.LogCaptureFixture) -> None:
    """A name with a line break in it cannot forge a second entry."""
    caplog.set_level(logging.INFO, "stripe_meter.audit")
    audit.record("refusal", tool='x"}\n{"kind": "grant", "customer": "cus_2', reason="é" * 500)
    assert "\n" not in caplog.records[0].getMessage()
    assert json.loads(caplog.records[0].getMessage())["kind"] == "refusal"


@pytest.mark.parametrize("secret", [CANARY, API_KEY, WEBHOOK, "sk_live_" + "5" * 24, "rk_test_" + "5" * 24])
def test_the_scanner_sees_every_kind_of_secret(secret: str, log_scanner: Scanner) -> None:
    """In the message, in an argument, and in an exception; a scanner that finds nothing would prove nothing."""
    log = logging.getLogger("stripe_meter.guard")
    with scanning() as scanner:
        log.debug("told %s", secret)
        log.error("failed", exc_info=ValueError(secret))
    log_scanner.found.clear()
    assert len(scanner.found) == 2
    assert secret not in "".join(scanner.found)


def test_the_scanner_does_not_mind_what_is_no_secret() -> None:
    """Masked keys, placeholders in sentences, and the emulator's own key, which everybody knows."""
    with scanning() as scanner:
        logging.getLogger("stripe_meter.guard").debug(
            "smk_cus_1_abcdef… sk_test_… whsec_… sk_test_emulator cus_1 pi_1 set STRIPE_SECRET_KEY=sk_test_…"
        )
    assert scanner.read == 1
    assert scanner.found == []


@pytest.mark.anyio
async def test_the_planted_key_is_really_planted(engine: Engine) -> None:
    """Every engine of the suite holds it."""
    assert engine.settings.stripe_secret_key is not None
    assert engine.settings.stripe_secret_key.get_secret_value() == CANARY
