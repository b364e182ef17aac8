"""However a process ends, what it took in advance and did not use goes back: real processes, a slow Stripe."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from stripe_meter.emulator import EmulatorServer
from tests.benchmarks.credits import buy
from tests.benchmarks.credits_caller import BOUGHT
from tests.credits.test_adversary import read

pytestmark = [pytest.mark.anyio, pytest.mark.long]
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "ending", ["exit", "exception", "sigterm", "sigterm without usage", "loop", "fork", "close", "failed"]
)
async def test_what_was_not_used_goes_back(stripe: EmulatorServer, ending: str) -> None:
    """To the unit, at once, without waiting for a recovery; a forked child starts a chain of its own."""
    key = await buy(stripe.url)
    stripe.emulator.faults.add(path="/v1/customers/", method="POST", kind="slow", seconds=0.2, times=50)
    child = subprocess.Popen(  # noqa: ASYNC220  # the emulator has a thread of its own
        [sys.executable, "-m", "tests.credits.ending_child", stripe.url.replace("127.0.0.1", "localhost"), key, ending],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        out, err = child.communicate(timeout=30)
    finally:
        child.kill()
    served = sum(int(number) for number in re.findall(r"served (\d+)", out))
    assert served >= 40, err
    _, books = read(stripe)
    assert books.credit == BOUGHT - served, err
    assert all(total == used for total, used in books.sums.values()), err
    assert len(books.sums) == (2 if ending == "fork" else 1)
    assert "not given back" not in err
