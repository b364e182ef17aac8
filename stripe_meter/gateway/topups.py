"""What a customer agreed to for automatic top-ups, and how many there were: in their metadata.

Owns two values of a customer. `stripe_meter_top_up` is the card they agreed to, when, and on what terms, or `off` and
since when; the time keeps a purchase that is told of late from switching on what was switched off meanwhile.
`stripe_meter_top_ups` counts a month.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from stripe_meter.domain.identity import wallet_name
from stripe_meter.domain.topups import TopUpTerms
from stripe_meter.gateway.connection import Connection, plain
from stripe_meter.gateway.limiter import Priority

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Metadata key of a customer: the card for automatic top-ups, when they agreed and to what,
#: `pm_… 1763860000 starter 10 999 usd 5`.
METADATA_TOP_UP: Final = "stripe_meter_top_up"
_METADATA_COUNT: Final = "stripe_meter_top_ups"
_OFF: Final = "off"
#: In place of a moment: not before the customer has agreed anew.
UNTIL_PAID: Final = -1


@dataclass(frozen=True, slots=True)
class TopUpState:
    """Automatic top-ups of one customer.

    Attributes:
        card: `pm_…` they agreed to, or None.
        default_card: `pm_…` that their invoices are charged to, or None.
        wallet: `cus_…` that holds their credits, or None.
        month: Such as `2026-11`; of the two counts.
        bought: Packs bought in that month.
        failed: Charges that failed in that month.
        not_before: Unix seconds before which nothing is tried, 0, or `UNTIL_PAID`.
        terms: What they agreed to, or None.
        since: Unix seconds at which they agreed.
    """

    card: str | None
    default_card: str | None = None
    wallet: str | None = None
    month: str = ""
    bought: int = 0
    failed: int = 0
    not_before: int = 0
    terms: TopUpTerms | None = None
    since: int = 0

    @property
    def waits_for_payment(self) -> bool:
        """Nothing is tried before the customer has agreed anew."""
        return self.not_before == UNTIL_PAID

    def of(self, month: str) -> TopUpState:
        """The same in `month`: counts start anew, a pause does not end."""
        if self.month == month:
            return self
        return replace(self, month=month, bought=0, failed=0)


class TopUps:
    """Reads and writes what stands in a customer's metadata."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        self._connection = connection
        self._wallet = wallet_name(namespace)

    async def read(self, customer: str) -> TopUpState:
        """How it stands now; nobody has agreed to anything when the customer was deleted."""
        found = await self._connection.read(
            lambda client: client.v1.customers.retrieve_async(customer), Priority.PURCHASE
        )
        if getattr(found, "deleted", False):
            return TopUpState(None)
        metadata = plain(found.metadata)
        default = None if found.invoice_settings is None else found.invoice_settings.default_payment_method
        month, bought, failed, not_before = _counts(metadata.get(_METADATA_COUNT, ""))
        _, since, terms = _agreement(metadata)
        return TopUpState(
            agreed_card(metadata),
            default if isinstance(default, str) else None,
            metadata.get(self._wallet),
            month,
            bought,
            failed,
            not_before,
            TopUpTerms.parse(terms),
            since,
        )

    async def note(self, customer: str, state: TopUpState) -> None:
        """Write the counts down."""
        counts = f"{state.month} {state.bought} {state.failed} {state.not_before}"
        await self._write(customer, {_METADATA_COUNT: counts})

    async def agree(self, customer: str, card: str, terms: TopUpTerms, created: int) -> None:
        """The customer agreed at `created` (Unix seconds) to these terms, unless they have decided something later.

        A pause ends: they have just paid, or set up a card, with their own hands.
        """
        found = await self._connection.read(
            lambda client: client.v1.customers.retrieve_async(customer), Priority.PURCHASE
        )
        metadata = plain(found.metadata)
        known, since, _ = _agreement(metadata)
        if getattr(found, "deleted", False) or since > created or (known == _OFF and since == created):
            return
        month, bought, failed, _ = _counts(metadata.get(_METADATA_COUNT, ""))
        marks = {METADATA_TOP_UP: f"{card} {created} {terms}"}
        if month:
            marks[_METADATA_COUNT] = f"{month} {bought} {failed} 0"
        await self._write(customer, marks)

    async def stop(self, customer: str) -> None:
        """No automatic top-ups any more, until the customer agrees anew."""
        await self._write(customer, {METADATA_TOP_UP: f"{_OFF} {int(self._connection.clock.now())}"})

    async def _write(self, customer: str, metadata: dict[str, str]) -> None:
        await self._connection.write(
            lambda client, options: client.v1.customers.update_async(customer, {"metadata": metadata}, options),
            priority=Priority.PURCHASE,
        )


def agreed_card(metadata: Mapping[str, str]) -> str | None:
    """`pm_…` that a customer with this metadata agreed to, or None."""
    card = _agreement(metadata)[0]
    return card if card.startswith("pm_") else None


def _agreement(metadata: Mapping[str, str]) -> tuple[str, int, str]:
    """The card or `off`, since when, and the terms as they were written."""
    card, _, rest = metadata.get(METADATA_TOP_UP, "").partition(" ")
    moment, _, terms = rest.partition(" ")
    return card, int(moment) if moment.isdecimal() else 0, terms


def _counts(text: str) -> tuple[str, int, int, int]:
    """The month's counts; what somebody else wrote there counts for nothing bought."""
    month, *numbers = [*text.split(), "", "", "", ""][:4]
    try:
        bought, failed, not_before = (int(number or 0) for number in numbers)
    except ValueError:
        return "", 0, 0, 0
    return month, bought, failed, not_before
