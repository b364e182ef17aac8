"""Sessions that somebody names without knowing one: remembered, and counted before Stripe is asked.

Owns how often a client, and all together, may come back from a Checkout that nobody has finished. An attempt counts
from its beginning, so that many at once are no more than many in a row, and is taken back when it names a payer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from stripe_meter.enforcement.identity.reading import network_of
from stripe_meter.errors import TooMany

#: Attempts of one client in a minute that name no finished payment.
GUESSES_A_MINUTE: Final = 10
#: The same for all clients together, for sessions that this process did not make.
GUESSES_AN_HOUR: Final = 120
#: What one client may take of these.
SHARE_AN_HOUR: Final = 30

_MOST: Final = 10_000


class Guesses:
    """What was tried in vain of late; lives in the Stripe thread's loop."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._nobodys: dict[str, None] = {}
        self._clients: dict[str, deque[float]] = {}
        self._all: deque[float] = deque()
        self._shares: dict[str, deque[float]] = {}

    def is_nobodys(self, session: str) -> bool:
        """Whether Stripe has said that there is no such session; ids are not given out twice."""
        return session in self._nobodys

    def nobodys(self, session: str) -> None:
        """Stripe knows no such session."""
        _make_room(self._nobodys)
        self._nobodys[session] = None

    def count(self, client: str, *, is_ours: bool) -> Callable[[], None]:
        """Count one attempt of `client`; calling what is returned takes it back.

        Args:
            is_ours: This process made the session, so that guesses of others keep no payer from it.

        Raises:
            TooMany: There were too many.
        """
        now, network = self._monotonic(), network_of(client)
        counted = [_of(self._clients, network)]
        _check(counted[0], now, GUESSES_A_MINUTE, 60.0)
        if not is_ours:
            counted += [_of(self._shares, network), self._all]
            _check(counted[1], now, SHARE_AN_HOUR, 3600.0)
            _check(self._all, now, GUESSES_AN_HOUR, 3600.0)
        for tried in counted:
            tried.append(now)

        def take_back() -> None:
            for tried in counted:
                if now in tried:
                    tried.remove(now)

        return take_back


def _of(table: dict[str, deque[float]], network: str) -> deque[float]:
    tried = table.pop(network, None)
    _make_room(table)
    table[network] = tried = deque() if tried is None else tried
    return tried


def _check(tried: deque[float], now: float, most: int, seconds: float) -> None:
    while tried and now - tried[0] >= seconds:
        tried.popleft()
    if len(tried) >= most:
        message = "Too many links that belong to no finished payment were opened; nothing is lost, open yours later."
        raise TooMany(message, retry_after=max(1.0, seconds - (now - tried[0])))


def _make_room(table: dict[str, None] | dict[str, deque[float]]) -> None:
    while len(table) >= _MOST:
        table.pop(next(iter(table)))
