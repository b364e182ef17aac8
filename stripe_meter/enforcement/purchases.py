"""Purchases under way: the Checkout link a refused caller gets, and noticing that it was paid without any webhook.

Owns which links are out and when to look again. Lives in the Stripe thread's loop. A known customer's link is the same
in every process; a caller nobody knows gets one of their own, which ends in an API key shown once. Links for strangers
have a budget, for anybody can ask for them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from stripe_meter.domain.identity import Caller
from stripe_meter.enforcement import audit, claims
from stripe_meter.enforcement.cards import keep_card
from stripe_meter.enforcement.claims import Completion
from stripe_meter.enforcement.credits.grants import grant_pack
from stripe_meter.enforcement.guesses import Guesses
from stripe_meter.enforcement.identity.reading import network_of
from stripe_meter.errors import StripeRejected, StripeUnavailable, TooMany

if TYPE_CHECKING:
    from stripe_meter.gateway.checkout import Order, Session
    from stripe_meter.gateway.gateway import Gateway

#: Seconds after the link was handed out at which a caller who calls again makes us look whether it was paid.
LOOK_AFTER: Final = (
    *(0.0, 2.0, 5.0, 10.0, 20.0, 40.0),
    *(60.0 * minutes for minutes in (2, 3, 4, 5, 7, 10, 15, 20, 30, 45)),
    *(3600.0 * hours for hours in (1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 8, 10, 14, 18, 24)),
)
#: New links for strangers that one process makes in a minute.
STRANGERS_A_MINUTE: Final = 60
#: What one address may take of these.
SHARE_A_MINUTE: Final = 20

_MOST: Final = 10_000
#: A stranger's link is handed out again to the same client for this long.
_REUSE: Final = 600.0
#: Under this name stands the purchase of a process that serves one caller.
_LOCAL: Final = "local"


class JustPaid(StripeUnavailable):
    """No other link is given out: the last one has been paid, and the next call notices."""

    def __init__(self) -> None:
        super().__init__("a payment has just come in", ambiguous=False, retry_after=2.0)


@dataclass(slots=True)
class Purchase:
    """One link that is out."""

    session: Session
    order: Order
    since: float
    looks: int = 0

    def is_due(self, now: float) -> bool:
        """Whether it is time to look whether it was paid."""
        return self.looks < len(LOOK_AFTER) and now - self.since >= LOOK_AFTER[self.looks]


class Purchases:
    """Links that are out, by who got them."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._open: dict[str, Purchase] = {}
        # Sessions that were found paid; each is looked into once.
        self._paid: dict[str, None] = {}
        self._made: deque[tuple[float, str]] = deque(maxlen=STRANGERS_A_MINUTE)
        # Sessions that this process made.
        self._ours: dict[str, None] = {}
        self._guesses = Guesses(monotonic)

    async def link(self, gateway: Gateway, customer: str, order: Order, pages: str, *, is_wanted: bool = False) -> str:
        """The Checkout link of a known customer; the one they had for something else is closed.

        Args:
            customer: `cus_…`.
            order: What is sold.
            pages: Base URL of our own pages.
            is_wanted: They ask for this very thing, so that one they were given before stands in nobody's way.

        Raises:
            JustPaid: They have just paid by that one; ask again.
        """
        known = self._open.get(customer)
        now = gateway.connection.clock.now()
        if known is not None and known.order != order and known.session.expires_at > now:
            # Two open links would make two subscriptions, and both would bill the same call.
            await self._close(gateway, known)
            self._open.pop(customer, None)
        if known is None or known.order != order or known.session.expires_at <= now:

            async def over(session: Session) -> None:
                if is_wanted and await _has_nothing_to_give(gateway, session):
                    return
                self._was_paid(customer, session, order)

            session = await gateway.checkout.for_customer(customer, order, pages, over)
            known = self._remember(customer, session, order)
        return str(known.session.url)

    async def link_for_stranger(self, gateway: Gateway, caller: Caller, order: Order, pages: str) -> str:
        """A Checkout link for a caller nobody knows, the same for a while for one client.

        Raises:
            TooMany: Strangers asked for too many links.
            JustPaid: A local caller has just paid by the link they had; ask again.
        """
        if caller.is_local:
            return await self._link_for_local(gateway, order, pages)
        name = _name(caller)
        known = self._open.get(name)
        if known is not None and known.is_due(self._monotonic()):
            known.looks += 1
            session = await gateway.checkout.read(known.session.id)
            known = known if session.status == "open" else None
        if known is None or known.order != order or self._monotonic() - known.since > _REUSE:
            self.count_stranger(caller.client)
            session = await gateway.checkout.for_anybody(order, pages)
            known = self._remember(name, session, order)
        return str(known.session.url)

    async def _link_for_local(self, gateway: Gateway, order: Order, pages: str) -> str:
        """The one link of a process that serves one caller, who is recognised by paying it: two would be paid twice."""
        known = self._open.get(_LOCAL)
        if known is None or known.order != order or known.session.expires_at <= gateway.connection.clock.now():
            self.count_stranger()
            session = await gateway.checkout.for_anybody(order, pages)
            # Whatever stands here by now, it may have come while this one was made.
            while (known := self._open.get(_LOCAL)) is not None:
                try:
                    await self._close(gateway, known)
                except JustPaid:
                    await gateway.checkout.expire(session.id)
                    raise
                if self._open.get(_LOCAL) is known:
                    del self._open[_LOCAL]
            known = self._remember(_LOCAL, session, order)
        return str(known.session.url)

    async def _close(self, gateway: Gateway, known: Purchase) -> None:
        if not await gateway.checkout.expire(known.session.id):
            known.looks = 0
            raise JustPaid

    async def look(self, gateway: Gateway, customer: str) -> str | None:
        """See whether a customer's link is still open, and forget it if not.

        Returns:
            The wallet, where a pack was paid: its credits are there from now on.
        """
        known = self._open.get(customer)
        if known is None:
            return None
        session = await gateway.checkout.read(known.session.id)
        if session.status == "open":
            return None
        wallet = None if session.payment is None else await grant_pack(gateway, session.payment)
        self._seen(session)
        self._open.pop(customer, None)
        return wallet

    async def link_for_anybody(self, gateway: Gateway, order: Order, pages: str, client: str = "") -> str:
        """A Checkout link that nobody waits for; who pays becomes a customer and gets a key.

        Args:
            client: The address that asks; empty for the author's own code.

        Raises:
            TooMany: Strangers asked for too many links.
        """
        self.count_stranger(client)
        session = await gateway.checkout.for_anybody(order, pages)
        self._is_ours(session)
        return str(session.url)

    def is_due(self, customer: str, *, only_packs: bool) -> bool:
        """Whether it is time to look if a customer has paid; counts as a look.

        Args:
            customer: `cus_…`.
            only_packs: Whoever is subscribed already has nothing else to wait for.
        """
        known = self._open.get(customer)
        if known is None or not known.is_due(self._monotonic()) or (only_packs and known.order.mode != "payment"):
            return False
        known.looks += 1
        return True

    async def granted(self, gateway: Gateway, customer: str) -> str | None:
        """The wallet of a customer who has paid for the pack of their link; its credits are there from now on."""
        known = self._open.get(customer)
        if known is None or known.order.mode != "payment":
            return None
        session = await gateway.checkout.read(known.session.id)
        wallet = None if session.payment is None else await grant_pack(gateway, session.payment)
        if wallet is not None or session.status == "expired":
            self._seen(session)
            self._open.pop(customer, None)
        return wallet

    async def adopted(self, gateway: Gateway, caller: Caller) -> str | None:
        """The customer a local caller became by paying, or None. Only for a process that serves one caller."""
        known = self._open.get(_LOCAL)
        if not caller.is_local or known is None or not known.is_due(self._monotonic()):
            return None
        known.looks += 1
        session = await gateway.checkout.read(known.session.id)
        if session.status != "complete":
            return None
        if session.payment is not None:
            await grant_pack(gateway, session.payment)
        self._open.pop(_LOCAL, None)
        return session.customer

    async def withdraw(self, gateway: Gateway, customer: str) -> None:
        """Close what this customer could still pay: what they bought would be nobody's."""
        self._open.pop(customer, None)
        for session in await gateway.checkout.open_for(customer):
            await gateway.checkout.expire(session.id)

    def subscribed(self, customer: str) -> None:
        """This customer has a subscription; another one would need another link."""
        known = self._open.get(customer)
        if known is not None and known.order.mode == "subscription":
            del self._open[customer]

    async def complete(
        self,
        gateway: Gateway,
        session_id: str,
        claim: str | None,
        client: str | None = None,
        *,
        is_payer: bool = False,
    ) -> Completion:
        """The payer is back: find out who they are, and make their API key if they came without identity.

        Args:
            client: The address that says so, which may be guessing; None for the author's own code.
            is_payer: They look at our page, which may show them a key.

        Raises:
            TooMany: Stripe was asked too often about sessions that nobody has paid.
        """
        if self._guesses.is_nobodys(session_id):
            return Completion(None)
        if client is None:
            return await self._complete(gateway, session_id, claim, is_payer)
        take_back = self._guesses.count(client, is_ours=session_id in self._ours)
        try:
            done = await self._complete(gateway, session_id, claim, is_payer)
        except StripeUnavailable:
            take_back()
            raise
        if done.customer is not None:
            take_back()
        return done

    async def _complete(self, gateway: Gateway, session_id: str, claim: str | None, is_payer: bool) -> Completion:
        try:
            session = await gateway.checkout.read(session_id)
        except StripeRejected as error:
            if error.code == "resource_missing":
                self._guesses.nobodys(session_id)
            return Completion(None)
        wallet = None if session.payment is None else await grant_pack(gateway, session.payment)
        if session.setup is not None:
            await keep_card(gateway, session.setup)
        if session.status != "complete" or session.customer is None:
            return Completion(None)
        self._seen(session)
        self._forget(session)
        return await claims.answer(gateway, session, claim, wallet=wallet, is_payer=is_payer)

    def _was_paid(self, customer: str, session: Session, order: Order) -> None:
        """A link of another process, or of this one before it was restarted, that was paid: look at the next call."""
        if session.status != "complete" or session.id in self._paid:
            return
        self._seen(session)
        self._remember(customer, session, order)
        raise JustPaid

    def _seen(self, session: Session) -> None:
        if self.is_news(session.id) and session.status == "complete":
            # Of a payment link the id shows a key, so no log tells it.
            known = None if session.is_of_link else session.id
            bought = {"customer": session.customer, "payment": session.payment, "session": known}
            audit.record("purchase", **bought, mode=session.mode, how="checkout")

    def is_news(self, paid: str) -> bool:
        """Whether this session or payment is met for the first time here; several roads lead to each."""
        is_new = paid not in self._paid
        while len(self._paid) >= _MOST:
            self._paid.pop(next(iter(self._paid)))
        self._paid[paid] = None
        return is_new

    def count_stranger(self, client: str = "") -> None:
        """Somebody nobody knows asks for what costs requests at Stripe. Raises `TooMany` past their budget."""
        now, network = self._monotonic(), network_of(client)
        lately = [asked for moment, asked in self._made if now - moment < 60.0]
        if len(lately) >= STRANGERS_A_MINUTE:
            raise TooMany("Too many people are asking for a payment link at once.", retry_after=10.0)
        if client and lately.count(network) >= SHARE_A_MINUTE:
            raise TooMany("Too many payment links were asked for from your address.", retry_after=10.0)
        self._made.append((now, network))

    def _remember(self, name: str, session: Session, order: Order) -> Purchase:
        while len(self._open) >= _MOST:
            self._open.pop(next(iter(self._open)))
        purchase = self._open[name] = Purchase(session, order, self._monotonic())
        self._is_ours(session)
        return purchase

    def _is_ours(self, session: Session) -> None:
        while len(self._ours) >= _MOST:
            self._ours.pop(next(iter(self._ours)))
        self._ours[session.id] = None

    def _forget(self, session: Session) -> None:
        for name in [name for name, purchase in self._open.items() if purchase.session.id == session.id]:
            # A local caller still has to be recognised by this session, at their next call.
            if name != _LOCAL:
                del self._open[name]


def _name(caller: Caller) -> str:
    return f"client:{caller.client}"


async def _has_nothing_to_give(gateway: Gateway, session: Session) -> bool:
    """Whether a session that is over left no credits that were paid and not given."""
    if session.status != "complete" or session.payment is None:
        return True
    payment = await gateway.wallets.payment(session.payment)
    return not payment.is_paid or payment.granted is not None
