"""What we know of one customer: a frozen snapshot of their Stripe objects with its expiry inside.

Owns the answer to "may this customer be served, and at which price". Reading and refreshing snapshots is the
account cache's work. Times are seconds of the process's monotonic clock unless they say otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any


@dataclass(frozen=True, slots=True)
class Item:
    """One priced meter of the customer's subscription: a subscription item.

    Attributes:
        price: Stripe's price id.
        meter: Stripe's meter id, `mtr_…`.
        unit_amount: Minor units for one metered unit; None when the price has tiers, or states it elsewhere.
        currency: Of the subscription; lower-case ISO code.
        period_end: Unix seconds; first moment of the next billing period.
    """

    price: str
    meter: str
    unit_amount: Decimal | None
    currency: str
    period_end: int = 0


@dataclass(frozen=True, slots=True)
class Subscription:
    """The customer's live subscription of ours.

    Attributes:
        id: `sub_…`.
        status: Stripe's word: `active`, `trialing`, `past_due`, `incomplete`, `unpaid`, `paused`.
        items: At most twenty, so a search is cheaper than a table in each of a hundred thousand snapshots.
        has_payment_method: Whether a default payment method is on file (subscription's, else customer's).
        latest_invoice: `in_…` while the status is another than `active`, or with a threshold; else None.
        plan: Name of the plan it was bought as; None for one that does not say.
        since: Unix seconds at which the running period began, where calls are counted against a limit, else 0.
        threshold: Unbilled minor units at which Stripe bills in mid-period, or None.
    """

    id: str
    status: str
    items: tuple[Item, ...]
    has_payment_method: bool
    latest_invoice: str | None = None
    plan: str | None = None
    since: int = 0
    threshold: int | None = None

    def item(self, meter: str) -> Item | None:
        """What bills the usage of `meter`, if anything does."""
        return next((item for item in self.items if item.meter == meter), None)

    @property
    def is_solvent(self) -> bool:
        """Active, with a card to charge. A trial bills no metered usage, so it does not count as solvent."""
        return self.status == "active" and self.has_payment_method

    @property
    def is_trial(self) -> bool:
        return self.status == "trialing"


@dataclass(frozen=True, slots=True)
class Account:
    """Snapshot of one customer.

    Attributes:
        customer: `cus_…`.
        subscription: Their live subscription of ours, the oldest when there are several, or None.
        wallet: The customer that holds their prepaid credits, `cus_…`, or None.
        cap: The customer's own spend cap in minor units of their currency, or None.
        keys: API keys that are good: public id and hash, as the customer's metadata has them.
        second: Live subscriptions of ours that were made after `subscription`, within the last hours.
        deleted: True when Stripe says the customer was deleted.
        fresh_until: Until then the snapshot is served; a little before, a newer one is fetched beside the calls.
        stale_until: Until then it is served while Stripe is unavailable.
        offers: What this snapshot makes of each tool, by its name, filled as they are called.
    """

    customer: str
    subscription: Subscription | None = None
    wallet: str | None = None
    cap: int | None = None
    keys: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)
    deleted: bool = False
    second: tuple[str, ...] = ()
    fresh_until: float = 0.0
    stale_until: float = 0.0
    offers: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
