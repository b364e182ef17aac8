"""What is opened for whom: Checkout, the portal, the page that saves a card, a payment link, a charge on a saved card.

Owns the rules before a page of Stripe's is opened: one live subscription a customer, so whoever has one is led to the
page that changes it; and what is not on offer is said in words. Runs in the Stripe thread, with the catalogue known.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from stripe_meter.domain.metadata import checked
from stripe_meter.domain.plans import Credits, Free, PayAsYouGo
from stripe_meter.domain.topups import STOP
from stripe_meter.enforcement import audit
from stripe_meter.enforcement.credits.grants import grant_pack
from stripe_meter.enforcement.credits.refills import bill
from stripe_meter.enforcement.purchases import JustPaid
from stripe_meter.errors import ConfigurationError, NotForSale, StripeUnavailable

if TYPE_CHECKING:
    from stripe_meter.domain.account import Account
    from stripe_meter.domain.plans import CreditPack, Plan
    from stripe_meter.domain.topups import TopUpTerms
    from stripe_meter.enforcement.accounts import AccountCache
    from stripe_meter.enforcement.decision import Decision
    from stripe_meter.enforcement.purchases import Purchases
    from stripe_meter.enforcement.shelf import Shelf
    from stripe_meter.gateway.checkout import Order
    from stripe_meter.gateway.gateway import Gateway
    from stripe_meter.gateway.payments import Charge
    from stripe_meter.gateway.portal import Flow
    from stripe_meter.gateway.setup import SetupIntent

#: Under this name stands what saves a card, where other sessions name a plan.
SAVED_CARD: Final = "card"


@dataclass(frozen=True, slots=True)
class Bought:
    """What came of charging a saved card for a pack; one of the two is set, or neither while the bank decides.

    Attributes:
        payment: `pi_…` that was paid; its credits are there.
        url: Where the customer can pay for the same pack themselves: there was no card, it was declined, or its bank
            wants to see its owner (3-D Secure). Nothing was taken then.
    """

    payment: str | None = None
    url: str | None = None


class Selling:
    """The rules of the counter."""

    def __init__(self, shelf: Shelf, accounts: AccountCache, purchases: Purchases, decision: Decision) -> None:
        self._shelf, self._accounts, self._purchases = shelf, accounts, purchases
        self._changes, self._prepaid = decision.changes, decision.prepaid

    async def checkout(
        self,
        gateway: Gateway,
        customer: str | None,
        plan: str | None,
        pack: str | None,
        pages: str,
        metadata: Mapping[str, str],
        may_change: bool,
        client: str = "",
        *,
        may_agree: bool = True,
    ) -> str:
        """The page on which `customer` buys a plan or a pack, or changes the subscription they have, if they may.

        Args:
            may_agree: The link reaches the customer alone, so who pays by it may agree to automatic top-ups for them.
        """
        order = replace(self._order(plan, pack), metadata=checked(metadata))
        if customer is None:
            return await self._purchases.link_for_anybody(gateway, order, pages, client)
        if order.mode != "subscription":
            return await self._link(gateway, customer, order if may_agree else replace(order, consent=None), pages)
        account = await self._known(customer)
        if account.subscription is not None and not may_change:
            raise NotForSale(f"{customer} is subscribed already; a link to choose a plan changes nothing of that")
        instead = await self._instead(gateway, account, order.plan, pages)
        if instead is not None:
            return instead
        url = await self._link(gateway, customer, order, pages)
        await self._close_others(gateway, customer, url)
        return url

    async def portal(self, gateway: Gateway, customer: str, return_url: str, flow: Flow | None) -> str:
        """The portal for `customer`, or the one page of it that `flow` names."""
        subscription = None
        if flow == "subscription_cancel":
            account = await self._known(customer)
            if account.subscription is None:
                raise NotForSale(f"{customer} has no subscription here that could be cancelled")
            subscription = account.subscription.id
        return await gateway.portal.open(customer, return_url, flow, subscription)

    async def setup(self, gateway: Gateway, customer: str, pages: str) -> str:
        """The page on which `customer` saves a card, and agrees to automatic top-ups where there are any."""
        from stripe_meter.gateway.checkout import Order

        order = Order(SAVED_CARD, "setup", (), self._shelf.currency, consent=self.terms())
        session = await gateway.checkout.for_customer(customer, order, pages)
        return str(session.url)

    async def setup_intent(self, gateway: Gateway, customer: str, pages: str | None) -> SetupIntent:
        """What a page of the author's own needs to save a card; with `pages` it asks for consent to top-ups."""
        if pages is None:
            return await gateway.setups.begin(customer, consent=None)
        terms = self.terms()
        if terms is None:
            raise NotForSale("nothing is bought by itself here, so there is nothing to agree to; see Credits(top_up=…)")
        intent = await gateway.setups.begin(customer, consent=terms)
        return replace(intent, consent=terms.said(f"{pages}/{STOP}"))

    def terms(self) -> TopUpTerms | None:
        """What a customer agrees to who lets packs be bought again by themselves; None where none are."""
        credits = self._shelf.offering.credits
        return None if credits is None else self._shelf.consent(credits)

    async def payment_link(self, gateway: Gateway, pack: str, public: str | None, customer: str | None) -> str:
        """The lasting link of a pack; for `customer` where one is named."""
        from stripe_meter.gateway.links import SUCCESS, SoldPack

        plan, chosen = self._pack(pack)
        order = self._shelf.order_of(plan, chosen)
        sold = SoldPack(chosen.key, order.lines[0][0], order.units)
        url = (await gateway.links.of(sold, None if public is None else f"{public}/{SUCCESS}")).url
        return url if customer is None else f"{url}?client_reference_id={customer}"

    async def buy(self, gateway: Gateway, customer: str, pack: str, once: str, pages: str) -> Bought:
        """Charge the card of a customer who asked for a pack now; on the same occasion once."""
        from stripe_meter.gateway.payments import METADATA_INSTEAD, METADATA_PACK

        if not once.strip():
            raise ConfigurationError(f'once={once!r} names no occasion; write for example once="order 17"')
        plan, chosen = self._pack(pack)
        occasion = f"buy:{gateway.namespace}:{customer}:{_short(once)}"
        charge = await self._charge(gateway, customer, plan, chosen, occasion)
        if charge is not None and charge.pack != chosen.key:
            raise ConfigurationError(
                f"once={once!r} named another purchase before, {charge.payment}; give each a name of its own"
            )
        if charge is not None and charge.outcome == "paid":
            await grant_pack(gateway, charge.payment)
            if self._purchases.is_news(charge.payment):
                bought = {"customer": customer, "payment": charge.payment, "pack": chosen.key}
                audit.record("purchase", **bought, how="saved_card")
            return Bought(charge.payment)
        if charge is not None and charge.outcome == "processing":
            return Bought()
        marks = ((METADATA_INSTEAD, occasion), (METADATA_PACK, chosen.key))
        order = replace(self._shelf.order_of(plan, chosen), metadata=marks)
        return Bought(url=await self._link(gateway, customer, order, pages))

    async def _charge(
        self, gateway: Gateway, customer: str, plan: Credits, pack: CreditPack, occasion: str
    ) -> Charge | None:
        """By the saved card; None where there is none and nobody has paid on this occasion by the link in its place."""
        state = await gateway.top_ups.read(customer)
        card = state.default_card or state.card
        if card is None:
            return await gateway.payments.known(customer, occasion)
        what = bill(self._shelf, customer, card, plan, pack)
        return await gateway.payments.charge(what, occasion, present=True, since=0)

    async def _link(self, gateway: Gateway, customer: str, order: Order, pages: str) -> str:
        """Somebody wants to buy now, so what they paid a minute ago is no link any more."""
        await self._look(gateway, customer)
        try:
            return await self._purchases.link(gateway, customer, order, pages, is_wanted=True)
        except JustPaid:
            # They may not know that they have what they ask for; asking again buys it again.
            await self._look(gateway, customer)
            raise

    async def _look(self, gateway: Gateway, customer: str) -> None:
        wallet = await self._purchases.look(gateway, customer)
        if wallet is not None:
            self._prepaid.granted(wallet)
            await self._accounts.refresh(customer)

    def _order(self, plan: str | None, pack: str | None) -> Order:
        if pack is not None:
            credits, chosen = self._pack(pack)
            if plan not in (None, credits.name):
                raise NotForSale(f"plan {plan!r} has no credit packs; {credits.name!r} has")
            return self._shelf.order_of(credits, chosen)
        wanted = self._plan(plan)
        if isinstance(wanted, Free):
            raise NotForSale(f"plan {wanted.name!r} is free, so there is nothing to pay for")
        if isinstance(wanted, PayAsYouGo) and not self._shelf.listings():
            raise NotForSale(f"plan {wanted.name!r} sells no tool yet; decorate one with a price first")
        return self._shelf.order_of(wanted)

    def _plan(self, name: str | None) -> Plan:
        offering = self._shelf.offering
        if name is None:
            return next((plan for plan in offering.plans if not isinstance(plan, Free)), offering.plans[0])
        try:
            return offering.named(name)
        except ConfigurationError as error:
            raise NotForSale(str(error)) from None

    def _pack(self, name: str) -> tuple[Credits, CreditPack]:
        credits = self._shelf.offering.credits
        if credits is None:
            raise NotForSale("no credits are on offer; write Credits([…]) among the plans")
        try:
            return credits, credits.pack(name)
        except ConfigurationError as error:
            raise NotForSale(str(error)) from None

    async def _known(self, customer: str) -> Account:
        """As Stripe has it now: an older snapshot may not know of a subscription bought a minute ago."""
        account = await self._accounts.refresh(customer)
        if account.deleted:
            raise NotForSale(f"{customer} is no customer in this Stripe account")
        return account

    async def _instead(self, gateway: Gateway, account: Account, plan: str, pages: str) -> str | None:
        """Where somebody with a live subscription goes: a second one would bill the same calls twice."""
        live = account.subscription
        if live is None:
            return None
        if live.status == "active" and live.items:
            return self._changes.link(gateway, account, plan, pages)
        if live.status != "trialing" and live.latest_invoice is not None:
            url = await gateway.accounts.invoice_url(live.latest_invoice)
            if url is not None:
                return url
        raise NotForSale(f"{account.customer} has a subscription that is {live.status}; it has to end, or to be paid")

    async def _close_others(self, gateway: Gateway, customer: str, url: str) -> None:
        """Two open sessions in two tabs would make two subscriptions."""
        for session in await gateway.checkout.open_for(customer):
            is_other = session.url != url and session.mode == "subscription"
            if is_other and not await gateway.checkout.expire(session.id):
                raise StripeUnavailable("a payment has just come in", ambiguous=False, retry_after=2.0)


def _short(once: str) -> str:
    """Whatever an author calls an occasion fits into an idempotency key."""
    return hashlib.sha256(once.encode()).hexdigest()[:32]
