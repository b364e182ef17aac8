"""Checkout sessions: the hosted page where a caller puts a card behind their calls.

Owns how a session is built so that every process comes to the same link, and what a finished one says. Metered prices
take no quantity, nothing is due at once, and the subscription is flexible, which prices usage at the price in force.
Stripe does not promise to copy metadata to what a session makes, so it is written there as well.

https://docs.stripe.com/api/checkout/sessions/create
"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Literal

from stripe_meter.domain.money import Money
from stripe_meter.domain.topups import STOP, TopUpTerms
from stripe_meter.errors import StripeRejected
from stripe_meter.gateway.connection import Connection, plain
from stripe_meter.gateway.limiter import Priority

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import stripe

#: Metadata key holding the hash of the claim: whoever can show the claim receives the API key.
METADATA_CLAIM: Final = "stripe_meter_claim"

#: Metadata key that says which of the seller's plans was bought.
METADATA_PLAN: Final = "stripe_meter_plan"

#: Metadata key of a payment for credits: how many ledger units were sold.
METADATA_UNITS: Final = "stripe_meter_units"

#: Metadata key of a payment or a setup whose payer agreed that the card is charged again without them: on what terms.
METADATA_CONSENT: Final = "stripe_meter_consent"

_SLOT: Final = 12 * 3600
_TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Order:
    """What a session sells.

    Attributes:
        plan: Name of the plan; the subscription, or the payment, carries it in its metadata.
        mode: Stripe's word.
        lines: Stripe price ids with their quantity; None for metered ones, which take none.
        currency: Lower-case ISO code; every price has it.
        trial_days: Days of trial, or None.
        units: Ledger units of the credits that are sold, or 0.
        consent: What the payer agrees to beside the button, so that the card may be charged without them; or None.
        metadata: The author's own, checked.
    """

    plan: str
    mode: Literal["subscription", "payment", "setup"]
    lines: tuple[tuple[str, int | None], ...]
    currency: str
    trial_days: int | None = None
    units: int = 0
    consent: TopUpTerms | None = None
    metadata: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Session:
    """A Checkout session.

    Attributes:
        id: `cs_…`.
        url: Where the payer goes; None once it is over.
        status: `open`, `complete` or `expired`.
        customer: Who it is for, or who it made; None while nobody has paid.
        created: Unix seconds.
        expires_at: Unix seconds.
        claim_hash: Hash of the claim for sessions that end in an API key, else None.
        payment: `pi_…` of a session that was paid at once, else None.
        setup: `seti_…` of a session that saved a card, else None.
        mode: `subscription`, `payment` or `setup`.
        reference: Who the payer said it is for (`client_reference_id` of a payment link); nothing vouches for it.
        is_of_link: It was opened by following a payment link.
        is_paid: False while a bank still has to say whether it pays.
        total: What was due at once; None where nothing was.
    """

    id: str
    url: str | None
    status: str
    customer: str | None
    created: int
    expires_at: int
    claim_hash: str | None = field(default=None, repr=False)
    payment: str | None = None
    setup: str | None = None
    mode: str = ""
    reference: str | None = None
    is_of_link: bool = False
    is_paid: bool = True
    total: Money | None = None

    def is_claimed_by(self, claim: str) -> bool:
        """Whether `claim` is the secret this session's payer was sent back with."""
        return self.claim_hash is not None and secrets.compare_digest(self.claim_hash, _hash(claim))


