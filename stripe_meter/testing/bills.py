"""What a customer used and owes, as Stripe has it.

Owns the few fields of an invoice that tests compare, in exact units, and finding a tool's meter. A tool that was never
sold is an error, because "0" would hide a misspelt name.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from stripe_meter.domain.money import Money
from stripe_meter.testing import reading

_MINUTE: Final = 60
#: Usage may carry a time a little ahead.
_AHEAD: Final = 10 * _MINUTE
_MOST: Final = 100


@dataclass(frozen=True, slots=True)
class Invoice:
    """One invoice.

    Attributes:
        id: `in_…`, or Stripe's `upcoming_…` for one that is not made yet.
        status: `draft`, `open`, `paid`, `uncollectible` or `void`.
        total: Whole minor units (cents, yen, fils) of `currency`, each line rounded by Stripe.
        amount_due: Of these, what the card is charged: Stripe carries a total below its minimum charge (50 cents in
            dollars) forward.
        currency: Lower-case ISO code.
    """

    id: str
    status: str
    total: int
    amount_due: int
    currency: str

    @property
    def text(self) -> str:
        """The total for people: `$1.70`."""
        return str(Money(Decimal(self.total), self.currency))


def next_invoice(url: str, customer: str) -> Invoice:
    """What `customer` would be billed if their period ended now."""
    return _invoice(reading.post(url, "/v1/invoices/create_preview", customer=customer))


def invoices(url: str, customer: str) -> tuple[Invoice, ...]:
    """What Stripe has billed to `customer`, oldest first; the last hundred."""
    rows = reading.get(url, "/v1/invoices", customer=customer, limit=_MOST)["data"]
    return tuple(_invoice(row) for row in reversed(rows))


def usage(url: str, customer: str, event_name: str) -> int:
    """Units of `customer` on the meter of `event_name`, from the beginning.

    Raises:
        LookupError: Stripe has no such meter.
    """
    meters = {row["event_name"]: row["id"] for row in reading.get(url, "/v1/billing/meters", limit=_MOST)["data"]}
    if event_name not in meters:
        known = ", ".join(sorted(name.partition(".")[2] for name in meters)) or "nothing"
        raise LookupError(f"no tool {event_name.partition('.')[2]!r} was ever on sale; {known} was")
    created = reading.get(url, f"/v1/customers/{customer}")["created"]
    now = reading.get(url, "/_emulator/state")["now"]
    summaries = reading.get(
        url,
        f"/v1/billing/meters/{meters[event_name]}/event_summaries",
        customer=customer,
        start_time=_full_minute(created),
        end_time=_full_minute(now) + _AHEAD,
    )
    return sum(int(row["aggregated_value"]) for row in summaries["data"])


def _full_minute(moment: float) -> int:
    return int(moment) // _MINUTE * _MINUTE


def _invoice(row: Any) -> Invoice:
    return Invoice(row["id"], row["status"], row["total"], row["amount_due"], row["currency"])
