"""What callers and the seller do besides calling tools: come back from Checkout, change plans, take charges back.

Owns the way of each of these to Stripe and back: in the Stripe thread, with the catalogue known, under one deadline.
Decides nothing about calls; what a purchase changes there, the next call finds in the refreshed account.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from stripe_meter.domain.receipts import Sealer
from stripe_meter.enforcement.accounts import AccountCache
from stripe_meter.enforcement.decision import Decision
from stripe_meter.enforcement.flusher.thread import StripeThread
from stripe_meter.enforcement.purchases import Completion, Purchases
from stripe_meter.enforcement.shelf import Shelf

if TYPE_CHECKING:
    from stripe_meter.enforcement.changes import Proposal
    from stripe_meter.gateway.gateway import Gateway
    from stripe_meter.settings import Settings


class Sales:
    """The seller's counter; every method may be called from any thread's loop.

    Args:
        settings: Read when something is done, for a server can be imported without any.
    """

    def __init__(
        self,
        thread: StripeThread,
        shelf: Shelf,
        accounts: AccountCache,
        purchases: Purchases,
        decision: Decision,
        settings: Callable[[], Settings],
    ) -> None:
        self._thread, self._shelf, self._accounts = thread, shelf, accounts
        self._purchases, self._decision, self._settings = purchases, decision, settings

    async def complete(self, session: str, claim: str | None) -> Completion:
        """A payer came back from Checkout: notice the purchase, and make their key if they came without identity.

        Raises:
            StripeMeterError: It could not be looked up now; the page may be loaded again.
        """

        async def work(gateway: Gateway) -> Completion:
            done = await self._purchases.complete(gateway, session, claim)
            if done.customer is not None:
                account = await self._decision.once(gateway, await self._accounts.refresh(done.customer))
                if account.wallet is not None:
                    self._decision.prepaid.granted(account.wallet)
            return done

        return await self._thread.call(work, self._settings().timeout)

    async def change_plan(self, token: str, plan: str | None = None) -> Proposal | None:
        """What a signed link offers its subscriber; `plan` is ordered. None for a bad link. May raise."""

        async def work(gateway: Gateway) -> Proposal | None:
            await self._stock(gateway)
            return await self._decision.changes.propose(gateway, token, plan)

        return await self._thread.call(work, self._settings().timeout)

    async def refund(self, receipt: str) -> str:
        """Take one charge back; doing it again changes nothing.

        Args:
            receipt: The `id` of a receipt.

        Returns:
            What Stripe was told: `evt` for a negative meter event, or the id of a credit note or balance transaction.

        Raises:
            ConfigurationError: It is no receipt of this seller, or there is nothing left to undo.
            StripeMeterError: Stripe could not be asked; try again.
        """
        voucher = self.sealer.unseal(receipt)

        async def work(gateway: Gateway) -> str:
            await self._stock(gateway)
            if voucher.ledger == "credits":
                await self._decision.prepaid.take_back(gateway, voucher)
            return await gateway.corrections.take_back(voucher, self._shelf.prices_on(voucher.event_name))

        return await self._thread.call(work, 6 * self._settings().timeout)

    @cached_property
    def sealer(self) -> Sealer:
        """Makes the signed ids of receipts for charged calls, by which they can be refunded."""
        return Sealer(self._settings().key())

    async def _stock(self, gateway: Gateway) -> None:
        await self._shelf.stock(gateway, create=self._settings().mode != "live")
