"""Checkout sessions that were completed: what somebody bought, whether or not anybody here was told.

Owns one list call and what it tells of each purchase: what it made, whether its credits are given or its money went
back, and whether who paid has a key to use them. Stripe lists sessions by customer, not by `client_reference_id`, so
whoever was named on a payment link is only found among the latest hundred of all customers.

https://docs.stripe.com/api/checkout/sessions/list
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stripe_meter.domain.identity import METADATA_KEY, wallet_name
from stripe_meter.gateway.checkout import METADATA_CLAIM
from stripe_meter.gateway.connection import Connection, plain
from stripe_meter.gateway.customers import StoredKey
from stripe_meter.gateway.limiter import Priority
from stripe_meter.gateway.links import METADATA_LINK
from stripe_meter.gateway.wallets import METADATA_GRANTED

if TYPE_CHECKING:
    import stripe


@dataclass(frozen=True, slots=True)
class Completed:
    """A completed session of ours.

    Attributes:
        id: `cs_…`.
        customer: Who paid, `cus_…`.
        reference: Whom the payer named on a payment link, or None.
        subscription: `sub_…` that it made, or None.
        unpacked: `pi_…` that was paid, whose credits are not given yet; None where there is nothing to give.
    """

    id: str
    customer: str | None
    reference: str | None
    subscription: str | None
    unpacked: str | None


async def completed(connection: Connection, namespace: str, customer: str | None) -> list[Completed]:
    """The latest hundred sessions of ours that were completed: by `customer`, or by anybody. One read."""
    params: dict[str, Any] = {"expand": ["data.payment_intent.latest_charge"]}
    if customer is not None:
        params["customer"] = customer
    return [
        Completed(
            row.id, _id(row.customer), row.client_reference_id, _id(row.subscription), _unpacked(row.payment_intent)
        )
        for row in await _ours(connection, namespace, params)
    ]


async def without_key(connection: Connection, namespace: str) -> tuple[str, ...]:
    """Who, among the latest hundred sessions, bought as a stranger and was shown no API key. One read."""
    found: dict[str, None] = {}
    for row in await _ours(connection, namespace, {"expand": ["data.customer"]}):
        if row.payment_status == "unpaid" or row.customer is None or getattr(row.customer, "deleted", False):
            continue
        marks = plain(row.customer.metadata)
        if _is_of_stranger(row, marks, namespace) and not _has_seen_a_key(marks):
            found[row.customer.id] = None
    return tuple(found)


def _is_of_stranger(row: Any, marks: dict[str, str], namespace: str) -> bool:
    """Whether who paid needs a key for what they bought; `marks` are the metadata of the customer they became."""
    if METADATA_CLAIM in plain(row.metadata):
        return True
    # Credits of the payer's own made them a wallet, whatever name stood behind the link.
    is_own = wallet_name(namespace) in marks or not (row.client_reference_id or "").startswith("cus_")
    return METADATA_LINK in plain(row.metadata) and is_own


def _has_seen_a_key(marks: dict[str, str]) -> bool:
    return any(name.startswith(METADATA_KEY) and not StoredKey.read(value).is_unseen for name, value in marks.items())


async def _ours(connection: Connection, namespace: str, params: dict[str, Any]) -> list[Any]:
    def request(client: stripe.StripeClient) -> Any:
        wanted = {"status": "complete", "limit": 100, **params}
        return client.v1.checkout.sessions.list_async(wanted)  # type: ignore[arg-type]  # a TypedDict of the SDK

    listed = await connection.read(request, Priority.PURCHASE)
    return [row for row in listed.data if plain(row.metadata).get("stripe_meter") == namespace]


def _unpacked(intent: Any) -> str | None:
    if intent is None or intent.status != "succeeded" or METADATA_GRANTED in plain(intent.metadata):
        return None
    charge = intent.latest_charge
    # What the seller gave back by hand is not given out again.
    is_back = charge is not None and (charge.amount_refunded > 0 or charge.disputed)
    return None if is_back else str(intent.id)


def _id(found: Any) -> str | None:
    return found if isinstance(found, str) or found is None else str(found.id)
