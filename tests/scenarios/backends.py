"""What stands behind the stories: the emulator, a recording of it or of Stripe, or a Stripe test account.

Owns how each is reached, with which key, and how long to wait for it. The stories never ask which one it is; the few
things that only one of them can do are in `world.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

import stripe

from stripe_meter.emulator import Emulator, EmulatorServer
from stripe_meter.testing.traffic import STAND_IN

Name = Literal["emulator", "cassette", "live"]
NAMES: Final[tuple[Name, ...]] = ("emulator", "cassette", "live")

#: When the emulator's stories begin: 2 November 2026, 09:00:30 UTC, a Monday, in a month of thirty days.
OPENING: Final = 1_793_610_030


@dataclass(frozen=True)
class Backend:
    """One of the three.

    Attributes:
        name: As `--stripe` names it.
        key: For the wire.
        base_url: Where it answers; None for Stripe itself.
        stand_in: The emulator in this process, if that is what answers.
        tries: How often a total that is not there yet is looked at.
        pause: Seconds between two looks.
    """

    name: Name
    key: str
    base_url: str | None
    stand_in: EmulatorServer | None = None
    tries: int = 3
    pause: float = 0.0

    @property
    def environment(self) -> dict[str, str | None]:
        """How a server is pointed at it; None takes a variable away."""
        return {"STRIPE_METER_EMULATOR": self.base_url, "STRIPE_SECRET_KEY": self.key}

    def client(self) -> tuple[stripe.StripeClient, Any]:
        """Stripe's SDK for the seller's own hands, and its connection, to be closed."""
        stripe.enable_telemetry = False
        base: Any = {"api": self.base_url} if self.base_url else {}
        http = stripe.RequestsClient(timeout=30)
        # Stripe itself may answer 429 at any time; the emulator does only where the story says so.
        retries = 0 if self.base_url else 2
        client = stripe.StripeClient(self.key, base_addresses=base, http_client=http, max_network_retries=retries)
        return client, http


@contextmanager
def emulator() -> Iterator[Backend]:
    """A stand-in of the story's own."""
    with EmulatorServer(Emulator(deterministic=True, id_prefix="scenario", lag=0.0)) as stand_in:
        yield Backend("emulator", "sk_test_emulator", stand_in.url, stand_in)


def cassette(source: str) -> Backend:
    """Nobody: what was recorded from `source`, `emulator` or `stripe`, speaks for itself."""
    # As many looks as the recording took; each of them is in there.
    return Backend("cassette", "sk_test_replayed", STAND_IN if source == "emulator" else None, tries=200)


def live(key: str, base_url: str | None) -> Backend:
    """A Stripe test account.

    Args:
        key: `sk_test_…`.
        base_url: An emulator that takes the account's place, to try this very road without an account.
    """
    # Totals of meter events follow within two minutes.
    return Backend("live", key, base_url, tries=80, pause=2.0 if base_url is None else 0.02)
