"""The connection to Stripe: one SDK client, its limits, its retries, its clock.

Owns the `StripeClient` (aiohttp, telemetry off, no retries of its own) and how often a request is repeated. Lives in
one event loop. Every failure leaves as one of our errors; no answer of the SDK's leaves as it came.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, Protocol, TypeVar
from uuid import uuid4

import aiohttp
import stripe
import tenacity

from stripe_meter.errors import StripeMeterError, StripeUnavailable
from stripe_meter.gateway.clock import StripeClock
from stripe_meter.gateway.faults import EXPECTED, translate
from stripe_meter.gateway.limiter import Priority, RateLimiter

log = logging.getLogger("stripe_meter.gateway")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Options = stripe.RequestOptions


class Write(Protocol[T_co]):
    """A POST that takes the request options to pass on."""

    def __call__(self, client: stripe.StripeClient, options: Options) -> Awaitable[T_co]: ...


#: Requests a second: a sandbox allows 25 for everything together; live mode 100, and 1,000 meter events beside them.
SANDBOX_RATE: Final = 25.0
LIVE_RATE: Final = 100.0
LIVE_EVENT_RATE: Final = 1000.0

_ATTEMPTS: Final = 3


class Connection:
    """Sends requests to one Stripe account, or to an emulator at `base_url`."""

    def __init__(
        self,
        key: str,
        *,
        base_url: str | None,
        timeout: float,
        limiter: RateLimiter,
        event_limiter: RateLimiter,
        clock: StripeClock,
    ) -> None:
        stripe.enable_telemetry = False
        _quieten(logging.getLogger("stripe"))
        self.clock = clock
        #: GETs sent; Stripe rations them by the month for the whole account.
        self.reads = 0
        self.limiter = limiter
        #: The same one as `limiter` where Stripe counts meter events with everything else.
        self.event_limiter = event_limiter
        self._http = stripe.AIOHTTPClient(timeout=aiohttp.ClientTimeout(total=timeout))
        addresses: Any = {"api": base_url, "meter_events": base_url} if base_url else {}
        self._client = stripe.StripeClient(key, http_client=self._http, base_addresses=addresses, max_network_retries=0)

    async def send(
        self, request: Callable[[stripe.StripeClient], Awaitable[T]], *, limiter: RateLimiter | None = None
    ) -> T:
        """One request, once, by a caller that waited its turn.

        Args:
            request: Takes the client.
            limiter: Which limiter learns from a 429; the general one unless given.

        Raises:
            StripeMeterError: Whatever went wrong, in our own terms.
        """
        try:
            answer = await request(self._client)
        except StripeMeterError:
            raise
        except Exception as error:  # of the SDK's own too, which an odd answer of a proxy trips up
            if not isinstance(error, EXPECTED):
                log.warning("the Stripe SDK failed on an answer: %s", type(error).__name__)
            self.clock.learn((getattr(error, "headers", None) or {}).get("Date"))
            ours = translate(error)
            if isinstance(ours, StripeUnavailable) and ours.code == "rate_limit":
                (limiter or self.limiter).slow_down(ours.retry_after or 1.0 / SANDBOX_RATE)
            raise ours from None
        response = getattr(answer, "last_response", None)
        if response is not None:
            self.clock.learn(response.headers.get("Date"))
        return answer

    async def read(
        self, request: Callable[[stripe.StripeClient], Awaitable[T]], priority: Priority = Priority.ACCOUNT
    ) -> T:
        """A GET, repeated a few times while Stripe is unavailable."""
        async for attempt in _attempts():
            with attempt:
                await self.limiter.acquire(priority)
                self.reads += 1
                return await self.send(request)
        raise AssertionError("tenacity either returns or raises")

    async def write(
        self,
        request: Write[T],
        *,
        key: str | None = None,
        priority: Priority = Priority.ACCOUNT,
    ) -> T:
        """A POST, repeated a few times while Stripe is unavailable, always under one idempotency key.

        Args:
            request: Takes the client and the request options to pass on.
            key: Idempotency key, where the write has an identity of its own; else a random one.

        A failure that Stripe stored would be replayed under its key for a day, so after one the key changes: what is
        written must then be unique by itself (an id we chose, a lookup key, an event identifier).
        """
        base, stored = key or uuid4().hex, 0
        async for attempt in _attempts():
            with attempt:
                options: Options = {"idempotency_key": f"{base}:r{stored}" if stored else base}
                await self.limiter.acquire(priority)
                try:
                    return await self.send(partial(request, options=options))
                except StripeUnavailable as error:
                    stored += error.stored
                    raise
        raise AssertionError("tenacity either returns or raises")

    async def close(self) -> None:
        await self._http.close_async()  # type: ignore[no-untyped-call]  # the SDK's, untyped


def plain(metadata: stripe.StripeObject | dict[str, str] | None) -> dict[str, str]:
    """Metadata as a dict; a deleted object has none."""
    return metadata.to_dict() if isinstance(metadata, stripe.StripeObject) else dict(metadata or {})


def _attempts() -> tenacity.AsyncRetrying:
    return tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(StripeUnavailable),
        stop=tenacity.stop_after_attempt(_ATTEMPTS),
        wait=tenacity.wait_random_exponential(multiplier=0.2, max=2.0),
        reraise=True,
    )


def _quieten(logger: logging.Logger) -> None:
    # The SDK logs two INFO lines a request, and MCP servers put a handler at INFO on the root logger.
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.WARNING)
