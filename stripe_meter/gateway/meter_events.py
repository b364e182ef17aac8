"""Meter events on the wire: two roads to Stripe, and which answers mean that Stripe has an event.

Owns the single road (v1, one event a request, validated at once) and the stream (v2, a hundred a request, live mode
only, validated later) with its session token. Repeating is the flusher's work; it keeps the identifier, and it never
moves an event that may have arrived from one road to the other, because Stripe does not promise to recognise it there.
A session that cannot be had says nothing about the events: nothing was sent.

https://docs.stripe.com/api/billing/meter-event/create · https://docs.stripe.com/api/v2/billing-meter-stream
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

from stripe_meter.domain.usage import MeterEvent
from stripe_meter.errors import (
    KeyRefused,
    PermissionMissing,
    StripeMeterError,
    StripeRejected,
    StripeUnavailable,
)
from stripe_meter.gateway.connection import Connection
from stripe_meter.gateway.limiter import Priority, RateLimiter

log = logging.getLogger("stripe_meter.flusher")

#: A session token lives 15 minutes; a new one is asked for this many seconds before.
_RENEW_BEFORE: Final = 60.0
_STREAM_REQUESTS: Final = 100.0


class StreamClosed(StripeMeterError):
    """This key gets no stream; these events were not sent now."""


class Road(Protocol):
    """A way to send sealed events."""

    #: Events that one request takes.
    batch: int

    async def turn(self, priority: Priority) -> None:
        """Wait until one more request may be sent; usage keeps merging meanwhile, so seal only afterwards."""

    def hurry(self) -> None:
        """The process is about to end: pause no longer than a moment, whatever Stripe asks for."""

    def resume(self) -> None:
        """It did not end."""

    async def send(self, events: Sequence[MeterEvent], attempt: int) -> None:
        """Deliver events after their `turn`. Returns when Stripe has accepted them.

        Args:
            events: Sealed; the same on every attempt, at most `batch`.
            attempt: Counts failures that Stripe stored under the idempotency key; 0 leaves the key as it is.

        Raises:
            StripeUnavailable: Send the same again later.
            StripeRejected: Stripe will never take them as they are.
            KeyRefused: Nothing was sent that Stripe could have taken; send the same when the key works again.
            StreamClosed: The same, and this road will not open again.
        """


class SingleRoad:
    """v1: one event, one verdict."""

    batch = 1

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def turn(self, priority: Priority) -> None:
        await self._connection.event_limiter.acquire(priority)

    def hurry(self) -> None:
        self._connection.event_limiter.hurry()

    def resume(self) -> None:
        self._connection.event_limiter.resume()

    async def send(self, events: Sequence[MeterEvent], attempt: int) -> None:
        (event,) = events
        # Stripe replays a stored failure under a used key; the identifier keeps the event from counting twice.
        key = f"{event.identifier}:{attempt}" if attempt else event.identifier
        try:
            await self._connection.send(
                lambda client: client.v1.billing.meter_events.create_async(
                    event.params(),  # type: ignore[arg-type]  # a TypedDict of the SDK's
                    {"idempotency_key": key},
                ),
                limiter=self._connection.event_limiter,
            )
        except StripeRejected as error:
            # Some accounts are told so of a repeated identifier, others get a silent 200. It is ours: it has arrived.
            if "already exists with identifier" not in str(error) or event.identifier not in str(error):
                raise


class StreamRoad:
    """v2 stream: a hundred events a request, under a token of its own."""

    batch = 100

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._limiter = RateLimiter(_STREAM_REQUESTS)
        self._token = ""
        self._renew_at = 0.0
        self._renewing = asyncio.Lock()
        #: Whether Stripe has refused it to this key; then it is not tried again for new events.
        self.is_closed = False

    async def turn(self, priority: Priority) -> None:
        await self._limiter.acquire(priority)

    def hurry(self) -> None:
        self._limiter.hurry()
        self._connection.limiter.hurry()

    def resume(self) -> None:
        self._limiter.resume()
        self._connection.limiter.resume()

    async def send(self, events: Sequence[MeterEvent], attempt: int) -> None:
        token = await self._session()
        try:
            await self._post(token, events, attempt)
        except PermissionMissing as error:
            raise self._close(error) from None
        except KeyRefused:
            # The session ended early; the secret key has just opened it.
            self._forget(token)
            try:
                await self._post(await self._session(), events, attempt)
            except KeyRefused as error:
                raise self._close(error) from None

    async def _post(self, token: str, events: Sequence[MeterEvent], attempt: int) -> None:
        body = [
            {**event.params(), "timestamp": datetime.fromtimestamp(event.timestamp, UTC).isoformat()}
            for event in events
        ]
        try:
            await self._connection.send(
                lambda client: client.v2.billing.meter_event_stream.create_async(
                    {"events": body},  # type: ignore[typeddict-item]  # the same fields
                    {"api_key": token, "idempotency_key": f"{events[0].identifier}:{len(events)}:{attempt}"},
                ),
                limiter=self._limiter,
            )
        except StripeUnavailable as error:
            if error.code == "temporary_session_expired":
                self._forget(token)
            raise

    def _forget(self, token: str) -> None:
        if token == self._token:
            self._renew_at = 0.0

    def _close(self, error: StripeMeterError) -> StreamClosed:
        if not self.is_closed:
            self.is_closed = True
            log.warning(
                "usage goes to Stripe one event a request, because the meter event stream is refused: %s", error
            )
        return StreamClosed(str(error))

    async def _session(self) -> str:
        """The token, which is renewed in time.

        Raises:
            StripeUnavailable: Ask again later; never ambiguous, for no event was sent.
            KeyRefused: Nobody gets anything with this key.
            StreamClosed: This key gets no session.
        """
        async with self._renewing:
            if self._connection.clock.now() < self._renew_at:
                return self._token
            try:
                session = await self._connection.write(
                    lambda client, options: client.v2.billing.meter_event_session.create_async({}, options),
                    priority=Priority.METER_EVENT,
                )
            except (PermissionMissing, StripeRejected) as error:
                raise self._close(error) from None
            except StripeUnavailable as error:
                raise StripeUnavailable(str(error), ambiguous=False, retry_after=error.retry_after) from None
            self._token = session.authentication_token
            expires = datetime.fromisoformat(session.expires_at.replace("Z", "+00:00"))
            self._renew_at = expires.timestamp() - _RENEW_BEFORE
            return self._token
