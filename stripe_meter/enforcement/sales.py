"""What callers and the seller do besides calling tools: buy, save a card, change plans, take charges back.

Owns the way of each of these to Stripe and back: in the Stripe thread, with the catalogue known, under one deadline.
Every method may be called twice: it does once what it does, and answers the same.
Decides nothing about calls; what a purchase changes there, the next call finds in the refreshed account.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

from stripe_meter.domain.identity import Caller, Principal
from stripe_meter.domain.receipts import Sealer
from stripe_meter.enforcement import claims
from stripe_meter.enforcement.accounts import PATIENCE, AccountCache
from stripe_meter.enforcement.callers import Callers
from stripe_meter.enforcement.cards import keep_card
from stripe_meter.enforcement.claims import Completion
from stripe_meter.enforcement.decision import Decision
from stripe_meter.enforcement.flusher.thread import StripeThread
from stripe_meter.enforcement.purchases import Purchases
from stripe_meter.enforcement.selling import Bought, Selling
from stripe_meter.enforcement.shelf import Shelf
from stripe_meter.enforcement.shopfront import Shopfront
from stripe_meter.enforcement.webhooks.inbox import Inbox
from stripe_meter.errors import StripeMeterError

if TYPE_CHECKING:
    from stripe_meter.domain.meter_errors import MeterError
    from stripe_meter.enforcement.changes import Proposal
    from stripe_meter.gateway.gateway import Gateway
    from stripe_meter.gateway.portal import Flow
    from stripe_meter.gateway.setup import SetupIntent
    from stripe_meter.settings import Settings

log = logging.getLogger("stripe_meter")

T = TypeVar("T")


class Sales:
    """The seller's counter; every method may be called from any thread's loop.

    Args:
        pages: Finds the base URL of our pages for a caller.
        settings: Read when something is done, for a server can be imported without any.
    """

    def __init__(
        self,
        thread: StripeThread,
        shelf: Shelf,
        accounts: AccountCache,
        purchases: Purchases,
        decision: Decision,
        callers: Callers,
        pages: Callable[[Caller], Awaitable[str]],
        settings: Callable[[], Settings],
    ) -> None:
        self._thread, self._shelf, self._accounts = thread, shelf, accounts
        self._purchases, self._decision, self._settings = purchases, decision, settings
        self._callers, self._pages = callers, pages
        self._selling = Selling(shelf, accounts, purchases, decision)
        #: What can be chosen from, and the signed links to our pages.
        self.front = decision.front = Shopfront(thread, shelf, accounts, decision.changes, purchases, settings)

        #: What Stripe tells of its own accord.
        self.webhooks = Inbox(thread, accounts, purchases, decision, settings)

    async def catch_up(self, gateway: Gateway) -> None:
        """Look, once in a process, for money that came while nobody was there to be told: one read."""
        if self.webhooks.is_open or self._shelf.offering.credits is not None:
            await self.webhooks.catch_up(gateway)

    def meter_errors(self) -> list[MeterError]:
        """The latest reports of usage that Stripe took and did not count; they come by webhook. Oldest first."""
        return list(self.webhooks.meter_errors)

    async def complete(self, session: str, claim: str | None, client: str | None = None) -> Completion:
        """A payer came back from Checkout: notice the purchase, and make their key if they came without identity.

        Args:
            client: The address that says so; what it guesses is counted. None for the author's own code.

        Raises:
            TooMany: This client, or all together, named too many sessions that nobody has paid.
            StripeMeterError: It could not be looked up now; the page may be loaded again.
        """

        async def work(gateway: Gateway) -> Completion:
            began = time.monotonic()
            done = await self._purchases.complete(gateway, session, claim, client, is_payer=True)
            if done.issued is None:
                await self._noticed(gateway, done)
                return done
            # The key is shown this once: whatever fails from here on must not take it away.
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._noticed(gateway, done)
            except (StripeMeterError, TimeoutError) as error:
                why = str(error) or "Stripe is slow"
                log.warning("%s has their key; what they bought is looked up at their call: %s", done.customer, why)
            await claims.mark(self._thread, gateway, done.issued, began, self._patience)
            return done

        return await self._sell(work, stock=False)

    async def _noticed(self, gateway: Gateway, done: Completion) -> None:
        """Calls of who paid, and of whom it was paid for, are decided by what they have now."""
        if done.customer is not None:
            account = await self._decision.once(gateway, await self._accounts.refresh(done.customer))
            if account.wallet is not None:
                self._decision.prepaid.granted(account.wallet)
        if done.beneficiary is not None and self._accounts.get(done.beneficiary) is not None:
            await self._refilled(done.beneficiary)

    async def checkout(
        self,
        customer: str | None,
        plan: str | None = None,
        *,
        pack: str | None = None,
        pages: str,
        metadata: Mapping[str, str] = MappingProxyType({}),
        may_change: bool = True,
        client: str = "",
        may_agree: bool = True,
    ) -> str:
        """Link to the page on which a plan or a pack is bought; whoever is subscribed changes what they have there.

        Args:
            customer: `cus_…`, or None for a stranger, who gets an API key after paying.
            plan: Name of a plan on offer; the first one unless given.
            pack: Name of a credit pack.
            pages: Base URL of our own pages.
            metadata: For session, subscription or payment, and invoice.
            may_change: Who asks is the customer; else they are led to a Checkout and to nothing they have already.
            client: The address of a stranger, each of which gets so many links; empty for the author's own code.
            may_agree: The link reaches the customer alone; else who pays by it agrees to nothing for them.

        Raises:
            NotForSale: It is not on offer, or not to this customer.
            ConfigurationError: The metadata is over Stripe's limits.
            StripeMeterError: Stripe could not be asked; try again.
        """
        return await self._sell(
            lambda gateway: self._selling.checkout(
                gateway, customer, plan, pack, pages, metadata, may_change, client, may_agree=may_agree
            )
        )

    async def portal(self, customer: str, *, return_url: str, flow: Flow | None = None) -> str:
        """Link to Stripe's portal: card, invoices, cancelling at the end of the period.

        Args:
            flow: `payment_method_update` or `subscription_cancel` leads to that page at once, and back.

        Raises:
            NotForSale: There is nothing to cancel.
        """
        return await self._sell(lambda gateway: self._selling.portal(gateway, customer, return_url, flow), stock=False)

    async def setup(self, customer: str, *, pages: str) -> str:
        """Link to the page on which `customer` saves a card, which is charged from then on."""
        return await self._sell(lambda gateway: self._selling.setup(gateway, customer, pages))

    async def setup_intent(self, customer: str, *, consent: bool = False) -> SetupIntent:
        """What a page of the author's own needs to save a card; told `complete_setup` when Stripe's scripts are done.

        Args:
            consent: The page asks the customer whether packs may be bought with it by themselves.
        """
        pages = await self.pages() if consent else None
        return await self._sell(lambda gateway: self._selling.setup_intent(gateway, customer, pages), stock=consent)

    async def complete_setup(self, intent: str) -> str | None:
        """A card was saved (`seti_…`): charge it from now on. Returns whose it is, or None."""

        async def work(gateway: Gateway) -> str | None:
            customer = await keep_card(gateway, intent)
            if customer is not None:
                await self._accounts.refresh(customer)
            return customer

        return await self._sell(work, stock=False)

    async def payment_link(self, pack: str, customer: str | None = None, *, stranger: str | None = None) -> str:
        """The lasting link that sells a pack, found again or made.

        Args:
            pack: Its name.
            customer: Whose credits they will be, `cus_…`, whoever pays; unless given, whoever pays.
            stranger: The address of somebody nobody knows, of whom only so many are served.

        Raises:
            NotForSale: No pack is called so.
            TooMany: Strangers asked for too many links.
        """
        settings = self._settings()
        public = None if settings.public_url is None else await self.pages()

        async def work(gateway: Gateway) -> str:
            if stranger is not None:
                self._purchases.count_stranger(stranger)
            return await self._selling.payment_link(gateway, pack, public, customer)

        return await self._sell(work)

    async def buy(self, customer: str, pack: str, *, once: str, pages: str) -> Bought:
        """Charge the saved card of a customer who asks for a pack now; where it cannot be, a link to pay by.

        Args:
            once: Names the occasion, such as an order number; the same occasion charges once.
        """

        async def work(gateway: Gateway) -> Bought:
            bought = await self._selling.buy(gateway, customer, pack, once, pages)
            if bought.payment is not None:
                await self._refilled(customer)
            return bought

        return await self._sell(work)

    async def stop_top_up(self, customer: str) -> None:
        """Buy nothing by itself any more, until the customer agrees anew."""

        async def work(gateway: Gateway) -> None:
            await gateway.top_ups.stop(customer)
            await self._accounts.refresh(customer)

        await self._sell(work, stock=False)

    async def consent(self, stop: str) -> str | None:
        """What a customer agrees to who saves a card, in words; None where nothing is bought by itself.

        Args:
            stop: Where they end it.
        """

        async def work(gateway: Gateway) -> str | None:
            terms = self._selling.terms()
            return None if terms is None else terms.said(stop)

        return await self._sell(work)

    async def customer_of(self, who: Principal) -> str:
        """The customer of a principal, made at first sight: `cus_…`."""

        async def work(gateway: Gateway) -> str:
            return (await gateway.customers.of_principal(who)).id

        return await self._sell(work, stock=False)

    async def identify(self, caller: Caller) -> str | None:
        """The customer of a caller, `cus_…`, after their key was verified; None when nobody stands behind it.

        Raises:
            TooMany: This client guesses keys.
            StripeUnavailable: Stripe cannot be asked.
        """

        async def work(gateway: Gateway) -> str | None:
            account = await self._callers.cold(caller, gateway)
            return None if account is None else account.customer

        return await self._sell(work, stock=False)

    async def pages(self, caller: Caller | None = None) -> str:
        """Base URL of our own pages, for links that the author's code or a caller asks for.

        Raises:
            ConfigurationError: The server does not know where browsers reach it.
        """
        # A page on loopback is good for whoever tries things out, not for customers.
        return await self._pages(caller or Caller(b"", is_local=self._settings().mode != "live"))

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
            if voucher.ledger == "credits":
                await self._stock(gateway)
            return await self._decision.refunds.take_back(gateway, voucher)

        return await self._thread.call(work, 6 * self._settings().timeout)

    @cached_property
    def sealer(self) -> Sealer:
        """Makes the signed ids of receipts for charged calls, by which they can be refunded."""
        return Sealer(self._settings().key())

    async def _sell(self, work: Callable[[Gateway], Awaitable[T]], *, stock: bool = True) -> T:
        """Do `work` in the Stripe thread; it takes several requests, and a bank may think about one of them."""

        async def stocked(gateway: Gateway) -> T:
            if stock:
                await self._stock(gateway)
            return await work(gateway)

        return await self._thread.call(stocked, self._patience)

    @property
    def _patience(self) -> float:
        return 6 * self._settings().timeout

    async def _refilled(self, customer: str) -> None:
        """Credits were bought for somebody: whoever waits for them is served."""
        account = await self._accounts.refresh(customer)
        if account.wallet is not None:
            self._decision.prepaid.granted(account.wallet)

    async def _stock(self, gateway: Gateway) -> None:
        await self._shelf.stock(gateway, create=self._settings().mode != "live")
