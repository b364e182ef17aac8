"""The inbox: events wait here between Stripe's delivery and the work, and none is done twice for nothing.

Owns the bounded queue, the repetition while Stripe cannot be asked, and catching up: an event is acknowledged before
it is worked off, so what a process took and did not finish is gone from Stripe's side. The next process therefore looks
once for the events of the last day in which money moved, which costs a few reads, and each of those events earned the
account five hundred. Lives in the Stripe thread's loop.

Each process hears only what was delivered to it. Others notice when they read the account again.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from stripe_meter.enforcement.accounts import FRESH_WHEN_TOLD
from stripe_meter.enforcement.webhooks.desk import Desk
from stripe_meter.errors import StripeMeterError, StripeUnavailable

if TYPE_CHECKING:
    from stripe_meter.domain.meter_errors import MeterError
    from stripe_meter.enforcement.accounts import AccountCache
    from stripe_meter.enforcement.decision import Decision
    from stripe_meter.enforcement.flusher.thread import StripeThread
    from stripe_meter.enforcement.purchases import Purchases
    from stripe_meter.gateway.events import Event
    from stripe_meter.gateway.gateway import Gateway
    from stripe_meter.settings import Settings

log = logging.getLogger("stripe_meter")

#: Events that wait; beyond that Stripe is told to come again.
MOST: Final = 500
_AT_ONCE: Final = 4
#: Ids of events that were done, so that a repeated delivery costs no read.
_REMEMBERED: Final = 10_000
_KEPT_ERRORS: Final = 100
#: Tries of one event, and the longest pause between two: a quarter of an hour in all.
TRIES: Final = 12
_LONGEST: Final = 120.0
#: Seconds and events for which the next process looks.
_BACK: Final = 24 * 3600
_BACK_MOST: Final = 300


@dataclass(frozen=True, slots=True)
class InboxStats:
    """What became of deliveries: genuine ones, those that wait, and those that could not be dealt with."""

    received: int
    waiting: int
    failed: int


class Inbox:
    """Takes deliveries and works them off."""

    def __init__(
        self,
        thread: StripeThread,
        accounts: AccountCache,
        purchases: Purchases,
        decision: Decision,
        settings: Callable[[], Settings],
    ) -> None:
        self._thread, self._accounts, self._purchases, self._decision = thread, accounts, purchases, decision
        self._settings = settings
        self.meter_errors: deque[MeterError] = deque(maxlen=_KEPT_ERRORS)
        self._received = self._failed = 0
        self._start(None)

    def _start(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self._loop = loop
        self._waiting: dict[str, asyncio.Task[None]] = {}
        self._done: dict[str, None] = {}
        self._turn = asyncio.Semaphore(_AT_ONCE)
        self._catching: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether webhooks are set up here. Raises `ConfigurationError` when a secret is none."""
        return self._settings().enabled and bool(self._settings().webhook_secrets)

    @property
    def stats(self) -> InboxStats:
        """Callable from any thread."""
        is_catching = self._catching is not None and not self._catching.done()
        return InboxStats(self._received, len(self._waiting) + is_catching, self._failed)

    async def receive(self, body: bytes, signature: str) -> bool:
        """Take one delivery; False when too many wait. Callable from any loop.

        Raises:
            WebhookRefused: It is not genuine.
            StripeMeterError: It cannot be taken now.
        """
        secrets = self._settings().webhook_secrets

        async def work(gateway: Gateway) -> bool:
            from stripe_meter.gateway.events import opened

            event = opened(body, signature, secrets)
            self._received += 1
            # From now on changes are told, so there is less to look for.
            self._accounts.fresh = FRESH_WHEN_TOLD
            await self.catch_up(gateway)
            return self._take(gateway, event)

        return await self._thread.call(work, self._settings().timeout)

    async def catch_up(self, gateway: Gateway) -> None:
        """Begin, once in a process, to look for what an earlier one may have left."""
        if self._loop is not asyncio.get_running_loop():
            # A forked child has a loop of its own, and what waits is its parent's.
            self._start(asyncio.get_running_loop())
        if self._catching is None:
            self._catching = self._thread.errand(self._catch_up(gateway))

    async def _catch_up(self, gateway: Gateway) -> None:
        from stripe_meter.enforcement.webhooks.table import MONEY

        since = int(gateway.connection.clock.now()) - _BACK
        try:
            events = await gateway.events.recent(MONEY, since, _BACK_MOST)
        except StripeMeterError as error:
            log.warning("events that an earlier process may have left could not be looked up: %s", error)
            return
        for event in events:
            self._take(gateway, event)

    def _take(self, gateway: Gateway, event: Event) -> bool:
        from stripe_meter.enforcement.webhooks.table import TABLE

        if event.type not in TABLE or event.id in self._done or event.id in self._waiting:
            return True
        if len(self._waiting) >= MOST:
            return False
        self._waiting[event.id] = self._thread.errand(self._work(gateway, event))
        return True

    async def _work(self, gateway: Gateway, event: Event) -> None:
        try:
            for tried in range(1, TRIES + 1):
                async with self._turn:
                    if await self._is_over(gateway, event, tried):
                        return
                await asyncio.sleep(min(_LONGEST, 0.5 * 2.0**tried) * random.uniform(0.5, 1.0))  # noqa: S311  # jitter
        finally:
            self._waiting.pop(event.id, None)

    async def _is_over(self, gateway: Gateway, event: Event, tried: int) -> bool:
        """Deal with an event; False when it has to be tried again."""
        from stripe_meter.enforcement.webhooks.table import TABLE

        desk = Desk(
            gateway,
            self._accounts,
            self._purchases,
            self._decision,
            self.meter_errors,
            self._settings().pause_on_dispute,
        )
        try:
            await TABLE[event.type].handler(desk, event)
        except StripeUnavailable as error:
            if tried < TRIES:
                return False
            self._give_up(event, error)
        except Exception as error:  # whatever it is, the next event must not suffer from it
            self._give_up(event, error)
        else:
            self._done[event.id] = None
            while len(self._done) > _REMEMBERED:
                self._done.pop(next(iter(self._done)))
        return True

    def _give_up(self, event: Event, error: Exception) -> None:
        self._failed += 1
        what = error if isinstance(error, StripeMeterError) else type(error).__name__
        log.error(
            "%s (%s) could not be dealt with: %s; once that is mended: stripe events resend %s",
            event.id,
            event.type,
            what,
            event.id,
        )
