"""Making one run of a test like the next: time stands still, and what is random is drawn from a seed.

Owns which of this library's sources of chance reach Stripe: the identifiers of meter events, the claims in Checkout's
success addresses, API keys, leases of credits. Production code has no such switch, so they are replaced by name here.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from unittest.mock import patch
from uuid import UUID

import time_machine

from stripe_meter.domain import identity
from stripe_meter.domain.minting import MARK, Mint
from stripe_meter.enforcement.credits import prepaid
from stripe_meter.enforcement.flusher import tallies
from stripe_meter.gateway import checkout
from stripe_meter.gateway import clock as stripes


@contextmanager
def repeatable(clock: int, seed: str) -> Iterator[None]:
    """Until this ends, the time is `clock` (Unix seconds), and two runs of the same `clock` and `seed` draw alike.

    The clock is part of the seed: Stripe would take a second day's meter events for repeats of the first day's.
    Sleeping and time-outs go on as ever, because they count on another clock.
    """

    def dice(use: str) -> random.Random:
        return random.Random(f"{use} {seed} {clock}")  # noqa: S311  # repeatable on purpose

    def drawn(length: int) -> str:
        return "".join(keys.choice(identity.ALPHABET) for _ in range(length))

    boots, leases, claims, keys = dice("boot"), dice("lease"), dice("claim"), dice("key")
    uuid = SimpleNamespace(uuid4=lambda: UUID(int=boots.getrandbits(128)))
    lease = SimpleNamespace(uuid4=lambda: UUID(int=leases.getrandbits(128)))
    claim = _but(token_urlsafe=lambda length: f"{claims.getrandbits(8 * length):0{2 * length}x}")
    parts = Mint._parts
    # What Stripe's time goes by from its first answer on.
    still = SimpleNamespace(**{**vars(time), "clock_gettime": lambda _: 0.0, "monotonic": lambda: 0.0})
    with ExitStack() as stack:
        stack.enter_context(time_machine.travel(clock, tick=False))
        stack.enter_context(patch.object(stripes, "time", still))
        stack.enter_context(patch.object(tallies, "uuid", uuid))
        stack.enter_context(patch.object(prepaid, "uuid", lease))
        stack.enter_context(patch.object(checkout, "secrets", claim))
        stack.enter_context(patch.object(identity, "_drawn", drawn))
        # Marks and keys of occasions come from the Stripe key, which is another one when the run is replayed.
        stack.enter_context(patch.object(Mint, "_mark", lambda _, key: key.secret[-MARK:]))
        stack.enter_context(patch.object(Mint, "_parts", lambda _, occasion: parts(Mint(seed), occasion)))
        yield


def _but(**replaced: object) -> SimpleNamespace:
    """The standard library's `secrets`, but for a few of its functions."""
    return SimpleNamespace(**{**vars(secrets), **replaced})
