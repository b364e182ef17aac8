"""Credits that killed processes left come back although nobody runs short, at the price of few reads."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from stripe_meter.domain.plans import CreditPack, Credits
from stripe_meter.emulator import EmulatorServer
from stripe_meter.enforcement.credits import prepaid
from stripe_meter.enforcement.credits.rounds import AGAIN, BETWEEN, FIRST, Rounds
from tests.conftest import a_tool, pay
from tests.credits.test_credits import Make, call, until, wallet_of

HOUR = 3600.0


@pytest.mark.anyio
async def test_a_server_that_goes_on_finds_what_another_left(
    make_engine: Make, stripe: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one vanishes with a slice in hand; the second never runs short, and gives it back all the same."""
    monkeypatch.setattr(prepaid, "TICK", 0.02)
    plan, tool = Credits([CreditPack(1000, "$10", "Big")]), a_tool(price="1 credit")
    killed, living = make_engine(plan), make_engine(plan)
    caller = await pay(killed, stripe, tool)
    await call(killed, tool, caller, 10)
    # As in a forked child: what it holds at Stripe is somebody else's, who will not come back.
    killed._decision.prepaid.reset()
    await call(living, tool, caller, 1)
    await until(lambda: not living._decision.prepaid._rounds.is_empty)
    stripe.advance(20 * 60)
    monotonic = living._accounts.monotonic
    living._accounts.monotonic = lambda: monotonic() + FIRST + 1
    await until(lambda: "given back after a crash" in descriptions(stripe))
    living.close()
    # The last proof of the killed one was for fewer calls than it served: at most its open slice is given away.
    assert 1000 - 11 <= -wallet_of(stripe)["balance"] <= 1000 - 1


def descriptions(stripe: EmulatorServer) -> list[str]:
    return [row["description"] for row in stripe.emulator.account.store.all("customer_balance_transaction")]


def looked(rounds: Rounds, until: float, used: Callable[[float], list[str]]) -> list[float]:
    """When wallets were looked through, over some time."""
    found, now = [], 0.0
    while now < until:
        for wallet in used(now):
            rounds.used(wallet, now)
        if rounds.next(now) is not None:
            found.append(now)
        now += 60.0
    return found


def test_a_wallet_is_looked_through_after_the_recovery_age_and_then_daily() -> None:
    """Earlier, nobody could tell a dead process from a quiet one."""
    times = looked(Rounds(), 3 * AGAIN, used=lambda now: ["w"])
    assert len(times) == 3
    assert FIRST <= times[0] < FIRST + 60
    assert all(later - earlier >= AGAIN for earlier, later in pairwise(times))


def test_a_wallet_that_nobody_uses_is_left_alone() -> None:
    """One look for one use, however long the process lives."""
    assert len(looked(Rounds(), 5 * AGAIN, used=lambda now: ["w"] if now < HOUR / 4 else [])) == 1


def test_many_wallets_cost_no_more_reads() -> None:
    """Stripe rations them for the whole account: 48 wallets a day, and the one that waited longest first."""
    names = [f"w{number}" for number in range(500)]
    rounds = Rounds()
    times = looked(rounds, AGAIN, used=lambda now: names)
    assert len(times) <= AGAIN / BETWEEN
    assert not rounds.is_empty
