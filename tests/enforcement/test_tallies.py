"""The books of the flusher: merging, sealing, and an equation that always holds."""

from __future__ import annotations

import threading
from decimal import Decimal

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from stripe_meter.enforcement.flusher.exposure import Exposure
from stripe_meter.enforcement.flusher.tallies import GRACE, Sealed, Tallies
from stripe_meter.enforcement.flusher.turns import Key, Turns

CENT = Decimal(1)
NOON = 1_700_000_000


def test_calls_of_one_customer_on_one_meter_merge_into_one_event() -> None:
    """30,000 calls are one request, not 30,000."""
    woken: list[None] = []
    tallies = Tallies(lambda: woken.append(None))
    for _ in range(30_000):
        tallies.add("cus_1", "mcp.summarize", 2, CENT)
    sealed = tallies.seal(1_700_000_001)
    assert sealed is not None
    assert (sealed.event.value, sealed.tally.calls) == (60_000, 30_000)
    assert len(woken) == 1


def test_usage_is_sealed_only_when_its_turn_comes() -> None:
    """A customer and meter with an event in flight merges on: the rate sets the lag, never the memory."""
    tallies = Tallies(lambda: None)
    tallies.add("cus_1", "mcp.summarize", 1, CENT)
    first = tallies.seal(1_700_000_001)
    tallies.add("cus_1", "mcp.summarize", 1, CENT)
    tallies.add("cus_1", "mcp.summarize", 1, CENT)
    assert tallies.seal(1_700_000_002) is None
    assert not tallies.has_next()
    assert first is not None
    tallies.delivered(first)
    second = tallies.seal(1_700_000_003)
    assert second is not None
    assert second.event.value == 2
    assert second.event.identifier != first.event.identifier


def test_the_oldest_usage_goes_first() -> None:
    """Nobody waits for ever behind a busy customer."""
    tallies = Tallies(lambda: None)
    for customer in ("cus_1", "cus_2", "cus_1"):
        tallies.add(customer, "mcp.summarize", 1, CENT)
    order = [sealed.event.customer for _ in range(2) if (sealed := tallies.seal(1_700_000_001)) is not None]
    assert order == ["cus_1", "cus_2"]


def test_whether_anything_is_pending_is_answered_without_the_lock() -> None:
    """A signal handler asks it on the thread that it interrupted, which may hold the lock."""
    tallies = Tallies(lambda: None)
    tallies.add("cus_1", "mcp.summarize", 1, CENT)
    answers: list[bool] = []
    tallies.hold()
    try:
        asking = threading.Thread(target=lambda: answers.append(tallies.is_empty), daemon=True)
        asking.start()
        asking.join(5.0)
    finally:
        tallies.let_go()
    assert answers == [False]


def test_usage_is_worth_what_each_of_its_calls_costs() -> None:
    """Otherwise one call that a plan includes would switch the bound on unsent money off for all that follow it."""
    tallies = Tallies(lambda: None)
    for price in (Decimal(0), Decimal(100), Decimal(0), Decimal("2.5")):
        tallies.add("cus_1", "mcp.summarize", 2, price)
    assert tallies.stats().unsent_amount == 205


def test_the_order_by_price_is_made_once() -> None:
    """Ten thousand customers' usage has to leave within seconds, so no turn may look at all of it."""
    looked: list[Key] = []
    turns = Turns()
    keys = [(f"cus_{number}", "mcp.summarize", 0) for number in range(100)]
    for key in keys:
        turns.add(key, CENT)

    def amount_of(key: Key) -> Decimal:
        looked.append(key)
        return Decimal(keys.index(key) % 10)

    order = []
    for _ in keys:
        turns.by_price(amount_of)
        order.append(turns.take())
    assert order == sorted(keys, key=lambda key: -(keys.index(key) % 10))
    assert looked == keys
    turns.add(keys[0], CENT)
    turns.add(keys[1], Decimal(5))
    assert [turns.take(), turns.take(), turns.take()] == [keys[1], keys[0], None]


def test_a_process_that_did_not_end_goes_back_to_the_order_of_age() -> None:
    """Otherwise cheap usage would wait for ever behind what is dear."""
    tallies = Tallies(lambda: None)
    for number, price in enumerate((1, 2, 9, 3)):
        tallies.add(f"cus_{number}", "mcp.summarize", 1, Decimal(price))
    order = [tallies.seal(NOON, dearest=dearest) for dearest in (True, False, False, False)]
    assert [sealed.event.customer for sealed in order if sealed] == ["cus_2", "cus_0", "cus_1", "cus_3"]


def test_a_forked_child_starts_from_nothing_with_identifiers_of_its_own() -> None:
    """What was pending belongs to the parent, and the two must never send one identifier twice."""
    tallies = Tallies(lambda: None)
    tallies.add("cus_1", "mcp.summarize", 1, CENT)
    parent = tallies.seal(1_700_000_001)
    tallies.reset()
    assert tallies.is_empty
    tallies.add("cus_1", "mcp.summarize", 1, CENT)
    child = tallies.seal(1_700_000_001)
    assert parent is not None
    assert child is not None
    assert parent.event.identifier != child.event.identifier


def test_the_remainder_names_customer_meter_and_units() -> None:
    """What a drain that ran out of time has to say."""
    tallies = Tallies(lambda: None)
    tallies.add("cus_1", "mcp.summarize", 3, CENT)
    tallies.seal(1_700_000_001)
    tallies.add("cus_1", "mcp.summarize", 4, CENT)
    tallies.add("cus_2", "mcp.translate", 5, CENT)
    assert sorted(tallies.remainder()) == [("cus_1", "mcp.summarize", 7, 2), ("cus_2", "mcp.translate", 5, 1)]


