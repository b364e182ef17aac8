"""An emulated Stripe inside the process of a test suite, served over HTTP on loopback.

Owns the environment that leads there and nowhere else: no key and no setting of whoever runs the suite is seen while it
is open, and everything is as before when it ends.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from stripe_meter.emulator import Emulator, EmulatorServer
from stripe_meter.enforcement import current

_ADDRESS: Final = "STRIPE_METER_EMULATOR"
_OURS: Final = "STRIPE_METER_"
_KEY: Final = "STRIPE_SECRET_KEY"


@contextmanager
def emulated_stripe() -> Iterator[EmulatorServer]:
    """Serve an empty Stripe account on a free loopback port, and lead this process to it.

    While it is open, `STRIPE_METER_EMULATOR` holds its address, which wins over every key; `STRIPE_SECRET_KEY` and
    all other `STRIPE_METER_…` variables are absent. Ids are counted (`cus_test_1`), usage counts at once, and a
    StripeMeter built from the environment meanwhile is closed at the end.

    Yields:
        The server: `url`, and under `emulator` its requests, faults and switches.

    Raises:
        OSError: No loopback port can be had.
        TimeoutError: It does not start or stop within 10 seconds.
    """
    emulator = Emulator("Test Seller", deterministic=True, id_prefix="test", lag=0.0)
    with EmulatorServer(emulator) as server, _environment(server.url), current.forgetting():
        yield server


@contextmanager
def _environment(url: str) -> Iterator[None]:
    before = {name: value for name, value in os.environ.items() if name == _KEY or name.startswith(_OURS)}
    for name in before:
        del os.environ[name]
    os.environ[_ADDRESS] = url
    try:
        yield
    finally:
        for name in [name for name in os.environ if name == _KEY or name.startswith(_OURS)]:
            del os.environ[name]
        os.environ.update(before)
