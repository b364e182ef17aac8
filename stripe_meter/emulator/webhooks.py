"""Delivery of webhooks: signed, retried a bounded number of times, in no promised order.

Owns: the POST to an endpoint and its retries. Does not own: which events exist. Sending happens in worker threads so
that a slow receiver never holds up the API; a receiver that fails is tried again after growing pauses of the
emulator's clock, then given up and shown as failed on the overview.
"""

import asyncio
import hashlib
import hmac
import http.client
import json
import random
import time
from typing import Final
from urllib.parse import urlsplit

from stripe_meter.emulator.account import Account
from stripe_meter.emulator.events import Delivery
from stripe_meter.emulator.thin_events import KIND, delivered

TIMEOUT_SECONDS: Final = 10.0
BACKOFF_SECONDS: Final = (5.0, 60.0, 600.0)
MAX_CONCURRENT: Final = 8


def signature(payload: str, secret: str, at: int) -> str:
    """The `Stripe-Signature` header of a payload (docs.stripe.com/webhooks#verify-manually)."""
    mark = hmac.new(secret.encode(), f"{at}.{payload}".encode(), hashlib.sha256).hexdigest()
    return f"t={at},v1={mark}"


class Courier:
    """Takes deliveries from the account's journal and sends them."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._dice: random.Random | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is under way; retries that are not due yet do not count."""
        journal = self._account.journal
        return not journal.waiting and journal.in_flight == 0

    def pump(self) -> None:
        """Start what waits, up to the limit; call on a running event loop."""
        journal = self._account.journal
        with self._account.lock:
            while journal.waiting and journal.in_flight < MAX_CONCURRENT:
                journal.in_flight += 1
                task = asyncio.get_running_loop().create_task(self._carry(self.next()))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Wait for what is under way on this loop."""
        await asyncio.gather(*self._tasks)

    async def _carry(self, delivery: Delivery) -> None:
        try:
            await asyncio.to_thread(self._send, delivery)
        finally:
            with self._account.lock:
                self._account.journal.in_flight -= 1
        self.pump()

    def _send(self, delivery: Delivery) -> None:
        account = self._account
        with account.lock:
            payload, secret = self._payload(delivery), account.webhook_secrets.get(delivery.endpoint)
        if payload is None or secret is None:
            return
        try:
            # Receivers compare the signature's time with their own clock, so it is real time, not the emulator's.
            delivery.status = _post(delivery.url, payload, signature(payload, secret, int(time.time())))
            delivery.error = None
        except (OSError, http.client.HTTPException) as error:
            delivery.error = type(error).__name__
        with account.lock:
            self._record(delivery)

    def _payload(self, delivery: Delivery) -> str | None:
        """The body to send: a snapshot event whole, a thin one without its data."""
        event = self._account.store.find("event", delivery.event)
        if event is not None:
            return json.dumps(event, indent=2)
        thin = self._account.store.find(KIND, delivery.event)
        return None if thin is None else json.dumps(delivered(thin))

    def next(self) -> Delivery:
        """The next delivery to start, in the order of the switch: webhooks come in no promised order."""
        waiting, switches = self._account.journal.waiting, self._account.switches
        if switches.webhook_order == "reversed":
            return waiting.pop()
        if switches.webhook_order == "shuffled":
            # Made at the first use, because the seed may be set after the start.
            self._dice = self._dice or random.Random(switches.webhook_seed)  # noqa: S311  # repeatable on purpose
            waiting.rotate(-self._dice.randrange(len(waiting)))
        return waiting.popleft()

    def _record(self, delivery: Delivery) -> None:
        account = self._account
        account.journal.log.append(delivery)
        if delivery.error is None and delivery.status is not None and delivery.status < 300:
            event = account.store.find("event", delivery.event)
            if event is not None:
                event["pending_webhooks"] = max(0, event["pending_webhooks"] - 1)
        elif delivery.attempt <= len(BACKOFF_SECONDS):
            again = Delivery(delivery.event, delivery.type, delivery.endpoint, delivery.url, delivery.attempt + 1)
            at = account.clock.now() + BACKOFF_SECONDS[delivery.attempt - 1]
            account.clock.schedule(at, lambda: account.journal.waiting.append(again))


def _post(url: str, payload: str, signature_header: str) -> int:
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    maker = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = maker(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "Stripe-Signature": signature_header,
        "User-Agent": "Stripe/1.0 (emulator)",
    }
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request("POST", target, payload.encode(), headers)
        return connection.getresponse().status
    finally:
        connection.close()