def test_usage_before_a_periods_end_is_dated_within_it() -> None:
    """Sent a minute later, in the grace of the draft invoice, it is still billed where it belongs."""
    tallies = Tallies(lambda: None)
    end = NOON - NOON % 3600
    tallies.add("cus_1", "mcp.summarize", 1, CENT, end)
    tallies.add("cus_1", "mcp.summarize", 1, CENT)
    before, after = tallies.seal(end + 60.5), tallies.seal(end + 60.5)
    assert before is not None
    assert after is not None
    assert end - 2 <= before.event.timestamp < end
    assert after.event.timestamp > end
    assert before.event.timestamp % 60 != 0 != after.event.timestamp % 60


def test_usage_that_comes_after_its_invoice_counts_in_the_next_period() -> None:
    """Never attempted, so it may be dated anew; the log says so."""
    tallies = Tallies(lambda: None)
    tallies.add("cus_1", "mcp.summarize", 1, CENT, NOON)
    sealed = tallies.seal(NOON + GRACE + 1)
    assert sealed is not None
    assert sealed.is_late
    assert sealed.event.timestamp >= NOON + GRACE


def test_at_the_end_the_dearest_usage_goes_first() -> None:
    """A process that may not have the time for everything saves the most money."""
    tallies = Tallies(lambda: None)
    tallies.add("cus_1", "mcp.cheap", 10, CENT)
    tallies.add("cus_1", "mcp.dear", 1, Decimal(500))
    sealed = tallies.seal(NOON, dearest=True)
    assert sealed is not None
    assert sealed.event.event_name == "mcp.dear"


@pytest.mark.anyio
async def test_too_much_unsent_money_blocks_that_customer_only() -> None:
    """Nothing is dropped, so what Stripe does not take must stop coming in."""
    now = [0.0]
    tallies = Tallies(lambda: None, lambda: now[0])
    exposure = Exposure(most_seconds=300, most_amount=100)
    tallies.add("cus_1", "mcp.dear", 1, Decimal(101))
    await exposure.look(tallies)
    assert not exposure.blocks("cus_1"), "what is merely on its way does not count"
    now[0] = 3.0
    await exposure.look(tallies)
    assert exposure.blocks("cus_1")
    assert not exposure.blocks("cus_2")
    sealed = tallies.seal(NOON)
    assert sealed is not None
    await exposure.look(tallies)
    assert exposure.blocks("cus_1"), "in flight is not delivered"
    tallies.delivered(sealed)
    await exposure.look(tallies)
    assert not exposure.blocks("cus_1")


@pytest.mark.anyio
async def test_usage_that_is_too_old_blocks_everybody() -> None:
    """Then it is Stripe that does not take it, whoever calls."""
    now = [0.0]
    tallies = Tallies(lambda: None, lambda: now[0])
    exposure = Exposure(most_seconds=300, most_amount=100)
    tallies.add("cus_1", "mcp.cheap", 1, CENT)
    now[0] = 301.0
    await exposure.look(tallies)
    assert exposure.blocks("cus_2")
    assert tallies.stats().unsent_seconds == 301.0
    assert tallies.stats().unsent_amount == 1


class Books(RuleBasedStateMachine):
    """Any order of calls, sealing, delivery and rejection."""

    def __init__(self) -> None:
        super().__init__()
        self.tallies = Tallies(lambda: None)
        self.flying: list[Sealed] = []
        self.units = {"added": 0, "delivered": 0, "rejected": 0}
        self.calls = 0

    @rule(customer=st.sampled_from("abc"), quantity=st.integers(1, 9), price=st.integers(0, 3))
    def call(self, customer: str, quantity: int, price: int) -> None:
        self.tallies.add(customer, "m", quantity, Decimal(price))
        self.units["added"] += quantity
        self.calls += 1

    @rule(dearest=st.booleans())
    def seal(self, dearest: bool) -> None:
        is_ready = self.tallies.has_next()
        sealed = self.tallies.seal(1_700_000_000, dearest=dearest)
        assert is_ready == (sealed is not None)
        if sealed is not None:
            assert sealed.key not in {other.key for other in self.flying}
            self.flying.append(sealed)

    @rule(pick=st.integers(0, 9), fate=st.sampled_from(["delivered", "rejected"]))
    def answer(self, pick: int, fate: str) -> None:
        if self.flying:
            sealed = self.flying.pop(pick % len(self.flying))
            getattr(self.tallies, fate)(sealed)
            self.units[fate] += sealed.event.value

    @invariant()
    def every_call_is_in_exactly_one_place(self) -> None:
        stats = self.tallies.stats()
        assert stats.accepted == stats.delivered + stats.pending + stats.rejected == self.calls
        assert stats.pending == sum(calls for _, _, _, calls in self.tallies.remainder())

    @invariant()
    def no_unit_is_lost_or_invented(self) -> None:
        left = sum(quantity for _, _, quantity, _ in self.tallies.remainder())
        assert self.units["added"] == self.units["delivered"] + self.units["rejected"] + left
        assert self.tallies.is_empty == (left == 0)
        flying = {sealed.key for sealed in self.flying}
        waiting = {key for key, _ in self.tallies.pending()} - flying
        assert self.tallies.has_next() == bool(waiting)


TestBooks = Books.TestCase
