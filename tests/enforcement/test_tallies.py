"""The books of the flusher: merging, sealing, and an equation that always holds."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from stripe_meter.enforcement.flusher.tallies import Sealed, Tallies


def test_calls_of_one_customer_on_one_meter_merge_into_one_event() -> None:
    """30,000 calls are one request, not 30,000."""
    woken: list[None] = []
    tallies = Tallies(lambda: woken.append(None))
    for _ in range(30_000):
        tallies.add("cus_1", "mcp.summarize", 2)
    sealed = tallies.seal(1_700_000_001)
    assert sealed is not None
    assert (sealed.event.value, sealed.calls) == (60_000, 30_000)
    assert len(woken) == 1


def test_usage_is_sealed_only_when_its_turn_comes() -> None:
    """A customer and meter with an event in flight merges on: the rate sets the lag, never the memory."""
    tallies = Tallies(lambda: None)
    tallies.add("cus_1", "mcp.summarize", 1)
    first = tallies.seal(1_700_000_001)
    tallies.add("cus_1", "mcp.summarize", 1)
    tallies.add("cus_1", "mcp.summarize", 1)
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
        tallies.add(customer, "mcp.summarize", 1)
    order = [sealed.event.customer for _ in range(2) if (sealed := tallies.seal(1_700_000_001)) is not None]
    assert order == ["cus_1", "cus_2"]


def test_a_forked_child_starts_from_nothing_with_identifiers_of_its_own() -> None:
    """What was pending belongs to the parent, and the two must never send one identifier twice."""
    tallies = Tallies(lambda: None)
    tallies.add("cus_1", "mcp.summarize", 1)
    parent = tallies.seal(1_700_000_001)
    tallies.reset()
    assert tallies.is_empty
    tallies.add("cus_1", "mcp.summarize", 1)
    child = tallies.seal(1_700_000_001)
    assert parent is not None
    assert child is not None
    assert parent.event.identifier != child.event.identifier


def test_the_remainder_names_customer_meter_and_units() -> None:
    """What a drain that ran out of time has to say."""
    tallies = Tallies(lambda: None)
    tallies.add("cus_1", "mcp.summarize", 3)
    tallies.seal(1_700_000_001)
    tallies.add("cus_1", "mcp.summarize", 4)
    tallies.add("cus_2", "mcp.translate", 5)
    assert sorted(tallies.remainder()) == [(("cus_1", "mcp.summarize"), 7, 2), (("cus_2", "mcp.translate"), 5, 1)]


class Books(RuleBasedStateMachine):
    """Any order of calls, sealing, delivery and rejection."""

    def __init__(self) -> None:
        super().__init__()
        self.tallies = Tallies(lambda: None)
        self.flying: list[Sealed] = []
        self.units = {"added": 0, "delivered": 0, "rejected": 0}

    @rule(customer=st.sampled_from("abc"), quantity=st.integers(1, 9))
    def call(self, customer: str, quantity: int) -> None:
        self.tallies.add(customer, "m", quantity)
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
        left = sum(quantity for _, quantity, _ in self.tallies.remainder())
        assert self.units["added"] == self.units["delivered"] + self.units["rejected"] + left
        assert self.tallies.is_empty == (left == 0)


TestBooks = Books.TestCase
