"""Webhook endpoints: where Stripe delivers events, and with which secrets it signs them.

Owns both kinds, for Stripe delivers what happens in billing whole, and reports about meter events without their content
through a destination of API v2. A secret is in the answer to the creation and nowhere else.

https://docs.stripe.com/api/webhook_endpoints · https://docs.stripe.com/api/v2/core/event-destinations
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import stripe

from stripe_meter.domain.evidence import Endpoint
from stripe_meter.gateway.connection import Connection
from stripe_meter.gateway.inventory import every
from stripe_meter.gateway.limiter import Priority

_PAGE = 100


@dataclass(frozen=True, slots=True)
class Made:
    """An endpoint that was just made; its secret is never seen again."""

    id: str
    secret: str = field(repr=False)


class Endpoints:
    """Lists, makes and changes endpoints of one account."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def whole(self) -> list[Endpoint]:
        """Those that receive whole events, newest first."""
        rows = await every(self._connection, lambda client, page: client.v1.webhook_endpoints.list_async(page))
        found = [
            Endpoint(row.id, row.url, row.api_version, row.status == "enabled", tuple(row.enabled_events), row.created)
            for row in rows
        ]
        return sorted(found, key=lambda one: one.created, reverse=True)

    async def thin(self) -> list[Endpoint]:
        """Those that receive events without their content, newest first; a page of them is more than anybody has."""
        params: Any = {"limit": _PAGE, "include": ["webhook_endpoint.url"]}
        listed = await self._connection.read(
            lambda client: client.v2.core.event_destinations.list_async(params), Priority.CATALOGUE
        )
        found = [
            Endpoint(
                row.id,
                str(where.url),
                None,
                row.status == "enabled",
                tuple(row.enabled_events),
                datetime.fromisoformat(row.created).timestamp(),
            )
            for row in listed.data
            if row.event_payload == "thin" and (where := getattr(row, "webhook_endpoint", None)) is not None
        ]
        return sorted(found, key=lambda one: one.created, reverse=True)

    async def make_whole(self, url: str, types: Sequence[str]) -> Made:
        """An endpoint for whole events, in the form that this version understands."""
        params: Any = {
            "url": url,
            "enabled_events": list(types),
            "api_version": str(stripe.api_version),
            "description": "stripe-meter",
        }
        made = await self._connection.write(
            lambda client, options: client.v1.webhook_endpoints.create_async(params, options)
        )
        return Made(made.id, str(made.secret))

    async def make_thin(self, url: str, types: Sequence[str]) -> Made:
        """A destination for events without their content."""
        params: Any = {
            "name": "stripe-meter",
            "type": "webhook_endpoint",
            "event_payload": "thin",
            "enabled_events": list(types),
            "webhook_endpoint": {"url": url},
            "include": ["webhook_endpoint.signing_secret"],
        }
        made = await self._connection.write(
            lambda client, options: client.v2.core.event_destinations.create_async(params, options)
        )
        assert made.webhook_endpoint is not None
        return Made(made.id, str(made.webhook_endpoint.signing_secret))

    async def complete(self, endpoint: Endpoint, types: Sequence[str]) -> None:
        """Let an endpoint hear these types beside what it hears, and switch it on."""
        events = list(dict.fromkeys((*endpoint.events, *types)))
        whole: Any = {"enabled_events": ["*"] if "*" in events else events, "disabled": False}
        thin: Any = {"enabled_events": events}
        if not _is_thin(endpoint):
            await self._connection.write(
                lambda client, options: client.v1.webhook_endpoints.update_async(endpoint.id, whole, options)
            )
            return
        await self._connection.write(
            lambda client, options: client.v2.core.event_destinations.update_async(endpoint.id, thin, options)
        )
        if not endpoint.enabled:
            await self._connection.write(
                lambda client, options: client.v2.core.event_destinations.enable_async(endpoint.id, {}, options)
            )

    async def delete(self, endpoint: Endpoint) -> None:
        """Nothing is delivered to it any more."""
        await self._connection.write(lambda client, options: _delete(client, endpoint.id, options))


async def _delete(client: stripe.StripeClient, id: str, options: Any) -> stripe.StripeObject:
    if id.startswith("we_"):
        return await client.v1.webhook_endpoints.delete_async(id, {}, options)
    return await client.v2.core.event_destinations.delete_async(id, {}, options)


def _is_thin(endpoint: Endpoint) -> bool:
    return not endpoint.id.startswith("we_")