class Checkout:
    """Makes and reads Checkout sessions that subscribe to metered prices."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        self._connection = connection
        self._namespace = namespace

    async def for_customer(
        self, customer: str, order: Order, pages: str, over: Callable[[Session], Awaitable[None]] | None = None
    ) -> Session:
        """The open session of a known customer, the same in every process for about half a day.

        Args:
            customer: `cus_…`.
            order: What is bought; at most 20 lines.
            pages: Base URL of our success and cancel pages.
            over: Is shown each session of this order that is paid or expired already.
        """
        if order.trial_days is not None and await self._had_trial(customer):
            order = replace(order, trial_days=None)
        bucket = int(self._connection.clock.now()) // _SLOT
        params = {
            **self._params(order, pages, f"{pages}/success?session_id={{CHECKOUT_SESSION_ID}}"),
            "customer": customer,
            # The same in every process, and always between 12 and 24 hours ahead, which is what Stripe allows.
            "expires_at": (bucket + 2) * _SLOT - 60,
        }
        digest = _hash(json.dumps(params, sort_keys=True))[:16]
        for attempt in range(_TRIES):
            session, replayed = await self._create(params, f"checkout:{customer}:{digest}:{attempt}", Priority.PURCHASE)
            # A replay shows the session as it was born; only then is it worth a read whether it is still open.
            if not replayed or (session := await self.read(session.id)).status == "open":
                return session
            if over is not None:
                await over(session)
        # Somebody buys the same thing again and again; from here on each link is a new one.
        session, _ = await self._create(params, None, Priority.PURCHASE)
        return session

    async def _had_trial(self, customer: str) -> bool:
        """Whether one of the seller's subscriptions, live or over, began with a trial: there is one for everybody."""
        listed = await self._connection.read(
            lambda client: client.v1.subscriptions.list_async({"customer": customer, "status": "all", "limit": 100}),
            Priority.PURCHASE,
        )
        ours = [row for row in listed.data if plain(row.metadata).get("stripe_meter") == self._namespace]
        return any(row.trial_start is not None for row in ours)

    async def for_anybody(self, order: Order, pages: str) -> Session:
        """A session of its own for a caller nobody knows: it makes the customer, and ends in an API key."""
        claim = secrets.token_urlsafe(24)
        success = f"{pages}/success?session_id={{CHECKOUT_SESSION_ID}}&claim={claim}"
        params = self._params(order, pages, success)
        params["metadata"] = {**params["metadata"], METADATA_CLAIM: _hash(claim)}
        if order.mode == "payment":
            params["customer_creation"] = "always"
        session, _ = await self._create(params, None, Priority.STRANGER)
        return session

    async def read(self, session: str) -> Session:
        """The session as it is now. Raises `StripeRejected` when there is none of that id."""
        found = await self._connection.read(
            lambda client: client.v1.checkout.sessions.retrieve_async(session), Priority.PURCHASE
        )
        return _session(found)

    async def open_for(self, customer: str) -> list[Session]:
        """Sessions of ours that a customer could still pay, whichever process made them."""
        listed = await self._connection.read(
            lambda client: client.v1.checkout.sessions.list_async(
                {"customer": customer, "status": "open", "limit": 100}
            ),
            Priority.PURCHASE,
        )
        return [_session(row) for row in listed.data if plain(row.metadata).get("stripe_meter") == self._namespace]

    async def expire(self, session: str) -> bool:
        """Close an open session, so that nobody can pay for it any more; False when somebody has paid already."""
        try:
            await self._connection.write(
                lambda client, options: client.v1.checkout.sessions.expire_async(session, {}, options),
                priority=Priority.PURCHASE,
            )
        except StripeRejected:
            return (await self.read(session)).status != "complete"
        return True

    async def _create(self, params: dict[str, Any], key: str | None, priority: Priority) -> tuple[Session, bool]:
        made = await self._connection.write(
            lambda client, options: client.v1.checkout.sessions.create_async(
                params,
                options,
            ),
            key=key,
            priority=priority,
        )
        response = made.last_response
        return _session(made), response is not None and response.headers.get("Idempotent-Replayed") == "true"

    def _params(self, order: Order, pages: str, success_url: str) -> dict[str, Any]:
        marks = {**dict(order.metadata), "stripe_meter": self._namespace, METADATA_PLAN: order.plan}
        params: dict[str, Any] = {
            "mode": order.mode,
            "currency": order.currency,
            "success_url": success_url,
            "cancel_url": f"{pages}/cancel",
            "metadata": marks,
        }
        if order.consent is not None:
            marks[METADATA_CONSENT] = str(order.consent)
            params["custom_text"] = {"submit": {"message": order.consent.said(f"{pages}/{STOP}")}}
        if order.mode == "setup":
            params["setup_intent_data"] = {"metadata": marks}
            return params
        params["line_items"] = [
            {"price": price} if quantity is None else {"price": price, "quantity": quantity}
            for price, quantity in order.lines
        ]
        if order.mode == "payment":
            # A customer of their own, an invoice to show, and a payment that says what it was for.
            params["payment_intent_data"] = {"metadata": {**marks, METADATA_UNITS: str(order.units)}}
            params["invoice_creation"] = {"enabled": True}
            if order.metadata:
                params["invoice_creation"]["invoice_data"] = {"metadata": dict(order.metadata)}
            if order.consent is not None:
                params["payment_intent_data"]["setup_future_usage"] = "off_session"
            return params
        params["subscription_data"] = {"metadata": marks, "billing_mode": {"type": "flexible"}}
        if order.trial_days is not None:
            params["subscription_data"]["trial_period_days"] = order.trial_days
        return params


def _session(found: stripe.checkout.Session) -> Session:
    customer = found.customer
    return Session(
        found.id,
        found.url,
        str(found.status),
        customer if isinstance(customer, str) or customer is None else customer.id,
        found.created,
        found.expires_at,
        plain(found.metadata).get(METADATA_CLAIM),
        found.payment_intent if isinstance(found.payment_intent, str) else None,
        found.setup_intent if isinstance(found.setup_intent, str) else None,
        str(found.mode),
        found.client_reference_id,
        found.payment_link is not None,
        found.payment_status != "unpaid",
        Money(Decimal(found.amount_total), found.currency) if found.amount_total and found.currency else None,
    )


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
