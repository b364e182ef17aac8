"""What we know of one customer: a frozen snapshot of their Stripe objects with its expiry inside.

Owns the answer to "may this customer be served, and at which price". Reading and refreshing snapshots is the
account cache's work. Times are seconds of the process's monotonic clock unless they say otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from stripe_meter.domain.blueprint import Tier
    from stripe_meter.domain.units import Unit

#: Metadata key under which a customer carries an open dispute: prefix + its id. Stripe takes 40 characters.
METADATA_DISPUTE: Final = "sm_dispute_"


def dispute_mark(dispute: str) -> str:
    """The metadata key of one dispute (`du_…`)."""
    return f"{METADATA_DISPUTE}{dispute}"[:40]


@dataclass(frozen=True, slots=True)
class ItemPrice:
    """A price as a subscription in one currency has it; one object for all who have it.

    Attributes:
        id: Stripe's price id.
        meter: Stripe's meter id, `mtr_…`.
        tiers: What its units cost in that currency; empty when the price cannot be paid in it.
        currency: Of the subscription; lower-case ISO code.
        unit: What the price is paid for; None when it does not say.
    """

    id: str
    meter: str
    tiers: tuple[Tier, ...]
    currency: str
    unit: Unit | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """One priced meter of the customer's subscription: a subscription item.

    Attributes:
        price: What it costs.
        period_end: Unix seconds; first moment of the next billing period.
        since: Unix seconds from which this price counts: the period's begin, or later where it replaced another one.
    """

    price: ItemPrice
    period_end: int = 0
    since: int = 0


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
        return next((item for item in self.items if item.price.meter == meter), None)

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
        top_up: The card they agreed to for automatic top-ups, `pm_…`, or None.
        keys: API keys that are good, as `stored_keys` reads them from the customer's metadata.
        second: Live subscriptions of ours that were made after `subscription`, within the last hours.
        deleted: True when Stripe says the customer was deleted.
        is_disputed: True while a payment of theirs is disputed.
        is_paused: True while the seller refuses their calls for that.
        fresh_until: Until then the snapshot is served; a little before, a newer one is fetched beside the calls.
        offers: What this snapshot makes of each tool that was called. Most customers call a few, so a search is
            cheaper than a table in each of a hundred thousand snapshots.
    """

    customer: str
    subscription: Subscription | None = None
    wallet: str | None = None
    cap: int | None = None
    top_up: str | None = None
    keys: tuple[bytes, ...] = field(default=(), repr=False)
    deleted: bool = False
    is_disputed: bool = False
    is_paused: bool = False
    second: tuple[str, ...] = ()
    fresh_until: float = 0.0
    offers: tuple[Any, ...] = field(default=(), repr=False, compare=False)

    def keep(self, offer: Any) -> None:
        """Keep what a tool costs here, in place of what it cost before."""
        others = [known for known in self.offers if known.tool != offer.tool]
        object.__setattr__(self, "offers", (*others, offer))

    def forget_offers(self) -> None:
        """Let every tool's next call be decided anew."""
        object.__setattr__(self, "offers", ())
