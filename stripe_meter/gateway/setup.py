"""Cards that are saved without a payment: setup intents, and a customer's default card.

Owns that a card which was set up becomes the one to charge. Whether a customer agreed to be charged without being asked
is another question; it stands in the metadata of what they agreed to.

https://docs.stripe.com/payments/setup-intents
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from stripe_meter.domain.topups import TopUpTerms
from stripe_meter.gateway.checkout import METADATA_CONSENT
from stripe_meter.gateway.connection import Connection, plain
from stripe_meter.gateway.limiter import Priority

if TYPE_CHECKING:
    import stripe

_METADATA_KEPT: Final = "sm_kept"
#: A setup asked for twice within so many seconds is the same one.
_SAME_FOR: Final = 3600
_TRIES: Final = 3
_OVER: Final = ("succeeded", "canceled")


@dataclass(frozen=True, slots=True)
class SetupIntent:
    """A card about to be saved by a page of the author's own.

    Attributes:
        id: `seti_…`.
        client_secret: For Stripe's scripts in the browser of this customer, and nobody else.
        consent: What your page has to say beside its button, where it asks for consent; else empty.
    """

    id: str
    client_secret: str = field(repr=False)
    consent: str = ""


@dataclass(frozen=True, slots=True)
class SavedCard:
    """What a finished setup intent left behind.

    Attributes:
        customer: `cus_…`.
        method: `pm_…`.
        terms: On what terms the customer agreed to be charged without being asked, or None.
        created: Unix seconds at which the setup was begun.
        is_kept: It was made the card to charge already; since then the customer may have chosen another one.
    """

    customer: str
    method: str
    terms: TopUpTerms | None
    created: int
    is_kept: bool


class Setups:
    """Makes and reads setup intents."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        self._connection = connection
        self._namespace = namespace

    async def begin(self, customer: str, *, consent: TopUpTerms | None) -> SetupIntent:
        """A setup intent for `customer` (`cus_…`); the same one for an hour.

        Args:
            consent: What the author's page asks the customer to agree to.
        """
        marks = {"stripe_meter": self._namespace, **({METADATA_CONSENT: str(consent)} if consent else {})}
        name = f"setup:{customer}:{consent or 0}:{int(self._connection.clock.now()) // _SAME_FOR}"
        for attempt in range(_TRIES):
            made = await self._create(customer, marks, f"{name}:{attempt}")
            response = made.last_response
            if response is None or response.headers.get("Idempotent-Replayed") != "true":
                return SetupIntent(made.id, str(made.client_secret))
            # A replay shows it as it was born; since then a card may have been saved with it.
            made = await self._retrieve(made.id)
            if made.status not in _OVER:
                return SetupIntent(made.id, str(made.client_secret))
        made = await self._create(customer, marks, None)
        return SetupIntent(made.id, str(made.client_secret))

    async def _create(self, customer: str, marks: dict[str, str], key: str | None) -> stripe.SetupIntent:
        return await self._connection.write(
            lambda client, options: client.v1.setup_intents.create_async(
                {"customer": customer, "usage": "off_session", "metadata": marks}, options
            ),
            key=key,
            priority=Priority.PURCHASE,
        )

    async def _retrieve(self, intent: str) -> stripe.SetupIntent:
        return await self._connection.read(
            lambda client: client.v1.setup_intents.retrieve_async(intent), Priority.PURCHASE
        )

    async def read(self, intent: str) -> SavedCard | None:
        """The card of a setup intent (`seti_…`) of ours that succeeded, else None."""
        found = await self._retrieve(intent)
        marks, customer, method = plain(found.metadata), found.customer, found.payment_method
        if marks.get("stripe_meter") != self._namespace or found.status != "succeeded":
            return None
        if not isinstance(customer, str) or not isinstance(method, str):
            return None
        terms = TopUpTerms.parse(marks.get(METADATA_CONSENT, ""))
        return SavedCard(customer, method, terms, found.created, _METADATA_KEPT in marks)

    async def mark_kept(self, intent: str) -> None:
        """Write on a setup intent that its card was taken in."""
        await self._connection.write(
            lambda client, options: client.v1.setup_intents.update_async(
                intent, {"metadata": {_METADATA_KEPT: "1"}}, options
            ),
            priority=Priority.PURCHASE,
        )

    async def make_default(self, customer: str, method: str) -> None:
        """Charge this card from now on."""
        await self._connection.write(
            lambda client, options: client.v1.customers.update_async(
                customer, {"invoice_settings": {"default_payment_method": method}}, options
            ),
            priority=Priority.PURCHASE,
        )
