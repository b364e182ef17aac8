"""The pytest fixtures: write `pytest_plugins = ["stripe_meter.testing.plugin"]` in your topmost conftest.py.

Owns nothing but the fixtures; what they do is this package's, and works without pytest too. They are no entry point of
pytest, so a suite that does not ask for them never loads them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

try:
    import pytest
except ImportError:
    raise ImportError(
        "stripe_meter.testing.plugin is for pytest, which is not installed; run `pip install pytest`"
    ) from None

from stripe_meter.emulator import EmulatorServer
from stripe_meter.meter import StripeMeter
from stripe_meter.testing.clock import HandClock
from stripe_meter.testing.emulated import emulated_stripe
from stripe_meter.testing.instead import use


@pytest.fixture
def stripe_emulator() -> Iterator[EmulatorServer]:
    """An empty Stripe account on loopback, for this test alone; see `emulated_stripe`."""
    with emulated_stripe() as server:
        yield server
    if server.emulator.violations:
        pytest.fail(f"the emulator broke Stripe's contract: {server.emulator.violations}")


@pytest.fixture
def stripe_billing(stripe_emulator: EmulatorServer) -> Iterator[StripeMeter]:
    """A StripeMeter on `stripe_emulator` that bills every tool meanwhile; override it to sell by plans of your own."""
    with closing(StripeMeter()) as billing, use(billing):
        billing.engine.thread.window = 0.0  # a test that reads the bill must not wait until usage has merged
        yield billing


@pytest.fixture
def stripe_clock(stripe_emulator: EmulatorServer, stripe_billing: StripeMeter) -> Iterator[HandClock]:
    """Time that stands still until the test moves it, for `stripe_emulator` and `stripe_billing` together."""
    clock = HandClock(stripe_emulator)
    with clock.drive(stripe_billing):
        yield clock
