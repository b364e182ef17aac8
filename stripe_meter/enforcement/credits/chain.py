"""One chain of debits on a wallet: credits taken in advance, calls served from them, proof of use with each write.

Owns the protocol of one chain, pure: calls come in through `take`, `settle` and `give_back` (any thread, no I/O, no
await), `next` says what to send to Stripe, and `wrote`, `marked`, `listed` and `failed` take in what came back. At most
one step is under way. Amounts are ledger units with Stripe's sign: positive takes from the wallet.

Why two processes never spend one credit: at the instant of a write Stripe's balance tells how far all chains together
went beyond what was bought, and that much of this chain stays unused. Why nothing is lost: each write names the chain's
use so far, so a chain is finished exactly when the sum of its amounts equals the highest use it named, and whatever is
in doubt is decided by that one sum.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from stripe_meter.enforcement.credits.ledger import SET_ASIDE, Entry, Write, chain_write, shown
from stripe_meter.enforcement.credits.steps import Answer, Look, Mark, Phase, Policy, Step

#: Seconds of observed use that one slice covers.
SLICE_SECONDS: Final = 60
#: Use is not called observed in less than this; a burst makes slices grow sixfold.
OBSERVED: Final = 10.0
#: A slice of fewer calls is renewed when it is empty: renewing ahead would double the writes.
SMALL: Final = 10
#: No slice is more than this part of what the wallet has left.
SHARE: Final = 10
#: Seconds by which a transaction may seem older than the chain it belongs to: two clocks took part.
CLOCKS: Final = 60
#: A failure that Stripe gives so often to the same bytes is one that it keeps under their key.
SURE: Final = 3


class Chain:
    """The purse of the calls that it admitted.

    Args:
        id: Unique for ever: boot id and counter.
        now: Seconds of the process's own clock, as in `next`.
        wake: Called, from any thread, when there may be something to send.
    """

    __slots__ = (
        "_asked",
        "_basis",
        "_calls",
        "_demand",
        "_idle_since",
        "_lock",
        "_loose",
        "_low",
        "_mark",
        "_must_look",
        "_opened",
        "_pending",
        "_policy",
        "_price",
        "_proved",
        "_rate",
        "_rest",
        "_seen",
        "_sent",
        "_since",
        "_tail",
        "_told",
        "_tries",
        "_wake",
        "_written",
        "done",
        "id",
        "is_dry",
        "limit",
        "number",
        "phase",
        "seconds",
        "taken",
        "takes",
        "used",
    )

    def __init__(self, id: str, policy: Policy, now: float, wake: Callable[[], None] = lambda: None) -> None:
        self.id, self._policy, self._wake = id, policy, wake
        self.phase = Phase.OPEN
        #: Writes so far; the sum of those that were acknowledged; use admitted, completed, and permitted so far.
        self.number = self.taken = self.used = self.done = self.limit = 0
        #: Calls admitted.
        self.takes = 0
        #: True when the wallet could not cover the last write.
        self.is_dry = False
        #: Seconds of use that a slice covers; more when many wallets share the account's rate limit.
        self.seconds = SLICE_SECONDS
        # `def` tools are admitted in threads; held for a few additions, never across an await.
        self._lock = threading.Lock()
        self._pending: Step | None = None
        self._opened = self._sent = self._idle_since = now
        self._mark, self._rate = (now, 0), 0
        self._basis: int | None = None
        self._since = 0
        self._tail: str | None = None
        self._proved = self._seen = self._demand = self._low = 0
        self._price = 1
        self._rest: int | None = None
        self._asked = self._must_look = False
        # A write of which an earlier copy may still be on its way, and how often it was sent again for that.
        self._loose: Write | None = None
        self._tries = 0
        self._calls: Counter[str] = Counter()
        # Calls that the last transaction tells of, that the pending one tells of.
        self._written: Counter[str] = Counter()
        self._told: Counter[str] = Counter()

    # The purse: warm, from any thread.

    def take(self, most: int) -> bool:
        with self._lock:
            if self.phase is not Phase.OPEN or self.used + most > self.limit:
                return False
            self.used += most
            self.takes += 1
            is_low = not self._asked and self.limit - self.used < self._low
            self._asked |= is_low
        if is_low:
            self._wake()
        return True

    def settle(self, taken: int, used: int, tool: str) -> int:
        used = min(used, taken)
        with self._lock:
            self.used += used - taken
            self.done += used
            self._calls[tool] += 1
            is_last = self.phase is not Phase.OPEN and self.used == self.done
        if is_last:
            self._wake()
        return used

    def give_back(self, taken: int) -> None:
        with self._lock:
            self.used -= taken
            is_last = self.phase is not Phase.OPEN and self.used == self.done
        if is_last:
            self._wake()

    # What the driver asks for.

    @property
    def in_flight(self) -> int:
        """Units set aside for calls that run."""
        return self.used - self.done

    @property
    def exposure(self) -> int:
        """What a kill right now would leave unproven at most."""
        debit = self._pending.amount if isinstance(self._pending, Write) else 0
        return max(0, self.taken + max(0, debit) - self._proved)

    @property
    def is_over(self) -> bool:
        return self.phase is Phase.OVER

    @property
    def is_open(self) -> bool:
        return self.phase is Phase.OPEN

    def want(self, price: int) -> None:
        """A call waits for `price` units; `next` renews for all that wait."""
        with self._lock:
            self._demand += price
            self._price = max(self._price, price)

    def want_no_more(self, price: int) -> None:
        with self._lock:
            self._demand -= price

    def granted(self) -> None:
        """Credits were added to the wallet."""
        with self._lock:
            self.is_dry, self._rest = False, None

    def end(self) -> None:
        """Admit nothing more; the last running call closes the chain."""
        with self._lock:
            if self.phase is Phase.OPEN:
                self.phase = Phase.ENDING

    def abandon(self) -> None:
        """This copy belongs to another process, which goes on with it: a forked child inherits nothing."""
        self._lock = threading.Lock()
        self.phase = Phase.OVER

    def next(self, now: float, stripe_now: float) -> Step | None:
        """What to send: the same step until it was answered, None while there is nothing.

        Args:
            now: Seconds of the process's own clock.
            stripe_now: Unix seconds as Stripe counts them, as well as this process knows.
        """
        with self._lock:
            if self._pending is None:
                self._pending = self._plan(now)
                if isinstance(self._pending, Write):
                    self._sent = now
                    if self._basis is None:
                        # Fixed at the first attempt: the first answer is held against it.
                        self._basis, self._since = int(stripe_now), int(stripe_now) - CLOCKS
            return self._pending

    # What came back.

    def wrote(self, answer: Answer) -> None:
        """The pending write has happened."""
        with self._lock:
            step, self._pending = self._pending, None
            assert isinstance(step, Write)
            if self._loose is not None or self._is_doubtful(answer.date):
                self._loose = None
                self._doubt()
                return
            self.taken += step.amount
            self._basis, self._tail, self._proved = answer.created, answer.id, step.used
            self._rest, self.is_dry = max(0, -answer.balance), answer.balance > 0
            self._written, self._told = self._told, Counter()
            self._asked = False
            if self.phase is Phase.OPEN:
                self.limit = max(self.limit, self._covered(answer.balance))
                length = self._length(self._sent)
                self._low = 0 if self.is_dry or length < SMALL * self._price else length // 4

    def marked(self, date: int) -> None:
        """The pending mark stands."""
        with self._lock:
            step, self._pending = self._pending, None
            assert isinstance(step, Mark)
            if self._is_doubtful(date):
                self._doubt()
            else:
                self._proved = step.used

    def listed(self, entries: Iterable[Entry], date: int) -> None:
        """The transactions of this chain, all of them; others are passed over."""
        with self._lock:
            self._pending = None
            mine = [entry for entry in entries if entry.chain == self.id]
            self._must_look, self._basis = False, date
            self._sum_up(mine)
            has_landed = self.number in {entry.number for entry in mine}
            if has_landed:
                self._loose = None
            if self._loose is None:
                self._calls.update({} if has_landed else self._told)
                self._told.clear()
            self.number = max([self.number, *(entry.number for entry in mine)])
            self._tail = max(mine, key=lambda entry: entry.number).id if mine else None
            self._written = Counter()

    def failed(self, *, may_land: bool = False) -> None:
        """Stripe answered the pending step with a failure that it would repeat: only the sum can tell what happened.

        Args:
            may_land: The same bytes were sent before and not answered. If the failure was not kept under their key,
                they may take effect after a listing that does not show them, so they are sent until that is out.
        """
        with self._lock:
            step, self._pending = self._pending, None
            if self._loose is not None:
                self._tries += 1
                self._loose = self._loose if self._tries < SURE else None
            elif may_land and isinstance(step, Write):
                self._loose, self._tries = step, 0
            self._doubt()

    # The rules. Under the lock.

    def _plan(self, now: float) -> Step | None:
        if self.phase is Phase.OPEN:
            self._look_whether_over(now)
        if self.phase is Phase.OPEN:
            return self._renewal(now)
        if self.phase is Phase.DOUBT:
            return self._resolution(now)
        return self._closing(now) if self.phase is Phase.ENDING else None

    def _look_whether_over(self, now: float) -> None:
        if self.takes != self._seen or self.in_flight or self._demand:
            self._seen, self._idle_since = self.takes, now
        if now - self._opened > self._policy.oldest or now - self._idle_since >= self._policy.idle:
            self.phase = Phase.ENDING

    def _renewal(self, now: float) -> Write | None:
        room = self.limit - self.used
        amount = max(self._length(now), max(self._demand, self._price) + self.in_flight) - (self.taken - self.done)
        if amount > 0 and (room < self._demand or (room < self._low and not self.is_dry)):
            return self._write(amount)
        return self._write(max(1, amount)) if self._must_beat(now) else None

    def _closing(self, now: float) -> Step | None:
        if self.in_flight:
            amount = max(1, self.in_flight - (self.taken - self.done))
            return self._write(amount) if self._must_beat(now) else None
        if self.taken != self.done:
            return self._write(self.done - self.taken)
        if self._proved != self.done and self._tail is not None:
            return Mark(self._tail, self.done, shown(self._written + self._calls) or SET_ASIDE)
        self.phase = Phase.OVER
        return None

    def _resolution(self, now: float) -> Step | None:
        if self._must_look:
            return Look(self._since)
        if self._loose is not None:
            return self._loose
        self.phase = Phase.ENDING
        difference = self.taken - self.done - self.in_flight
        if difference:
            return self._write(-difference)
        if self.in_flight:
            # Others may think it dead already.
            return self._write(1) if self._policy.returns else None
        return self._closing(now)

    def _must_beat(self, now: float) -> bool:
        """A silent chain would be taken for a dead one."""
        return self._policy.returns and self._tail is not None and now - self._sent > self._policy.recovery_age / 2

    def _write(self, amount: int) -> Write:
        self.number += 1
        self._told, self._calls = self._calls + self._told, Counter()
        return chain_write(self.id, self.number, amount, self.done, self._told)

    def _covered(self, balance: int) -> int:
        """Use that is permitted after a write: all that was taken, less what the wallet owes."""
        return self.taken - max(0, balance)

    def _is_doubtful(self, date: int) -> bool:
        """Whether others may have touched the chain, or Stripe forgotten the key, before this answer."""
        assert self._basis is not None
        return date - self._basis > self._policy.trusted_for

    def _doubt(self) -> None:
        self.phase, self._must_look = Phase.DOUBT, True

    def _sum_up(self, mine: list[Entry]) -> None:
        self.taken = sum(entry.amount for entry in mine)
        self._proved = max((entry.used for entry in mine), default=0)

    def _length(self, now: float) -> int:
        """Units of one slice: some time of observed use, at least a call, at most a share of the rest."""
        began, before = self._mark
        passed = max(OBSERVED, now - began)
        rate = max(self._rate, round(1000 * (self.used - before) / passed))
        if passed > SLICE_SECONDS:
            self._rate = max(0, round(1000 * (self.used - before) / passed))
            self._mark = now, self.used
        most = 0 if self._rest is None else self._rest // SHARE
        return max(self._price, min(rate * self.seconds // 1000, most))
