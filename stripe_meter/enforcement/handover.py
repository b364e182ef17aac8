"""Handing a decision from the Stripe thread to whoever asked for it.

Owns the moment in which the asker may just have given up: a call that was admitted for nobody would hold its part of a
limit, or its credits, until the process ends.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable

from stripe_meter.domain.refusals import Refusal
from stripe_meter.enforcement.gate import Admission


class Handover:
    """One decision on its way."""

    __slots__ = ("_is_given_up", "_lock", "_made")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: Admission | None = None
        self._is_given_up = False

    async def make(self, deciding: Awaitable[Admission | Refusal]) -> Admission | Refusal:
        """Decide, in the Stripe thread."""
        verdict = await deciding
        if isinstance(verdict, Admission):
            with self._lock:
                self._made = verdict
                is_wanted = not self._is_given_up
            if not is_wanted:
                verdict.release()
        return verdict

    def give_up(self) -> None:
        """Nobody waits any more; what was admitted, or will be, ends at once."""
        with self._lock:
            self._is_given_up, made = True, self._made
        if made is not None:
            made.release()
