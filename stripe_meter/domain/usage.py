"""What was used: the call in progress, its receipt, and the meter event that tells Stripe.

Owns these values and the wire form of a meter event. Sending is the flusher's work.

A meter event on the wire (https://docs.stripe.com/api/billing/meter-event/create):
    event_name               `<namespace>.<tool>`, at most 100 characters
    payload                  flat, strings only: `stripe_customer_id`, and `value` as a whole number
    identifier               ours, fixed when the event is sealed, unique for at least 24 hours
    timestamp                whole seconds of Stripe's clock, never on a full minute (summaries split there)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from stripe_meter.domain.money import Money


@dataclass(frozen=True, slots=True)
class MeterEvent:
    """Usage of one customer on one meter, sealed: a retry sends exactly the same."""

    event_name: str
    customer: str
    value: int
    identifier: str
    timestamp: int

    def params(self) -> dict[str, Any]:
        return {
            "event_name": self.event_name,
            "payload": {"stripe_customer_id": self.customer, "value": str(self.value)},
            "identifier": self.identifier,
            "timestamp": self.timestamp,
        }


def event_timestamp(now: float) -> int:
    """Whole seconds of `now`, moved off second 0 of a minute, where a summary's border lies.

    Forward, not back: a period ends on such a border, and usage just after it belongs to the new one. Stripe takes
    timestamps up to five minutes ahead.
    """
    second = int(now)
    return second + 1 if second % 60 == 0 else second


@dataclass(slots=True)
class Call:
    """One metered call while it runs; `current_call()` returns it inside the tool.

    Attributes:
        tool: Billing identity of the tool.
        customer: Stripe customer who pays, `cus_…`, or None where nobody is billed (direct call, free tool).
        arguments: What the caller passed, by name.
        result: What the tool returned; None until it has.
    """

    tool: str
    customer: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    result: Any = None
    added: int | None = None
    cancelled: bool = False

    def add(self, units: int = 1) -> None:
        """Count `units` more (whole, at least 0) of what the price counts; they replace the default of one.

        Raises:
            ValueError: `units` is negative or not whole.
        """
        if isinstance(units, bool) or not isinstance(units, int) or units < 0:
            raise ValueError(f"add({units!r}): units are whole and at least 0")
        self.added = (self.added or 0) + units

    def cancel(self) -> None:
        """Make this call free."""
        self.cancelled = True


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one answered call will be billed.

    Attributes:
        tool: Billing identity of the tool.
        quantity: Units reported on the meter.
        amount: Their price before discounts and rounding of the invoice line; None for a free call.
        customer: Stripe customer who pays, or None.
    """

    tool: str
    quantity: int
    amount: Money | None
    customer: str | None

    def meta(self) -> dict[str, Any]:
        """The JSON form that travels in a result's `_meta`."""
        if self.amount is None:
            return {"tool": self.tool, "charged": False}
        return {
            "tool": self.tool,
            "charged": self.quantity > 0,
            "quantity": self.quantity,
            "amount": f"{self.amount.minor.normalize():f}",
            "currency": self.amount.currency,
            "text": str(self.amount),
            "customer": self.customer,
        }
