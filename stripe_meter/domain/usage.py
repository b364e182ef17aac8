"""What was used: the call in progress, its receipt, and the meter event that tells Stripe.

Owns these values and the wire form of a meter event. Sending is the flusher's work.

A meter event on the wire (https://docs.stripe.com/api/billing/meter-event/create):
    event_name               `<namespace>.<tool>`, at most 100 characters
    payload                  flat, strings only: `stripe_customer_id`, and `value` as a whole number
    identifier               ours, fixed when the event is sealed, unique for at least 24 hours
    timestamp                whole seconds of Stripe's clock, never on a full minute (summaries split there)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, Literal, Protocol

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


#: Seconds by which an event is dated later than our clock says, so that it is not dated earlier than Stripe's does.
AHEAD_OF_CLOCK: Final = 2


def event_timestamp(now: float, period_end: int = 0) -> int:
    """A whole second just after `now`, within the period, and off second 0 of a minute, where a summary's border lies.

    Just after, because the clock is known to a second, and usage dated before its subscription item began is never
    billed. Off the border it goes forward, because a period ends on such a border and usage just after it belongs to
    the new one (Stripe takes timestamps up to five minutes ahead); usage of a period that has ended goes to its last
    good second.

    Args:
        now: Stripe's clock, Unix seconds.
        period_end: First second that does not belong to the usage's billing period any more, or 0.
    """
    second = int(now) + AHEAD_OF_CLOCK
    if second % 60 == 0:
        second += 1
    if period_end and second >= period_end:
        second = period_end - 1
        if second % 60 == 0:
            second -= 1
    return second


class Call:
    """One metered call while it runs; `current_call()` returns it inside the tool.

    Attributes:
        tool: Billing identity of the tool.
        customer: Stripe customer who pays, `cus_…`, or None where nobody is billed (direct call, free tool).
        arguments: What the caller passed, by name.
        result: What the tool returned; None until it has.
        added: What `add` counted, or None.
        cancelled: Whether the tool made it free.
        origin: The framework's `Context` that it came with, or None.
        ended: True once it was answered: what goes on in a copy of its context is no part of it.
    """

    __slots__ = ("added", "arguments", "cancelled", "customer", "ended", "origin", "result", "tool")

    def __init__(
        self,
        tool: str,
        customer: str | None = None,
        arguments: dict[str, Any] | None = None,
        origin: object | None = None,
    ) -> None:
        self.tool = tool
        self.customer = customer
        self.arguments = {} if arguments is None else arguments
        self.result: Any = None
        self.added: int | None = None
        self.cancelled = False
        self.origin = origin
        self.ended = False

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


#: Which of the caller's pockets paid: metered money, a plan's calls, credits, or the free allowance.
Ledger = Literal["usage", "plan", "credits", "allowance"]


class Batch(Protocol):
    """Usage of one customer on one meter that is merged until it is sent.

    Attributes:
        number: Tells it from all others of this process.
        taken: Whether Stripe took it; None while that is open.
    """

    number: int
    taken: bool | None

    @property
    def name(self) -> str:
        """`<Unix second to which it is dated>.<unique among all processes of the seller>`."""


#: One charge among all of the seller: what it was merged into, and its place there.
Charge = tuple[Batch, int]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one answered call will be billed. Most calls cost what the one before cost, so equal receipts are shared.

    Attributes:
        tool: Billing identity of the tool.
        quantity: Units reported on the meter; for credits ledger units, `scale` of which are one credit.
        unit_amount: Price of one of them in minor units of `currency`; None for a free call.
        currency: Lower-case ISO code, or None where no money is at stake.
        customer: Stripe customer who pays, or None.
        ledger: Which pocket paid.
        billed: Units of `quantity` that cost money, beyond what a plan includes.
        scale: Ledger units of one credit.
        event_name: Of the meter it was counted on; None for a free call.
        said: The `meta` of this receipt and the terms of it that an id signs, once `say` was called.
        sheet: Ids of its next charges: what they are merged into, which places there, how each begins and ends.
    """

    tool: str
    quantity: int = 0
    unit_amount: Decimal | None = None
    currency: str | None = None
    customer: str | None = None
    ledger: Ledger = "usage"
    billed: int = 0
    scale: int = 1
    event_name: str | None = None
    said: tuple[Mapping[str, Any], str] | None = field(default=None, init=False, repr=False, compare=False)
    sheet: tuple[Batch, int, str, list[str]] | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def amount(self) -> Money | None:
        """The price before discounts and rounding of the invoice line; None where no money is at stake."""
        if self.unit_amount is None or self.currency is None:
            return None
        return Money(self.unit_amount, self.currency) * self.billed

    def say(self) -> tuple[Mapping[str, Any], str]:
        """Work out what is `said`; once, for equal receipts are shared."""
        terms = (
            f"{self.ledger[0]}|{self.customer}|{self.event_name}|{self.quantity}|{self.billed}|{self.unit_amount}|"
            f"{self.currency or ''}"
        )
        said = self.meta(), terms
        object.__setattr__(self, "said", said)
        return said

    def meta(self) -> dict[str, Any]:
        """The JSON form that travels in a result's `_meta`."""
        if self.unit_amount is None:
            return {"tool": self.tool, "charged": False}
        meta: dict[str, Any] = {"tool": self.tool, "charged": self.quantity > 0, "quantity": self.quantity}
        if self.ledger == "credits":
            meta["credits"] = f"{Decimal(self.quantity) / self.scale:f}"
        elif self.currency is not None:
            money = Money(self.unit_amount, self.currency) * self.billed
            meta["amount"], meta["text"] = f"{money.minor.normalize():f}", str(money)
            meta["currency"] = self.currency
        if self.ledger != "usage":
            meta["paid_from"] = self.ledger
        meta["customer"] = self.customer
        return meta
