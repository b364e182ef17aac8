"""Stripe for PayMCP: answers what its Stripe provider asks, after a set time, and counts.

    python -m tests.benchmarks.peer_stub SECONDS

Every checkout session is paid and every customer subscribed, so that what is measured is the way there. GET /tally
tells the number of requests and connections; ends when its stdin does.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from tests.benchmarks import event_sink

_SUBSCRIPTION = {
    "id": "sub_1",
    "status": "active",
    "created": 1_700_000_000,
    "items": {"data": [{"price": {"id": "price_1", "unit_amount": 500, "currency": "usd"}}]},
}


class Stub(event_sink.Sink):
    """One connection of PayMCP's."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._tally.sessions += 1

    def _done(self, path: str, body: bytes) -> None:
        tally = self._tally
        tally.at_once -= 1
        tally.requests += 1
        self._answer(_answer_to(path.partition("?")[0], tally.requests))


def _answer_to(path: str, number: int) -> dict[str, Any]:
    if path == "/v1/checkout/sessions":
        return {"id": f"cs_{number}", "url": f"https://checkout.example/cs_{number}"}
    if path.startswith("/v1/checkout/sessions/"):
        return {"id": path.rpartition("/")[2], "payment_status": "paid"}
    if path == "/v1/customers/search":
        return {"data": [{"id": "cus_1", "metadata": {"userId": "user_1"}}]}
    if path == "/v1/subscriptions":
        return {"data": [_SUBSCRIPTION]}
    return {"data": []}


@contextlib.contextmanager
def running(delay: float) -> Iterator[str]:
    """The stub in a process of its own; yields its base URL."""
    with event_sink.running(delay, "tests.benchmarks.peer_stub") as url:
        yield url


if __name__ == "__main__":
    asyncio.run(event_sink.serve(float(sys.argv[1]), Stub))
