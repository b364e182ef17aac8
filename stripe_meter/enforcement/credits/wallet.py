"""One wallet as this process uses it: its chains, who waits for credits, and when there are none left.

Owns carrying a chain's steps to Stripe and back, one at a time for each chain and each until its fate is known; opening
a chain for the first call and giving back what nobody uses; and not asking again and again while the wallet is empty.
Lives in the Stripe thread's loop; only `Chain.take`, `settle` and `give_back` are called from elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from stripe_meter.enforcement.credits.chain import Chain
from stripe_meter.enforcement.credits.ledger import Entry, Write
from stripe_meter.enforcement.credits.recovery import entry, survey
from stripe_meter.enforcement.credits.steps import Answer, Look, Policy, Step
from stripe_meter.errors import (
    IdempotencyConflict,
    KeyRefused,
    StripeMeterError,
    StripeRejected,
    StripeUnavailable,
)

if TYPE_CHECKING:
    from stripe_meter.gateway.gateway import Gateway

log = logging.getLogger("stripe_meter.credits")

#: Seconds for which an empty wallet is not asked again, at first and at most; each time twice as long.
DRY_FIRST: Final = 15.0
DRY_MOST: Final = 120.0
#: An empty wallet is looked through for what dead processes left at most this often.
RECOVER_EVERY: Final = 900.0
_LONGEST_PAUSE: Final = 5.0
_PAUSE_WHILE_CLOSING: Final = 0.1


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why a call cannot be paid.

    Attributes:
        left: Units the wallet could still give.
        elsewhere: Units that lie with other calls or other servers, and come back when they are not used.
        owed: Units that were used although their payment went back; what is bought next pays them first.
    """

    left: int
    elsewhere: int
    owed: int = 0


