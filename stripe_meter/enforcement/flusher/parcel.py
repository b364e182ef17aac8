"""A parcel: the events of one request, what is known of their fate, and how long nobody has known it.

Owns the rules about repeating. What certainly never arrived (a refused connection, a 429, a refused session of the
stream) may be sent again for weeks, by another road or dated anew. Once a request may have arrived without an answer,
its events go out as they are, on the road they took, until 23 hours later: Stripe recognises an identifier for 24.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final

from stripe_meter.domain.usage import MeterEvent
from stripe_meter.enforcement.flusher.tallies import Sealed

#: After this long an event of unknown fate is given up.
QUARANTINE_AFTER: Final = 23 * 3600.0
LONGEST_PAUSE: Final = 60.0


class Fate(Enum):
    """What became of a parcel."""

    #: Stripe has all of it.
    ACCEPTED = auto()
    #: Stripe will not take it as it is; of several events perhaps because of one.
    REFUSED = auto()
    #: Nobody knows, and it is too late to ask.
    GIVEN_UP = auto()
    #: It was never sent, and this road is closed.
    ROAD_CLOSED = auto()


@dataclass(slots=True)
class Parcel:
    """Sealed events on their way together.

    Attributes:
        sealed: What is in it.
        unknown_since: When it was first sent without an answer that tells its fate, by Stripe's clock.
        failures: Attempts without an answer.
        stored: Of these, those that Stripe would replay under the same idempotency key.
    """

    sealed: list[Sealed]
    unknown_since: float | None = None
    failures: int = 0
    stored: int = 0

    @property
    def events(self) -> list[MeterEvent]:
        return [sealed.event for sealed in self.sealed]

    def failed(self, now: float, *, is_ambiguous: bool, is_stored: bool = False) -> float:
        """Take note of an attempt; returns after how many seconds to repeat it."""
        self.failures += 1
        self.stored += is_stored
        if is_ambiguous and self.unknown_since is None:
            self.unknown_since = now
        return min(LONGEST_PAUSE, 0.25 * 2.0 ** min(self.failures, 8)) * random.uniform(0.5, 1.0)  # noqa: S311  # jitter

    def is_beyond_asking(self, now: float) -> bool:
        """Whether Stripe might not recognise it any more, and would count it again."""
        return self.unknown_since is not None and now - self.unknown_since > QUARANTINE_AFTER

    def halves(self) -> Iterator[Parcel]:
        """Two parcels that remember what this one has been through."""
        half = len(self.sealed) // 2
        for part in (self.sealed[:half], self.sealed[half:]):
            yield replace(self, sealed=part)

    def singles(self) -> Iterator[Parcel]:
        """A parcel for each event, none of which was ever sent."""
        for sealed in self.sealed:
            yield Parcel([sealed])
