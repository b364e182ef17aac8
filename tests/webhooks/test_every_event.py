"""Every event of the table, however often and in whatever order it comes, and whatever dies on the way."""

from __future__ import annotations

import gc
import random
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import stripe as sdk
from pydantic import SecretStr

from stripe_meter.emulator import EmulatorServer
from stripe_meter.enforcement.engine import Engine
from stripe_meter.enforcement.webhooks.table import TABLE
from stripe_meter.settings import Settings
from tests.conftest import PAGES
from tests.webhooks.conftest import PLANS, SECRET, body_of, deliver, events, send, sender, until, worked_off
from tests.webhooks.story import DAY, EXPECTED, Story, ledger

pytestmark = pytest.mark.anyio

#: A process that dies in the middle of a request closes nothing.
LEAVES_SOCKETS = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.mark.parametrize(("times", "seed"), [(1, None), (2, 20), (10, 21)])
async def test_the_books_are_the_same_however_events_come(
    hooked: Engine, stripe: EmulatorServer, client: sdk.StripeClient, times: int, seed: int | None
) -> None:
    """Stripe promises neither order nor singleness, and money may depend on neither."""
    story = Story(stripe, client)
    story.tell()
    happened = events(stripe, *TABLE)
    assert {event["type"] for event in happened} == set(TABLE)
    coming = happened * times
    if seed is not None:
        random.Random(seed).shuffle(coming)
    await deliver(hooked, coming)
    assert hooked.sales.webhooks.stats.failed == 0
    assert story.books() == EXPECTED
    sold = [
        row["metadata"] for row in stripe.emulator.account.store.all("payment_intent") if row["status"] == "succeeded"
    ]
    assert all("sm_granted" in marks for marks in sold if "stripe_meter_units" in marks)
    assert story.live() == ["active"]
    assert {error.code for error in hooked.sales.meter_errors()} == {"meter_event_customer_not_found", "no_meter"}
    assert len(hooked.sales.meter_errors()) == 2


SMALL = {"refunded in part": (50, False), "dispute won": (100, False)}


class Small(Story):
    """Half a refund, and a dispute that is won."""

    def tell(self) -> None:
        part = self.buy("refunded in part")
        self.v1.refunds.create({"payment_intent": part, "amount": 450})
        payment = self.buy("dispute won", "4000000000000259")
        self.stripe.advance(1)
        (dispute,) = self.v1.disputes.list({"payment_intent": payment}).data
        self.v1.disputes.update(dispute.id, {"evidence": {"uncategorized_text": "winning_evidence"}})


@contextmanager
def process(stripe: EmulatorServer) -> Iterator[Engine]:
    """A server's process; what it has not finished when it ends is lost to it."""
    engine = Engine(PLANS, Settings(emulator=stripe.url, public_url=PAGES, stripe_webhook_secret=SecretStr(SECRET)))
    engine.keep_time_by(time.monotonic, stripe.emulator.clock.now)
    try:
        yield engine
    finally:
        engine.close()


async def dies_after(step: int, stripe: EmulatorServer, happened: list[dict[str, Any]], fault: dict[str, Any]) -> bool:
    """A process that takes all events and dies at one of its requests to Stripe; False when it made no such request."""
    faults = stripe.emulator.faults
    fatal = faults.add(path="/v1", skip=step, **fault)
    faults.add(path="/v1", skip=step, times=10_000, kind="status", status=503)
    with process(stripe) as engine:
        async with sender(engine) as http:
            for event in happened:
                assert (await send(http, body_of(event))).status_code == 200
        await until(lambda: not fatal.times or not engine.sales.webhooks.stats.waiting)
    faults.clear()
    return not fatal.times


#: When Stripe delivers again what a process took and did not finish, and how its last request failed.
COMES_AGAIN: dict[str, dict[str, Any]] = {
    "at once": {"kind": "lost"},
    "a day later": {"kind": "lost", "effect": False},
    "never": {"kind": "status", "stored": True, "effect": True},
}


@LEAVES_SOCKETS
@pytest.mark.parametrize("again", COMES_AGAIN)
async def test_a_crash_at_any_step_changes_no_book(
    stripe: EmulatorServer, client: sdk.StripeClient, again: str
) -> None:
    """An event is acknowledged before it is worked off; what a process did not finish, the next one does, once."""
    # Each step with one of the three; the long test below has each with all.
    await dies_and_goes_on(stripe, client, again, first=list(COMES_AGAIN).index(again), stride=len(COMES_AGAIN))


@pytest.mark.long
@pytest.mark.timeout(900)  # half a minute on an idle machine; a busy one must not fail what is about money
@LEAVES_SOCKETS
@pytest.mark.parametrize("again", COMES_AGAIN)
async def test_a_crash_at_each_step_changes_no_book(
    stripe: EmulatorServer, client: sdk.StripeClient, again: str
) -> None:
    """The same without leaving anything out."""
    await dies_and_goes_on(stripe, client, again, first=0, stride=1)


async def dies_and_goes_on(
    stripe: EmulatorServer, client: sdk.StripeClient, again: str, *, first: int, stride: int
) -> None:
    """Die at every `stride`th step until there is none, and look into the books each time."""
    step, died = first, True
    while died:
        # Idempotency keys and the events that a process looks back for belong to one step only.
        stripe.advance(2 * DAY)
        before, story = len(events(stripe)), Small(stripe, client)
        story.tell()
        happened = [event for event in events(stripe)[before:] if event["type"] in TABLE]
        died = await dies_after(step, stripe, happened, COMES_AGAIN[again])
        if again == "a day later":
            stripe.advance(25 * 3600)
        with process(stripe) as engine:
            if again == "never":
                await engine.prepare([])
                await engine.thread.call(engine.sales.webhooks.catch_up, 5.0)
                await worked_off(engine)
            else:
                await deliver(engine, reversed(happened))
            assert story.books() == SMALL, f"died at step {step}"
            assert engine.sales.webhooks.stats.failed == 0, f"died at step {step}"
        assert amounts(stripe, story) == [-100, -100, -100, 50, 100], f"died at step {step}"
        step += stride
    gc.collect()  # Now, while what is left open may be said.
    assert step > 20


def amounts(stripe: EmulatorServer, story: Story) -> list[int]:
    """Every transaction of the buyers' wallets: two packs, half a refund, a dispute and its end."""
    buyers = set(story.buyers.values())
    return sorted(amount for owner, amount, _ in ledger(stripe) if owner in buyers)


def test_the_documentation_names_every_event() -> None:
    """The table in docs/webhooks.md is the table of the code."""
    text = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text()
    rows = re.findall(r"^\| `([\w.]+)` \| (.+) \|$", text, re.MULTILINE)
    assert dict(rows) == {type: row.reason for type, row in TABLE.items()}
