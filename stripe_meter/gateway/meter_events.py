"""Meter events on the wire: one event, one request, one verdict.

Owns which answers mean that Stripe has the event. Repeating is the flusher's work, which keeps the identifier.

https://docs.stripe.com/api/billing/meter-event/create
"""

from __future__ import annotations

from stripe_meter.domain.usage import MeterEvent
from stripe_meter.errors import StripeRejected
from stripe_meter.gateway.connection import Connection
from stripe_meter.gateway.limiter import Priority


class MeterEvents:
    """Sends sealed meter events."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def turn(self) -> None:
        """Wait until one more event may be sent; usage keeps merging meanwhile, so seal only afterwards."""
        await self._connection.limiter.acquire(Priority.METER_EVENT)

    async def send(self, event: MeterEvent, attempt: int) -> None:
        """Deliver one event after its `turn`. Returns when Stripe has accepted it.

        Args:
            event: Sealed; the same on every attempt.
            attempt: Changes the idempotency key, 0 leaves it the identifier itself: Stripe replays a stored failure
                under a used key, while the identifier in the body keeps the event from counting twice.

        Raises:
            StripeUnavailable: Send the same again later.
            StripeRejected: Stripe will never take it.
        """
        key = f"{event.identifier}:{attempt}" if attempt else event.identifier
        try:
            await self._connection.send(
                lambda client: client.v1.billing.meter_events.create_async(
                    event.params(),  # type: ignore[arg-type]  # a TypedDict of the SDK's
                    {"idempotency_key": key},
                )
            )
        except StripeRejected as error:
            # Some accounts are told so of a repeated identifier, others get a silent 200. It is ours: it has arrived.
            if "already exists with identifier" not in str(error) or event.identifier not in str(error):
                raise
