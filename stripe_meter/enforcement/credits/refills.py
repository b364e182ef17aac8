"""Automatic top-ups: when a wallet is empty, the pack its owner agreed to is bought again with their saved card.

Owns that this happens once for each need, whoever notices it first. A process that finds a wallet empty reads how many
top-ups this month had and the wallet's balance; the next one's number names its payment (`autotopup:<wallet>:<month>:
<number>:<failures>`), so all processes that see the same need make the same payment, and a count that is behind leads
to a payment that is done already. Granted first, counted second: a crash between the two is found by that name.

Charged is what the owner agreed to and nothing else: that pack, no dearer, no more often, and never while they dispute
a payment. In any doubt the call is refused with a link, on which they pay themselves. One need is at most one payment,
so nothing is bought that would not be enough.

A card that wants its owner pauses top-ups until they agree anew; a declined one for a day. The number of
failures is in the name, because Stripe would answer the same refusal for a day. Runs in the Stripe thread, on the cold
path alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from stripe_meter.enforcement import audit, forks
from stripe_meter.enforcement.credits.grants import grant_pack

if TYPE_CHECKING:
    from stripe_meter.domain.account import Account
    from stripe_meter.domain.plans import CreditPack, Credits
    from stripe_meter.domain.topups import TopUpTerms
    from stripe_meter.enforcement.shelf import Shelf
    from stripe_meter.gateway.gateway import Gateway
    from stripe_meter.gateway.payments import Bill, Charge
    from stripe_meter.gateway.topups import TopUpState

log = logging.getLogger("stripe_meter.credits")

#: Seconds for which a declined card is not tried again.
DECLINED_FOR: Final = 24 * 3600
#: A wallet that could not be filled is looked at again after so many seconds.
AGAIN: Final = 60.0
#: Nothing is looked for that was tried longer ago.
_LONGEST_MONTH: Final = 32 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Refill:
    """What came of it: whether it is worth asking the wallet again, else why not, in a sentence for the customer."""

    is_worth_a_try: bool
    why: str = ""


_NOTHING: Final = Refill(False)


class Refills:
    """Buys packs for customers who agreed to it."""

    def __init__(self, shelf: Shelf, monotonic: Callable[[], float]) -> None:
        self._shelf, self._monotonic = shelf, monotonic
        self._running: dict[str, asyncio.Task[Refill]] = {}
        # By wallet and card: a new card is a new chance.
        self._failed: dict[tuple[str, str], tuple[float, Refill]] = {}
        forks.watch(self)

    def after_fork(self) -> None:
        """What is being bought is bought by the parent."""
        forks.keep(self._running)
        self._running = {}

    async def fill(self, gateway: Gateway, account: Account, plan: Credits, needed: int) -> Refill:
        """See to it that a wallet has credits again.

        Args:
            needed: Ledger units that were missing for one call.

        Raises:
            StripeMeterError: Stripe could not be asked; nothing is bought twice by asking again.
        """
        wallet, pack = account.wallet, plan.refill
        if wallet is None or pack is None or account.top_up is None:
            return _NOTHING
        until, last = self._failed.get((wallet, account.top_up), (0.0, _NOTHING))
        if self._monotonic() < until:
            return last
        task = self._running.get(wallet)
        if task is None:
            task = asyncio.create_task(self._fill(gateway, account.customer, wallet, plan, pack, needed))
            self._running[wallet] = task
            name = (wallet, account.top_up)
            task.add_done_callback(lambda done: self._ended(name, done))
        # Shielded: a caller that gives up must not stop a payment half-way.
        return await asyncio.shield(task)

    def _ended(self, name: tuple[str, str], task: asyncio.Task[Refill]) -> None:
        self._running.pop(name[0], None)
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            log.info("%s is not topped up yet: %s", name[0], error)
            return
        if task.result().is_worth_a_try:
            self._failed.pop(name, None)
        else:
            self._failed = {other: row for other, row in self._failed.items() if row[0] > self._monotonic()}
            self._failed[name] = (self._monotonic() + AGAIN, task.result())

    async def _fill(
        self, gateway: Gateway, customer: str, wallet: str, plan: Credits, pack: CreditPack, needed: int
    ) -> Refill:
        now = gateway.connection.clock.now()
        state = await agreement(gateway, customer)
        balance, _ = await gateway.wallets.look(wallet)
        if -balance >= needed:
            # Another process was first.
            return Refill(True)
        why = await hindrance(gateway, self._shelf, customer, state, plan, needed + balance)
        if why is not None or state.card is None:
            return Refill(False, why or "")
        occasion = f"autotopup:{wallet}:{state.month}:{state.bought + 1}:{state.failed}"
        what = bill(self._shelf, customer, state.card, plan, pack)
        charge = await gateway.payments.charge(what, occasion, present=False, since=int(now) - _LONGEST_MONTH)
        return await self._done(gateway, customer, state, charge, pack)

    async def _done(
        self, gateway: Gateway, customer: str, state: TopUpState, charge: Charge, pack: CreditPack
    ) -> Refill:
        if charge.outcome == "processing":
            return Refill(False, "An automatic top-up is waiting for the bank.")
        if charge.outcome == "paid":
            await grant_pack(gateway, charge.payment)
            await gateway.top_ups.note(customer, replace(state, bought=state.bought + 1, not_before=0))
            audit.record("purchase", customer=customer, payment=charge.payment, pack=pack.key, how="top_up")
            return Refill(True)
        from stripe_meter.gateway.topups import UNTIL_PAID

        is_paused = charge.outcome == "authentication_required"
        until = UNTIL_PAID if is_paused else int(gateway.connection.clock.now()) + DECLINED_FOR
        failed = replace(state, failed=state.failed + 1, not_before=until)
        await gateway.top_ups.note(customer, failed)
        log.warning("%s: automatic top-up with %s failed: %s", customer, charge.payment, charge.outcome)
        return Refill(False, _PAUSED if is_paused else _DECLINED)


async def agreement(gateway: Gateway, customer: str) -> TopUpState:
    """What a customer agreed to, and how it stands this month."""
    now = gateway.connection.clock.now()
    return (await gateway.top_ups.read(customer)).of(f"{datetime.fromtimestamp(now, UTC):%Y-%m}")


async def hindrance(
    gateway: Gateway, shelf: Shelf, customer: str, state: TopUpState, plan: Credits, missing: int
) -> str | None:
    """Why no pack is bought for somebody who lacks so many ledger units; None when one would be bought."""
    offered = shelf.consent(plan)
    if state.card is None or offered is None:
        return ""
    if (why := _hindrance(state, offered, gateway.connection.clock.now())) is not None:
        return why
    if shelf.order_of(plan, plan.refill).units < missing:
        return _TOO_LITTLE
    return _DISPUTED if await gateway.payments.is_disputed(customer, state.since) else None


def bill(shelf: Shelf, customer: str, card: str, plan: Credits, pack: CreditPack) -> Bill:
    """What a saved card is charged for a pack, at Stripe's price."""
    from stripe_meter.gateway.checkout import METADATA_PLAN, METADATA_UNITS
    from stripe_meter.gateway.payments import METADATA_PACK, Bill

    price = shelf.price(shelf.names.pack(pack.key))
    return Bill(
        customer,
        card,
        int(price.amounts[plan.currency][-1].unit_amount),
        plan.currency,
        f"{pack.name}: {pack.credits} credits",
        {METADATA_PLAN: plan.name, METADATA_PACK: pack.key, METADATA_UNITS: str(shelf.order_of(plan, pack).units)},
    )


_PAUSED: Final = "Your bank wants you to confirm the automatic top-up; it waits until you agree to it anew."
_DECLINED: Final = "The card for automatic top-ups was declined; it is tried again after a day."
_CHANGED: Final = "The automatic top-up on offer is not the one you agreed to, so it waits until you agree anew."
_TOO_LITTLE: Final = "One automatic top-up would not be enough for this call, so none was made."
_DISPUTED: Final = "A payment of yours is disputed, so nothing is bought automatically."


def _hindrance(state: TopUpState, offered: TopUpTerms, now: float) -> str | None:
    """Why nothing is bought now, or None."""
    if state.terms is None or not state.terms.cover(offered):
        return _CHANGED
    if state.waits_for_payment:
        return _PAUSED
    if now < state.not_before:
        return _DECLINED
    limit = min(state.terms.limit, offered.limit)
    if state.bought >= limit:
        return f"The automatic top-ups of this month ({limit}) are used."
    return None
