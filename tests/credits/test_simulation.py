"""The protocol of credits against its model: P1 to P11 hold, and each way to get it wrong is caught (P12)."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import dataclass, replace

import pytest

from stripe_meter.enforcement.credits.chain import Chain
from stripe_meter.enforcement.credits.ledger import Entry, Ledger, Write, repairs
from stripe_meter.enforcement.credits.steps import Answer, Look, Mark, Phase, Policy, Step
from tests.credits.simulation import HOUR, Outcome, Setting, Stripe, Variant, run

KEEP = Policy(returns=False)
TWO_DAYS = Policy(recovery_age=48 * 3600)

SLOW = Setting(pauses=False, slow=True, think=40.0, bought=500)

#: Every kind of life, and how many of each are lived.
LIVES = {
    "return, calm": (Setting(pauses=False, faults=False), 2),
    "return, no kills, no pauses": (Setting(pauses=False), 4),
    "return, no kills": (Setting(), 8),
    "return, kills": (Setting(kills=True), 10),
    "return, R 48 h, kills": (Setting(policy=TWO_DAYS, kills=True), 4),
    "return, slow use": (SLOW, 5),
    "keep, no kills": (Setting(policy=KEEP), 5),
    "keep, kills": (Setting(policy=KEEP, kills=True), 6),
}


@pytest.mark.parametrize("life", LIVES)
def test_the_bounds_hold_in_every_life(life: str) -> None:
    """Nothing minted and nothing lost without a kill; at most the open slices with one; P1 to P6 and P8 to P11."""
    setting, runs = LIVES[life]
    outcomes = [run(seed, setting) for seed in range(runs)]
    print(life, summary(outcomes))
    for seed, outcome in enumerate(outcomes):
        assert not outcome.violations, f"seed {seed}: {outcome.violations[:3]}"
        assert outcome.calls > 50, "a life without calls shows nothing"


def summary(outcomes: list[Outcome]) -> str:
    total = {
        name: sum(getattr(outcome, name) for outcome in outcomes)
        for name in ("bought", "served", "kills", "pauses", "minted", "kill_bound", "pause_bound", "writes", "reads")
    }
    over = max(outcome.most_over for outcome in outcomes)
    return f"{len(outcomes)} runs, {total}, served beyond bought at most {over}"


def test_admission_does_no_io() -> None:
    """P7: a warm call waits for nobody."""
    for name in ("take", "settle", "give_back"):
        assert not inspect.iscoroutinefunction(getattr(Chain, name))
        assert "await" not in inspect.getsource(getattr(Chain, name))


# P12: wrong in one rule each.


class IgnoresTheBalance(Chain):
    def _covered(self, balance: int) -> int:
        return self.taken


class TrustsAnyAnswer(Chain):
    def _is_doubtful(self, date: int) -> bool:
        return False


class TrustsItsOwnSums(TrustsAnyAnswer):
    def _doubt(self) -> None:
        self.phase = Phase.ENDING


class NeverBeats(Chain):
    def _must_beat(self, now: float) -> bool:
        return False


class BeatsByAttempt(Chain):
    def next(self, now: float, stripe_now: float) -> Step | None:
        step = super().next(now, stripe_now)
        self._sent = now
        return step


class DoubtsLate(Chain):
    def _resolution(self, now: float) -> Step | None:
        return None if self.in_flight else super()._resolution(now)


@dataclass(frozen=True)
class TrustsTwoDays(Policy):
    @property
    def trusted_for(self) -> int:
        return 48 * 3600


class Once:
    """A recovery that acts once for each chain."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def __call__(self, ledger: Ledger, date: int, recovery_age: int, own: set[str]) -> list[Write]:
        found = [write for write in repairs(ledger, date, recovery_age, own) if write.chain not in self.seen]
        self.seen |= {write.chain for write in found}
        return found