class Wallet:
    """The chains of one wallet in this process.

    Args:
        id: `cus_…` of the wallet.
        new_id: Makes the id of a chain.
        in_loop: Runs something soon in the Stripe thread's loop, from any thread.
        seconds: How much use a slice is to cover.
    """

    def __init__(
        self,
        id: str,
        currency: str,
        policy: Policy,
        gateway: Gateway,
        *,
        new_id: Callable[[], str],
        in_loop: Callable[[Callable[[], object]], None],
        monotonic: Callable[[], float],
        seconds: Callable[[], int],
    ) -> None:
        self.id, self._currency, self._policy, self._gateway = id, currency, policy, gateway
        self._new_id, self._in_loop, self._monotonic, self._seconds = new_id, in_loop, monotonic, seconds
        self.chains: list[Chain] = []
        self._current: Chain | None = None
        self._busy: dict[Chain, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._fault: StripeMeterError | None = None
        self._dry_until = self._dry_for = 0.0
        self._dry_price = 0
        self._shortage = Shortage(0, 0)
        self._recovery: asyncio.Task[bool] | None = None
        self._recover_from = 0.0
        # After the last write the wallet owed more than that chain had taken.
        self._is_owing = False
        self._hurry = asyncio.Event()

    @property
    def is_empty(self) -> bool:
        """True while nothing of the wallet is held here."""
        return not self.chains

    @property
    def is_forgettable(self) -> bool:
        return not self.chains and self._monotonic() >= max(self._dry_until, self._recover_from)

    @property
    def exposure(self) -> int:
        return sum(chain.exposure for chain in self.chains)

    async def take(self, price: int) -> Chain | Shortage:
        """A chain that has set `price` units aside for one call.

        Raises:
            StripeMeterError: Stripe refused, or the process ends.
        """
        while True:
            if self._hurry.is_set():
                raise StripeUnavailable("this server is shutting down", ambiguous=False, retry_after=5.0)
            if self._current is not None and self._current.take(price):
                return self._current
            if self._monotonic() < self._dry_until and price >= self._dry_price:
                return self._shortage
            chain = self._open()
            if await self._renewed(chain, price):
                self._dry_for = 0.0
                return chain
            if chain.is_open and not chain.is_dry:
                # Credits were added while it held what the wallet did not cover.
                chain.end()
                self._pump(chain)
            elif chain.is_open and not await self._went_dry(chain, price):
                return self._shortage

    def granted(self) -> None:
        """Credits were added: ask again."""
        self._dry_until = self._dry_for = 0.0
        for chain in self.chains:
            chain.granted()

    def tick(self) -> None:
        """What time alone brings: heartbeats, and giving back what lies idle."""
        for chain in tuple(self.chains):
            chain.seconds = self._seconds()
            self._pump(chain)

    async def give_back(self) -> None:
        """Admit nothing more, let calls end, and give back the rest; returns when nothing is held."""
        self._hurry.set()
        for chain in self.chains:
            chain.end()
        self.tick()
        while self.chains:
            await self._changed.wait()

    def resume(self) -> None:
        """Admit again: the process did not end."""
        self._hurry.clear()

    def abandon(self) -> None:
        """In a forked child: all of this is the parent's."""
        for chain in self.chains:
            chain.abandon()

    # Chains and who waits for them.

    def _open(self) -> Chain:
        if self._current is None or not self._current.is_open:
            chain: Chain
            chain = Chain(
                self._new_id(), self._policy, self._monotonic(), lambda: self._in_loop(lambda: self._pump(chain))
            )
            chain.seconds = self._seconds()
            self._current = chain
            self.chains.append(chain)
        return self._current

    async def _renewed(self, chain: Chain, price: int) -> bool:
        """Wait until the chain has `price` units; False when it has ended, or has nothing more to ask for."""
        chain.want(price)
        try:
            while True:
                changed = self._changed
                self._pump(chain)
                if chain.take(price):
                    return True
                if self._fault is not None:
                    fault, self._fault = self._fault, None
                    raise fault
                if chain not in self._busy or not chain.is_open:
                    return False
                await changed.wait()
        finally:
            chain.want_no_more(price)

    async def _went_dry(self, chain: Chain, price: int) -> bool:
        """Give back what is too little, and see whether dead processes left something; whether it is worth a retry."""
        left = max(0, chain.limit - chain.used)
        mine = sum(other.in_flight for other in self.chains)
        chain.end()
        self._pump(chain)
        self._dry_for = min(DRY_MOST, max(DRY_FIRST, 2 * self._dry_for))
        self._dry_until, self._dry_price = self._monotonic() + self._dry_for, price
        self._shortage = Shortage(left, max(mine, self._shortage.elsewhere))
        if self._recovery is None and (self._is_owing or self._monotonic() >= self._recover_from):
            self._recover_from = self._monotonic() + RECOVER_EVERY
            self._recovery = asyncio.create_task(self._recover(left, mine))
        if self._recovery is None:
            return False
        # Shared by all that wait; one that gives up must not take it from the others.
        return await asyncio.shield(self._recovery)

    async def _recover(self, left: int, mine: int) -> bool:
        try:
            own = [chain.id for chain in self.chains]
            found = await survey(self._gateway.wallets, self.id, self._currency, self._policy, own)
        except StripeMeterError as error:
            log.info("%s: what other processes hold could not be looked up: %s", self.id, error)
            return False
        else:
            self._shortage = Shortage(left, mine + found.elsewhere, found.owed)
            if found.returned > 0:
                self._dry_until = 0.0
            return found.returned > 0
        finally:
            self._recovery = None

    # Carrying steps.

    def _pump(self, chain: Chain) -> None:
        """See whether the chain has something to send; at most one step of it is under way."""
        if chain in self._busy or chain not in self.chains:
            return
        if self._next(chain) is None:
            self._tidy(chain)
        else:
            self._busy[chain] = asyncio.create_task(self._work(chain))

    def _next(self, chain: Chain) -> Step | None:
        return chain.next(self._monotonic(), self._gateway.connection.clock.now())

    async def _work(self, chain: Chain) -> None:
        try:
            while (step := self._next(chain)) is not None:
                await self._carry(chain, step)
                self._announce()
        finally:
            del self._busy[chain]
            self._tidy(chain)
            self._announce()

    def _tidy(self, chain: Chain) -> None:
        if chain.is_over and chain in self.chains:
            self.chains.remove(chain)
            self._announce()
        if chain is self._current and not chain.is_open:
            self._current = None

    def _announce(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _carry(self, chain: Chain, step: Step) -> None:
        """Send one step until its fate is known: always the same bytes."""
        failures, is_unanswered = 0, False
        while True:
            try:
                await self._send(chain, step)
            except StripeUnavailable as error:
                failures += 1
                if error.stored and not isinstance(step, Look):
                    # Whether it took effect, and whether it would be repeated under this key, only the ledger tells.
                    chain.failed(may_land=is_unanswered)
                    return
                is_unanswered |= error.ambiguous
                pause = error.retry_after or _back_off(failures)
            except IdempotencyConflict:
                chain.failed()
                return
            except KeyRefused as error:
                failures += 1
                log.error("%s: credits cannot be renewed or given back: %s", self.id, error)
                pause = _LONGEST_PAUSE
            except StripeRejected as error:
                log.error("%s: %s", self.id, error)
                self._fault = error
                if isinstance(step, Look):
                    chain.abandon()
                else:
                    chain.failed()
                return
            else:
                return
            await self._pause(pause)

    async def _pause(self, seconds: float) -> None:
        """Wait, or less when the process is about to end."""
        if self._hurry.is_set():
            await asyncio.sleep(min(seconds, _PAUSE_WHILE_CLOSING))
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurry.wait()

    async def _send(self, chain: Chain, step: Step) -> None:
        wallets = self._gateway.wallets
        if isinstance(step, Write):
            made = await wallets.add(self.id, step.amount, self._currency, step.key, step.metadata, step.description)
            chain.wrote(Answer(made.id, made.created, made.balance, made.date))
            self._is_owing = made.balance > chain.taken
        elif isinstance(step, Look):
            entries: list[Entry] = []
            date = 0
            async with aclosing(wallets.pages(self.id, step.since)) as pages:
                async for page in pages:
                    date = page.date
                    entries.extend(entry(row) for row in page.rows)
            chain.listed(entries, date)
        else:
            marks = {"u": str(step.used)}
            chain.marked(await wallets.annotate(self.id, step.transaction, marks, step.description))


def largest_first(wallets: Iterable[Wallet]) -> list[Wallet]:
    """In a drain that may be too short, what would cost most if it were lost goes first."""
    return sorted(wallets, key=lambda wallet: wallet.exposure, reverse=True)


def _back_off(failures: int) -> float:
    return min(_LONGEST_PAUSE, 0.25 * 2.0 ** min(failures, 8)) * random.uniform(0.5, 1.0)  # noqa: S311  # jitter
