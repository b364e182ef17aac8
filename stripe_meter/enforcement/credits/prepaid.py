"""Prepaid credits as one of the caller's pockets: from a route to an offer whose purse is a chain.

Owns the wallets of this process, their clock tick, and what happens to them when the process ends or forks. Runs in the
Stripe thread's loop.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from stripe_meter.domain.plans import Credits
from stripe_meter.enforcement.credits.chain import SLICE_SECONDS
from stripe_meter.enforcement.credits.grants import give_once
from stripe_meter.enforcement.credits.recovery import survey
from stripe_meter.enforcement.credits.rounds import Rounds
from stripe_meter.enforcement.credits.steps import Policy
from stripe_meter.enforcement.credits.wallet import Shortage, Wallet, largest_first
from stripe_meter.enforcement.ledgers import Spent
from stripe_meter.enforcement.offers import Limits, Offer, Terms, shared
from stripe_meter.errors import ConfigurationError, StripeMeterError

if TYPE_CHECKING:
    from stripe_meter.domain.account import Account
    from stripe_meter.domain.offering import Route
    from stripe_meter.domain.receipts import Voucher
    from stripe_meter.domain.tools import Tool
    from stripe_meter.enforcement.flusher.thread import StripeThread
    from stripe_meter.enforcement.shelf import Shelf
    from stripe_meter.gateway.gateway import Gateway

log = logging.getLogger("stripe_meter.credits")

#: Seconds between two looks at the clock.
TICK: Final = 5.0
#: Slices grow with the number of wallets, so that all together stay at some ten writes a second.
_A_WALLET: Final = 5


class Prepaid:
    """The wallets that this process serves from."""

    def __init__(self, shelf: Shelf, thread: StripeThread, monotonic: Callable[[], float]) -> None:
        self._shelf, self._thread, self._monotonic = shelf, thread, monotonic
        # Kept from being collected in a child: their tasks belong to the parent's loop.
        self._inherited: list[object] = []
        self._start()

    def reset(self) -> None:
        """Start from nothing, as a forked child must: what is held is the parent's."""
        for wallet in self._wallets.values():
            wallet.abandon()
        self._inherited.append((self._wallets, self._ticking, self._looking))
        self._start()

    def _start(self) -> None:
        self._wallets: dict[str, Wallet] = {}
        self._boot = uuid.uuid4().hex[:16]
        self._count = itertools.count(1)
        self._rounds = Rounds()
        self._ticking: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None

    async def offer(self, gateway: Gateway, account: Account, tool: Tool, route: Route) -> Offer | Spent | None:
        """None for a caller who never bought credits."""
        plan = route.plan
        assert isinstance(plan, Credits)
        if account.wallet is None:
            return None
        scale = self.scale(plan)
        most = route.rate.quantity(tool.max_units or 1, scale)
        found = await self._wallet(gateway, account.wallet, plan).take(most)
        if isinstance(found, Shortage):
            return Spent(_why(found, most, scale), 0, "credits", most)
        terms = shared(Terms(self._shelf.names.credits, route.rate, ledger="credits", scale=scale))
        return Offer(account.customer, terms, Limits(found, most))

    async def take_back(self, gateway: Gateway, voucher: Voucher) -> str:
        """Return the credits of one charge, and say by which transaction; doing it again changes nothing.

        Raises:
            ConfigurationError: The customer has no wallet any more.
        """
        plan, wallet = self._shelf.offering.credits, await gateway.wallets.of(voucher.customer)
        if plan is None or wallet is None:
            raise ConfigurationError(f"{voucher.customer} holds no credits here, so this charge cannot be given back")
        key, marks = f"void:{voucher.number}:credits", {"sm": "void", "receipt": voucher.number}
        given = await give_once(
            gateway, wallet, voucher.billed, plan.currency, key, marks, "a charge taken back", voucher.charged_at
        )
        self.granted(wallet)
        return given

    def scale(self, plan: Credits) -> int:
        """Ledger units of one credit, as the packs were sold."""
        pack = self._shelf.price(self._shelf.names.pack(plan.packs[0].key))
        return int(pack.metadata.get("scale", 1))

    def granted(self, wallet: str) -> None:
        """Credits were added to a wallet."""
        if known := self._wallets.get(wallet):
            known.granted()

    @property
    def is_empty(self) -> bool:
        """True while this process holds nobody's credits; callable from any thread."""
        return all(wallet.is_empty for wallet in tuple(self._wallets.values()))

    async def give_back(self) -> None:
        """Give back everything, the largest first; returns when nothing is held."""
        await asyncio.gather(*(wallet.give_back() for wallet in largest_first(self._wallets.values())))

    def resume(self) -> None:
        """The process goes on after all: serve from the wallets again."""
        for wallet in self._wallets.values():
            wallet.resume()

    def remainder(self) -> list[tuple[str, int]]:
        """What is still held: wallet and units."""
        return [(wallet.id, wallet.exposure) for wallet in tuple(self._wallets.values()) if wallet.exposure]

    def _wallet(self, gateway: Gateway, id: str, plan: Credits) -> Wallet:
        wallet = self._wallets.get(id)
        if wallet is None:
            wallet = self._wallets[id] = Wallet(
                id,
                plan.currency,
                Policy(returns=plan.on_crash == "return"),
                gateway,
                new_id=lambda: f"{self._boot}-{next(self._count)}",
                in_loop=self._thread.in_loop,
                monotonic=self._monotonic,
                seconds=lambda: max(SLICE_SECONDS, len(self._wallets) // _A_WALLET),
            )
        if self._ticking is None or self._ticking.done():
            self._ticking = asyncio.create_task(self._tick(gateway, plan))
        return wallet

    async def _tick(self, gateway: Gateway, plan: Credits) -> None:
        while self._wallets or not self._rounds.is_empty:
            await asyncio.sleep(TICK)
            for wallet in tuple(self._wallets.values()):
                wallet.tick()
                if plan.on_crash == "return":
                    self._rounds.used(wallet.id, self._monotonic())
                if wallet.is_forgettable:
                    del self._wallets[wallet.id]
            if (due := self._rounds.next(self._monotonic())) is not None:
                self._looking = asyncio.create_task(self._look_through(gateway, due, plan.currency))

    async def _look_through(self, gateway: Gateway, id: str, currency: str) -> None:
        """Give back what processes that were killed held of a wallet, although nobody is short of it."""
        own = self._wallets[id].chains if id in self._wallets else []
        try:
            found = await survey(gateway.wallets, id, currency, Policy(), [chain.id for chain in own])
        except StripeMeterError as error:
            log.info("%s: what dead processes left could not be looked up: %s", id, error)
        else:
            if found.returned > 0:
                self.granted(id)


def _why(shortage: Shortage, most: int, scale: int) -> str:
    if shortage.owed:
        owed, missing = credits(shortage.owed, scale), credits(shortage.owed + most, scale, "missing")
        return f"This call needs {credits(most, scale)} and you owe {owed} of a payment that went back, so {missing}."
    needed = f"This call needs {credits(most, scale)} and {credits(shortage.left, scale, 'left')}."
    if not shortage.elsewhere:
        return needed
    return (
        f"{needed} Another {credits(shortage.elsewhere, scale, 'set aside')} for calls that are running; "
        "what they do not use comes back within minutes."
    )


def credits(units: int, scale: int, fate: str | None = None) -> str:
    """Ledger units as credits, for people; with a `fate`, that they are so: `1 credit is left`."""
    number = f"{Decimal(units) / scale:f}"
    noun, verb = ("credit", "is") if number == "1" else ("credits", "are")
    return f"{number} {noun}" if fate is None else f"{number} {noun} {verb} {fate}"
