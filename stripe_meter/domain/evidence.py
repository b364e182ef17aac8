"""What a check-up of an account looks at beside its catalogue: wallets, webhook endpoints, the portal, bills, the key.

Owns the frozen shapes; what of it is a finding is the doctor's to say. What could not be read is None or named.
"""

from __future__ import annotations

from dataclasses import dataclass

from stripe_meter.domain.found import Inventory, Subscriber

#: Stripe's smallest charges in minor units, by currency; 50 elsewhere.
#: https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts
_SMALLEST = {
    "aed": 200, "bgn": 100, "czk": 1500, "dkk": 250, "gbp": 30, "hkd": 400, "huf": 17500, "jpy": 50, "mxn": 1000,
    "myr": 200, "nok": 300, "pln": 200, "ron": 200, "sek": 300, "thb": 1000,
}  # fmt: skip


def smallest_charge(currency: str) -> int:
    """The least that Stripe charges, in minor units; smaller invoices become a debt on the customer."""
    return _SMALLEST.get(currency, 50)


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
    """A webhook endpoint; `api_version` is None where it follows the account's default."""

    id: str
    url: str
    api_version: str | None
    enabled: bool


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
