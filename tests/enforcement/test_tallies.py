"""The books of the flusher: merging, sealing, and an equation that always holds."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from stripe_meter.enforcement.flusher.exposure import Exposure
from stripe_meter.enforcement.flusher.tallies import GRACE, Sealed, Tallies

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


def test_too_much_unsent_money_blocks_that_customer_only() -> None:
    """Nothing is dropped, so what Stripe does not take must stop coming in."""
    now = [0.0]
    tallies = Tallies(lambda: None, lambda: now[0])
    exposure = Exposure(most_seconds=300, most_amount=100)
    tallies.add("cus_1", "mcp.dear", 1, Decimal(101))
    exposure.look(tallies)
    assert not exposure.blocks("cus_1"), "what is merely on its way does not count"
    now[0] = 3.0
    exposure.look(tallies)
    assert exposure.blocks("cus_1")
    assert not exposure.blocks("cus_2")
    sealed = tallies.seal(NOON)
    assert sealed is not None
    exposure.look(tallies)
    assert exposure.blocks("cus_1"), "in flight is not delivered"
    tallies.delivered(sealed)
    exposure.look(tallies)
    assert not exposure.blocks("cus_1")


def test_usage_that_is_too_old_blocks_everybody() -> None:
    """Then it is Stripe that does not take it, whoever calls."""
    now = [0.0]
    tallies = Tallies(lambda: None, lambda: now[0])
    exposure = Exposure(most_seconds=300, most_amount=100)
    tallies.add("cus_1", "mcp.cheap", 1, CENT)
    now[0] = 301.0
    exposure.look(tallies)
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

    @rule(customer=st.sampled_from("abc"), quantity=st.integers(1, 9))
    def call(self, customer: str, quantity: int) -> None:
        self.tallies.add(customer, "m", quantity, CENT)
        self.units["added"] += quantity

    @rule()
    def seal(self) -> None:
        sealed = self.tallies.seal(1_700_000_000)
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
        assert stats.accepted == stats.delivered + stats.pending + stats.rejected

    @invariant()
    def no_unit_is_lost_or_invented(self) -> None:
        left = sum(quantity for _, _, quantity, _ in self.tallies.remainder())
        assert self.units["added"] == self.units["delivered"] + self.units["rejected"] + left
        assert self.tallies.is_empty == (left == 0)


TestBooks = Books.TestCase