#: How each goes wrong, and the first life in which it is looked for; some faults are rare.
WRONG = {
    "the balance is ignored": (Setting(pauses=False, variant=Variant(chain=IgnoresTheBalance)), 0),
    "an unknown debit is given up": (Setting(policy=KEEP, variant=Variant(gives_up=True)), 26),
    "a 500 is sent again under a new key": (Setting(policy=KEEP, variant=Variant(blind_retry=True)), 0),
    "no Date test": (Setting(policy=KEEP, hours=30, think=60.0, variant=Variant(chain=TrustsAnyAnswer)), 5),
    "owner trusts its own sums": (Setting(variant=Variant(chain=TrustsItsOwnSums, repairs=Once())), 4),
    "no heartbeat": (replace(SLOW, variant=Variant(chain=NeverBeats)), 0),
    "heartbeat timer reset by an attempt": (replace(SLOW, variant=Variant(chain=BeatsByAttempt)), 0),
    "doubt waits for calls": (replace(SLOW, variant=Variant(chain=DoubtsLate)), 12),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_each_wrong_variant_is_caught(wrong: str) -> None:
    """P12: a property that catches nothing would prove nothing."""
    setting, first = WRONG[wrong]
    seeds = range(first, first + 40)
    caught = next(((seed, out.violations) for seed in seeds if (out := run(seed, setting)).violations), None)
    assert caught is not None
    print(wrong, "caught in life", caught[0], caught[1][0])


# P12: faults that need three accidents at once are played by hand.

START = 1_000_000.0


def sent(stripe: Stripe, step: Step | None, at: float) -> Answer:
    """A write that reaches Stripe."""
    assert isinstance(step, Write)
    answer = stripe.write(step, at, None)
    assert isinstance(answer, Answer)
    return answer


def finish(chain: Chain, stripe: Stripe, at: float) -> None:
    """End a chain on a day on which nothing goes wrong."""
    chain.end()
    while (step := chain.next(at, at)) is not None:
        if isinstance(step, Look):
            chain.listed(list(stripe.rows), int(at))
        elif isinstance(step, Mark):
            stripe.mark(step)
            chain.marked(int(at))
        else:
            chain.wrote(sent(stripe, step, at))
    assert chain.is_over


def first_debit_lands_twice(policy: Policy, stripe_now: float) -> tuple[int, int]:
    """The answer to a chain's first debit is lost, and the process sleeps for 28 hours before it asks again."""
    stripe = Stripe()
    stripe.buy(100, START)
    chain = Chain("c", policy, START)
    chain.want(10)
    sent(stripe, chain.next(START, stripe_now), START)
    later = START + 28 * HOUR
    chain.wrote(sent(stripe, chain.next(START, stripe_now), later))
    chain.want_no_more(10)
    finish(chain, stripe, later)
    return stripe.sums()["c"]


def test_a_dead_key_is_noticed() -> None:
    """Stripe forgets keys after a day; only one who trusts an answer for less than that notices the second debit."""
    assert first_debit_lands_twice(Policy(recovery_age=48 * 3600), START) == (0, 0)
    assert first_debit_lands_twice(KEEP, START) == (0, 0)
    assert first_debit_lands_twice(TrustsTwoDays(recovery_age=48 * 3600), START) == (10, 0)


def test_the_first_answer_is_held_against_stripes_clock() -> None:
    """A machine whose clock is a day fast, and which has not seen a `Date` yet, would not see the second debit."""
    assert first_debit_lands_twice(KEEP, START + 28 * HOUR) == (10, 0)


def newest_proof(ledger: Ledger, entries: Iterable[Entry]) -> Ledger:
    """A recovery that takes the use of the newest transaction for the proof."""
    for entry in reversed(list(entries)):
        if entry.chain:
            ledger.chains[entry.chain].used = entry.used
    return ledger


@pytest.mark.parametrize(("is_right", "expected"), [(True, 12), (False, 0)])
def test_the_highest_use_is_the_proof(is_right: bool, expected: int) -> None:
    """A recoverer slept 26 hours between listing and writing; what it wrote names an old use after a newer one."""
    stripe = Stripe()
    stripe.buy(100, START)
    for number, amount, used in [(1, 20, 0), (2, -8, 12)]:
        sent(stripe, Write(amount, f"c:{number}", "c", number, used, ""), START)
    sent(stripe, Write(-20, "c:2", "c", 2, 0, ""), START + 26 * HOUR)
    later, ledger, rows = START + 27 * HOUR, Ledger(), list(reversed(stripe.rows))
    ledger.add(rows)
    for write in repairs(ledger if is_right else newest_proof(ledger, rows), int(later), 900, set()):
        sent(stripe, write, later)
    assert stripe.sums()["c"][0] == expected


@pytest.mark.parametrize(("suffixes", "expected"), [(("", ""), 0), ((":p1", ":p2"), -20)])
def test_recoverers_share_their_key(suffixes: tuple[str, str], expected: int) -> None:
    """Two processes that find the same dead chain give its credits back once, not twice."""
    stripe = Stripe()
    stripe.buy(100, START)
    sent(stripe, Write(20, "c:1", "c", 1, 0, ""), START)
    ledger = Ledger()
    ledger.add(list(reversed(stripe.rows)))
    for suffix in suffixes:
        for write in repairs(ledger, int(START) + 2000, 900, set()):
            sent(stripe, replace(write, key=write.key + suffix), START + 2000)
    assert stripe.sums()["c"][0] == expected


def test_two_processes_that_want_one_number_find_out() -> None:
    """Owner against recoverer: one wins, the other is told, lists, and the sum is right."""
    stripe, chain = Stripe(), Chain("c", Policy(), START)
    stripe.buy(100, START)
    chain.want(10)
    chain.wrote(sent(stripe, chain.next(START, START), START))
    chain.want_no_more(10)
    assert chain.take(10)
    chain.settle(10, 7, "tool")
    sent(stripe, Write(-100, "c:2", "c", 2, 0, ""), START + 1000)
    chain.end()
    step = chain.next(START, START)
    assert isinstance(step, Write)
    assert stripe.write(step, START + 1001, None) == "conflict"
    chain.failed()
    finish(chain, stripe, START + 1002)
    assert stripe.sums()["c"] == (7, 7)
