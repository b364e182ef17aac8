"""What a check-up of an account looks at beside its catalogue: wallets, webhook endpoints, the portal, bills, the key.

Owns the frozen shapes; what of it is a finding is the doctor's to say. What could not be read is None or named.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from stripe_meter.domain.found import Inventory, Subscriber
from stripe_meter.domain.meter_errors import MeterError
from stripe_meter.domain.money import smallest_charge as smallest_charge


@dataclass(frozen=True, slots=True)
class Wallet:
    """A customer that holds credits.

    Attributes:
        customer: `cus_…` of the wallet.
        invoices: Ids of invoices it has, at most a few.
        foreign: Balance transactions that are no adjustment: `cbtxn_…` and Stripe's word for their type.
        currencies: Of its transactions; lower-case ISO codes.
    """

    customer: str
    invoices: tuple[str, ...] = ()
    foreign: tuple[tuple[str, str], ...] = ()
    currencies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A webhook endpoint.

    Attributes:
        id: `we_…`, or `ed_…` of one that receives events without their content.
        api_version: None where it follows the account's default.
        events: Types it hears; `*` for all.
        created: Unix seconds.
    """

    id: str
    url: str
    api_version: str | None
    enabled: bool
    events: tuple[str, ...] = ()
    created: float = 0.0

    def lacks(self, types: Iterable[str]) -> list[str]:
        """Those of the types that it does not hear."""
        return [] if "*" in self.events else [type for type in types if type not in self.events]


@dataclass(frozen=True, slots=True)
class Portal:
    """How the default portal configuration lets customers cancel.

    Attributes:
        id: `bpc_…`.
        can_cancel: Whether they can.
        mode: `at_period_end` or `immediately`.
        prorates: Stripe's word for what happens to the running period.
    """

    id: str
    can_cancel: bool
    mode: str
    prorates: str


@dataclass(frozen=True, slots=True)
class Bill:
    """One of the latest invoices; the total is in minor units."""

    id: str
    customer: str
    total: int
    currency: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that was looked at.

    Attributes:
        lacking: Permissions that the key lacks, by the names of Stripe's resources; `read` or `write` is said.
        offset: Seconds by which this machine's clock is behind Stripe's.
        api_version: That this library speaks.
        reads: GETs that looking took.
        gaps: What was not looked at, in sentences.
        thin: Endpoints that receive events without their content.
        meter_errors: Reports of the last week about usage that Stripe did not count.
        keyless: Customers (`cus_…`) who lately paid by a payment link and can show no API key.
    """

    inventory: Inventory | None
    subscribers: tuple[Subscriber, ...]
    wallets: tuple[Wallet, ...]
    endpoints: tuple[Endpoint, ...] | None
    portal: Portal | None
    bills: tuple[Bill, ...]
    lacking: tuple[str, ...]
    offset: float
    api_version: str
    reads: int
    gaps: tuple[str, ...] = ()
    thin: tuple[Endpoint, ...] | None = None
    meter_errors: tuple[MeterError, ...] = ()
    keyless: tuple[str, ...] = ()
