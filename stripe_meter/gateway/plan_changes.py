"""A subscription that lives on: another plan at the end of its period, a threshold, a second one taken back.

Owns these writes. A change of plan is a subscription schedule: the running period as it is, then one period of the new
items, then the schedule lets go. Usage of the old items is billed with their period; nothing is prorated, because
nothing changes inside a period.

https://docs.stripe.com/billing/subscriptions/subscription-schedules
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from stripe_meter.errors import ConfigurationError, StripeRejected
from stripe_meter.gateway.checkout import METADATA_PLAN, Order
from stripe_meter.gateway.connection import Connection, plain
from stripe_meter.gateway.limiter import Priority

if TYPE_CHECKING:
    import stripe

    from stripe_meter.domain.terms import Interval

_MARK: Final = "stripe_meter"
#: Only in these can a plan be changed; a trial would end by it, and who owes pays first.
_CHANGEABLE: Final = frozenset({"active"})


@dataclass(frozen=True, slots=True)
class Standing:
    """A subscription as it is now, and what is to become of it.

    Attributes:
        id: `sub_…`.
        customer: `cus_…`.
        currency: Lower-case ISO code.
        plan: Name of the plan it is on, or None where it does not say.
        period_end: Unix seconds; first moment of the next period.
        ends: It was cancelled and ends then; a change of plan takes the cancellation back.
        next_plan: Name of the plan that it changes to at `period_end`, or None.
        schedule: `sub_sched_…` that stands on it, or None.
    """

    id: str
    customer: str
    currency: str
    plan: str | None
    period_end: int
    ends: bool = False
    next_plan: str | None = None
    schedule: str | None = None


class PlanChanges:
    """Alters subscriptions of ours."""

    def __init__(self, connection: Connection, namespace: str, stripe_key: str) -> None:
        self._connection = connection
        self._namespace = namespace
        #: Signs links to our confirm page; tells nothing of the Stripe key it comes from.
        self.signing_key = hashlib.sha256(b"stripe-meter plan changes\n" + stripe_key.encode()).digest()

    async def read(self, subscription: str) -> Standing | None:
        """How a subscription (`sub_…`) stands; None when it is not ours, or cannot be changed.

        Raises:
            StripeMeterError: Stripe could not be asked.
        """
        try:
            found = await self._connection.read(
                lambda client: client.v1.subscriptions.retrieve_async(subscription, {"expand": ["schedule"]}),
                Priority.PURCHASE,
            )
        except StripeRejected:
            return None
        if plain(found.metadata).get(_MARK) != self._namespace or found.status not in _CHANGEABLE:
            return None
        schedule: Any = found.schedule
        if schedule is not None and plain(schedule.metadata).get(_MARK) != self._namespace:
            # The seller has plans of their own for it.
            return None
        return Standing(
            found.id,
            str(found.customer),
            found.currency,
            plain(found.metadata).get(METADATA_PLAN),
            max(item.current_period_end for item in found["items"].data),
            found.cancel_at is not None,
            None if schedule is None else _next_plan(schedule),
            None if schedule is None else schedule.id,
        )

    async def at_period_end(self, standing: Standing, order: Order, interval: Interval) -> None:
        """Have the subscription become what `order` sells when its period ends; doing it again changes nothing.

        Raises:
            ConfigurationError: The subscription has a schedule that is not ours.
        """
        schedule = await self._schedule(standing)
        at = schedule.current_phase
        running = next((p for p in schedule.phases if at is not None and p.start_date == at.start_date), None)
        if running is None:
            raise ConfigurationError(f"{standing.id} ended while its plan was being changed; call the tool again")
        phases = [
            {
                "items": [_line(item.price, getattr(item, "quantity", None)) for item in running.items],
                "metadata": plain(running.metadata),
                "start_date": running.start_date,
                "end_date": running.end_date,
            },
            {
                "items": [_line(price, quantity) for price, quantity in order.lines],
                # Stripe copies it to the subscription when the phase begins.
                "metadata": {_MARK: self._namespace, METADATA_PLAN: order.plan},
                "duration": {"interval": interval, "interval_count": 1},
            },
        ]
        params: dict[str, Any] = {"phases": phases, "end_behavior": "release", "metadata": {_MARK: self._namespace}}
        await self._connection.write(
            lambda client, options: client.v1.subscription_schedules.update_async(schedule.id, params, options),
            priority=Priority.PURCHASE,
        )

    async def keep(self, standing: Standing) -> None:
        """Take a change of plan back that has not begun."""
        if standing.schedule is None:
            return
        schedule = standing.schedule
        await self._connection.write(
            lambda client, options: client.v1.subscription_schedules.release_async(schedule, {}, options),
            priority=Priority.PURCHASE,
        )

    async def _schedule(self, standing: Standing) -> stripe.SubscriptionSchedule:
        try:
            if standing.schedule is None:
                return await self._connection.write(
                    lambda client, options: client.v1.subscription_schedules.create_async(
                        {"from_subscription": standing.id, "metadata": {_MARK: self._namespace}}, options
                    ),
                    priority=Priority.PURCHASE,
                )
        except StripeRejected:
            # Confirmed twice at once: the other one has made it.
            again = await self.read(standing.id)
            if again is None or again.schedule is None:
                raise
            standing = again
        known = str(standing.schedule)
        return await self._connection.read(
            lambda client: client.v1.subscription_schedules.retrieve_async(known), Priority.PURCHASE
        )

    async def set_threshold(self, subscription: str, amount: int) -> None:
        """Have Stripe bill the subscription as soon as `amount` minor units are unbilled; Checkout cannot say that."""
        await self._connection.write(
            lambda client, options: client.v1.subscriptions.update_async(
                subscription, {"billing_thresholds": {"amount_gte": amount}}, options
            ),
            key=f"threshold:{subscription}:{amount}",
        )

    async def take_back(self, subscription: str) -> int:
        """Undo a second subscription: give back what was paid for it, then end it without billing its usage.

        The first one bills the same meters, so nothing is given away. Money first: once it has ended, nobody would
        look at it again.

        Returns:
            Minor units that were refunded.
        """
        listed = await self._connection.read(
            lambda client: client.v1.invoices.list_async({"subscription": subscription, "limit": 100}),
            Priority.PURCHASE,
        )
        refunded = 0
        for invoice in listed.data:
            refunded += await self._refund(invoice)
        try:
            await self._connection.write(
                lambda client, options: client.v1.subscriptions.cancel_async(
                    subscription, {"invoice_now": False, "prorate": False}, options
                ),
                priority=Priority.PURCHASE,
            )
        except StripeRejected as error:
            if error.code != "resource_missing":
                raise
        return refunded

    async def _refund(self, invoice: stripe.Invoice) -> int:
        number = str(invoice.id)
        if invoice.status == "open":
            await self._connection.write(
                lambda client, options: client.v1.invoices.void_invoice_async(number, {}, options),
                priority=Priority.PURCHASE,
            )
        left = int(invoice.amount_paid) - int(invoice.post_payment_credit_notes_amount)
        if invoice.status != "paid" or left <= 0:
            return 0
        await self._connection.write(
            lambda client, options: client.v1.credit_notes.create_async(
                {"invoice": number, "amount": left, "refund_amount": left, "reason": "duplicate"}, options
            ),
            key=f"second:{number}",
            priority=Priority.PURCHASE,
        )
        return left


def _line(price: object, quantity: int | None) -> dict[str, Any]:
    known = price if isinstance(price, str) else str(getattr(price, "id", ""))
    return {"price": known} if quantity is None else {"price": known, "quantity": quantity}


def _next_plan(schedule: stripe.SubscriptionSchedule) -> str | None:
    at = schedule.current_phase
    later = [phase for phase in schedule.phases if at is not None and phase.start_date > at.start_date]
    return plain(later[0].metadata).get(METADATA_PLAN) if later else None
