"""The account snapshot: everything the gate wants to know of a customer, in one GET.

Owns reading `GET /v1/customers/{id}?expand[]=subscriptions` into an `Account`. Reads are rationed (10,000 a month for
the whole Stripe account), so nothing here asks twice.

Rationed reads: https://docs.stripe.com/rate-limits · Periods and prices sit on subscription items since 2025.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from stripe_meter.domain.account import METADATA_DISPUTE, Account, Item, ItemPrice, Subscription
from stripe_meter.domain.blueprint import Tier
from stripe_meter.domain.identity import METADATA_CAP, stored_keys, wallet_name
from stripe_meter.domain.migration import METADATA_SINCE
from stripe_meter.domain.units import METADATA_UNIT, Unit, unit_said
from stripe_meter.errors import StripeRejected
from stripe_meter.gateway.checkout import METADATA_PLAN
from stripe_meter.gateway.connection import Connection, plain
from stripe_meter.gateway.price_terms import PriceTerms
from stripe_meter.gateway.topups import agreed_card

if TYPE_CHECKING:
    import stripe

#: Statuses in which a subscription still stands between the customer and a second one.
_LIVE: Final = frozenset({"active", "trialing", "past_due", "incomplete", "unpaid", "paused"})
#: Statuses in which whoever buys once more has nothing to gain by it.
_SERVED: Final = frozenset({"active", "trialing"})
#: Seconds for which a second subscription counts as bought by mistake: it cannot have had a second invoice yet.
_JUST: Final = 23 * 3600

log = logging.getLogger("stripe_meter")


class Accounts:
    """Reads customers, and lets a subscription catch up with the catalogue."""

    def __init__(self, connection: Connection, namespace: str, terms: PriceTerms, *, pauses: bool = True) -> None:
        self._connection, self._terms, self._pauses = connection, terms, pauses
        self._namespace = namespace

    async def read(self, customer: str) -> Account:
        """The snapshot of `customer` (`cus_…`). A customer that does not exist counts as deleted."""
        try:
            found = await self._connection.read(
                lambda client: client.v1.customers.retrieve_async(customer, {"expand": ["subscriptions"]})
            )
        except StripeRejected as error:
            if error.code != "resource_missing":
                raise
            return Account(customer, deleted=True)
        return await self.snapshot(found)

    async def snapshot(self, customer: stripe.Customer) -> Account:
        """The snapshot in a customer object whose `subscriptions` are expanded."""
        if getattr(customer, "deleted", False):
            return Account(customer.id, deleted=True)
        is_disputed = any(name.startswith(METADATA_DISPUTE) for name in plain(customer.metadata))
        ours = [
            subscription
            for subscription in (customer.subscriptions.data if customer.subscriptions is not None else [])
            if subscription.status in _LIVE and plain(subscription.metadata).get("stripe_meter") == self._namespace
        ]
        # Two live ones would bill the same call twice; the oldest is the one everybody agrees on.
        ours.sort(key=lambda subscription: (subscription.created, subscription.id))
        oldest = ours[0] if ours else None
        return Account(
            customer.id,
            subscription=await self._subscription(oldest, customer) if oldest is not None else None,
            wallet=plain(customer.metadata).get(wallet_name(self._namespace)),
            cap=_whole(plain(customer.metadata).get(METADATA_CAP)),
            top_up=agreed_card(plain(customer.metadata)),
            keys=stored_keys(plain(customer.metadata)),
            second=self._second(customer.id, ours) if len(ours) > 1 else (),
            is_disputed=is_disputed,
            is_paused=is_disputed and self._pauses,
        )

    def _second(self, customer: str, ours: Sequence[stripe.Subscription]) -> tuple[str, ...]:
        """Those that a customer who is served already has just bought once more; older ones are for a person."""
        since = self._connection.clock.now() - _JUST
        new = tuple(row.id for row in ours[1:] if row.created > since) if ours[0].status in _SERVED else ()
        if len(new) < len(ours) - 1:
            log.error("%s has several live subscriptions of ours; only %s is used", customer, ours[0].id)
        return new

    async def _subscription(self, found: stripe.Subscription, customer: stripe.Customer) -> Subscription:
        items = list(found.items.data)
        if found.items.has_more:
            page = await self._connection.read(
                lambda client: client.v1.subscription_items.list_async({"subscription": found.id, "limit": 100})
            )
            items = list(page.data)
        settings = customer.invoice_settings
        plan = plain(found.metadata).get(METADATA_PLAN)
        threshold = None if found.billing_thresholds is None else found.billing_thresholds.amount_gte
        method = (
            found.default_payment_method
            or found.default_source
            or (settings.default_payment_method if settings is not None else None)
            or customer.default_source
        )
        return Subscription(
            found.id,
            sys.intern(found.status),
            items=tuple([item for row in items if (item := await self._item(row, found.currency)) is not None]),
            has_payment_method=method is not None,
            # Only who cannot be served is sent to an invoice, and only under a threshold are invoices counted by.
            latest_invoice=_id(found.latest_invoice) if found.status != "active" or threshold is not None else None,
            plan=None if plan is None else sys.intern(plan),
            since=max((item.current_period_start for item in items), default=0) if plan is not None else 0,
            threshold=threshold,
        )

    async def _item(self, item: stripe.SubscriptionItem, currency: str) -> Item | None:
        price = item.price
        if price.recurring is None or price.recurring.meter is None:
            return None
        # The price shows its own currency; tiers, and what it costs in another one, lie too deep to expand.
        if price.currency == currency and price.unit_amount_decimal is not None:
            tiers = _amount(str(price.unit_amount_decimal))
        else:
            tiers = await self._terms.tiers(price.id, currency)
        unit = _unit(plain(price.metadata).get(METADATA_UNIT), price.nickname)
        return Item(
            _shared(ItemPrice(price.id, price.recurring.meter, tiers, currency, unit)),
            item.current_period_end,
            max(item.current_period_start, _whole(plain(item.metadata).get(METADATA_SINCE)) or 0),
        )

    async def add_item(self, subscription: str, price: str) -> None:
        """Put a tool that is newer than the subscription onto it; until then Stripe would never bill it."""
        await self._connection.write(
            lambda client, options: client.v1.subscription_items.create_async(
                {"subscription": subscription, "price": price, "proration_behavior": "none"}, options
            ),
            key=f"item:{subscription}:{price}",
        )

    async def invoice_url(self, invoice: str) -> str | None:
        """Where a person can pay an invoice (`in_…`); None when it is not open (any more)."""
        found = await self._connection.read(lambda client: client.v1.invoices.retrieve_async(invoice))
        return found.hosted_invoice_url if found.status == "open" else None


def _whole(text: str | None) -> int | None:
    """A number in metadata that anybody may edit in the Dashboard; what is none counts for nothing spent."""
    return None if text is None else int(text) if text.isdecimal() else 0


@lru_cache(maxsize=1024)
def _amount(text: str) -> tuple[Tier, ...]:
    return (Tier(None, Decimal(text)),)


@lru_cache(maxsize=1024)
def _shared(price: ItemPrice) -> ItemPrice:
    """The one object for all equal ones: a hundred thousand snapshots have the same few prices."""
    return price


@lru_cache(maxsize=1024)
def _unit(said: str | None, nickname: str | None) -> Unit | None:
    return unit_said({} if said is None else {METADATA_UNIT: said}, nickname)


def _id(reference: object) -> str | None:
    return reference if isinstance(reference, str) or reference is None else str(getattr(reference, "id", ""))
