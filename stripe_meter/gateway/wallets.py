"""Wallets: the customers that hold prepaid credits, and the transactions on their balance.

Owns the wallet customer of a caller, its balance transactions – made under keys of ours, once for each call of `add`,
repeated by whoever must know their fate – and the payments that packs were bought with. Credits live on a second
customer, which is never invoiced, so no invoice of the seller's can eat them.

https://docs.stripe.com/api/customer_balance_transactions · https://docs.stripe.com/billing/customer/balance
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from stripe_meter.domain.identity import METADATA_WALLET_FOR, wallet_name
from stripe_meter.domain.offering import SCALES
from stripe_meter.domain.topups import TopUpTerms
from stripe_meter.errors import ConfigurationError, StripeRejected
from stripe_meter.gateway.checkout import METADATA_CONSENT, METADATA_UNITS
from stripe_meter.gateway.connection import Connection, plain
from stripe_meter.gateway.limiter import Priority
from stripe_meter.gateway.links import METADATA_LINK

if TYPE_CHECKING:
    import stripe

T = TypeVar("T")
Request: TypeAlias = Callable[["stripe.StripeClient"], Awaitable[T]]

#: Metadata key of a wallet: Unix seconds before which nothing is in doubt.
METADATA_SETTLED: Final = "stripe_meter_settled"
#: Metadata key of a payment: the transaction that gave its credits.
METADATA_GRANTED: Final = "sm_granted"

_PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class Transaction:
    """One change of a wallet's balance. Amounts are Stripe's: positive takes, a positive balance is a debt.

    Attributes:
        id: `cbtxn_…`.
        created: Unix seconds.
        balance: Of the wallet, right after it.
        date: Unix seconds of the answer that told of it, on Stripe's clock.
    """

    id: str
    amount: int
    created: int
    balance: int
    description: str
    metadata: Mapping[str, str]
    date: int


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a listing; `date` is Unix seconds of the listing's first answer, on Stripe's clock."""

    rows: list[Transaction]
    date: int


@dataclass(frozen=True, slots=True)
class Payment:
    """What a pack was paid with.

    Attributes:
        id: `pi_…`.
        customer: Whose credits were paid, `cus_…`: who paid, or whom they named on a payment link; or None.
        is_paid: True once the money is there.
        units: Ledger units that were sold; 0 when it was no sale of ours.
        currency: Lower-case ISO code.
        created: Unix seconds.
        granted: The transaction that gave the credits, or None.
        amount: What was paid, in minor units.
        agreed: The card (`pm_…`) that its owner agreed to for automatic top-ups with this payment, or None.
        terms: What that owner agreed to, or None.
    """

    id: str
    customer: str | None
    is_paid: bool
    units: int
    currency: str
    created: int
    granted: str | None
    amount: int
    agreed: str | None = None
    terms: TopUpTerms | None = None


@dataclass(frozen=True, slots=True)
class Sale:
    """A paid pack: what was paid, in minor units of `currency`, and the ledger units that were sold."""

    amount: int
    currency: str
    units: int


@dataclass(frozen=True, slots=True)
class Terms:
    """How credits are counted in this account: ledger units of one credit, and the ledger's currency."""

    scale: int
    currency: str


class Wallets:
    """Makes wallets and writes their ledgers."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        self._connection = connection
        self._namespace = namespace
        self._name = wallet_name(namespace)

    async def of(self, customer: str) -> str | None:
        """The wallet of `customer` (`cus_…`), if there is one.

        Raises:
            ConfigurationError: There is no such customer any more, or it is a wallet itself.
        """
        found = await self._connection.read(lambda client: client.v1.customers.retrieve_async(customer))
        if getattr(found, "deleted", False):
            raise ConfigurationError(f"{customer} was deleted in this Stripe account; name a customer that exists")
        if (owner := plain(found.metadata).get(METADATA_WALLET_FOR)) is not None:
            raise ConfigurationError(f"{customer} holds the credits of {owner}; name {owner} instead")
        return plain(found.metadata).get(self._name)

    async def ensure(self, customer: str) -> str:
        """The wallet of `customer`, made now if there is none."""
        known = await self.of(customer)
        if known is not None:
            return known
        made = await self._connection.write(
            lambda client, options: client.v1.customers.create_async(
                {
                    "description": f"Prepaid credits of {customer}",
                    "metadata": {METADATA_WALLET_FOR: customer, "stripe_meter": self._namespace},
                },
                options,
            ),
            key=f"wallet:{self._namespace}:{customer}",
            priority=Priority.PURCHASE,
        )
        await self._connection.write(
            lambda client, options: client.v1.customers.update_async(
                customer, {"metadata": {self._name: made.id}}, options
            ),
            priority=Priority.PURCHASE,
        )
        return str(made.id)

    async def add(
        self, wallet: str, amount: int, currency: str, key: str, metadata: Mapping[str, str], description: str
    ) -> Transaction:
        """One transaction, sent once. Until it is answered, only the very same may be sent again.

        Raises:
            StripeUnavailable: Nobody knows whether it happened; `stored` when Stripe would repeat this failure.
            IdempotencyConflict: Somebody else used the key for another transaction.
        """
        await self._connection.limiter.acquire(Priority.LEASE)
        made = await self._connection.send(
            lambda client: client.v1.customers.balance_transactions.create_async(
                wallet,
                {"amount": amount, "currency": currency, "metadata": dict(metadata), "description": description},
                {"idempotency_key": key},
            )
        )
        return _transaction(made, self._date(made))

    async def annotate(self, wallet: str, transaction: str, metadata: Mapping[str, str], description: str) -> int:
        """Change what a transaction says; returns the `Date` of the answer. Sent once; doing it twice is no harm."""
        await self._connection.limiter.acquire(Priority.LEASE)
        answer = await self._connection.send(
            lambda client: client.v1.customers.balance_transactions.update_async(
                wallet, transaction, {"metadata": dict(metadata), "description": description}
            )
        )
        return self._date(answer)

    async def pages(self, wallet: str, since: int = 0) -> AsyncGenerator[Page, None]:
        """Transactions created at or after `since` (Unix seconds), newest first, a page at a time; at least one."""
        params: dict[str, Any] = {"limit": _PAGE}
        if since:
            params["created"] = {"gte": since}
        date = 0
        while True:
            listed = await self._connection.read(_listing(wallet, params), Priority.LEASE)
            date = date or self._date(listed)
            yield Page([_transaction(row, date) for row in listed.data], date)
            if not listed.has_more:
                return
            params = {**params, "starting_after": listed.data[-1].id}

    async def look(self, wallet: str) -> tuple[int, int]:
        """The balance (negative is credit), and the moment before which nothing is in doubt (Unix seconds, or 0)."""
        found = await self._connection.read(lambda client: client.v1.customers.retrieve_async(wallet))
        return found.balance or 0, int(plain(found.metadata).get(METADATA_SETTLED, 0))

    async def settled(self, wallet: str, moment: int) -> None:
        """Note that nothing before `moment` is in doubt any more."""
        await self._connection.write(
            lambda client, options: client.v1.customers.update_async(
                wallet, {"metadata": {METADATA_SETTLED: str(moment)}}, options
            )
        )

    async def payment(self, intent: str) -> Payment:
        """What a payment (`pi_…`) bought, as it is now."""
        found = await self._connection.read(
            lambda client: client.v1.payment_intents.retrieve_async(intent), Priority.PURCHASE
        )
        metadata = plain(found.metadata)
        is_ours = metadata.get("stripe_meter") == self._namespace
        payer = found.customer if isinstance(found.customer, str) or found.customer is None else found.customer.id
        named = await self._named(intent) if is_ours and METADATA_LINK in metadata else None
        method = found.payment_method if isinstance(found.payment_method, str) else None
        terms = TopUpTerms.parse(metadata.get(METADATA_CONSENT, "")) if is_ours else None
        return Payment(
            found.id,
            named or payer,
            found.status == "succeeded",
            int(metadata.get(METADATA_UNITS, 0)) if is_ours else 0,
            found.currency,
            found.created,
            metadata.get(METADATA_GRANTED),
            found.amount,
            None if terms is None else method,
            terms,
        )

    async def _named(self, intent: str) -> str | None:
        """For whom somebody paid who followed a payment link; None when they named nobody that exists."""
        listed = await self._connection.read(
            lambda client: client.v1.checkout.sessions.list_async({"payment_intent": intent, "limit": 1}),
            Priority.PURCHASE,
        )
        named = listed.data[0].client_reference_id if listed.data else None
        if named is None or not named.startswith("cus_"):
            return None
        try:
            found = await self._connection.read(
                lambda client: client.v1.customers.retrieve_async(named), Priority.PURCHASE
            )
        except StripeRejected:
            return None
        if getattr(found, "deleted", False):
            return None
        # Who names a wallet, which shows in nothing a caller sees, means the one whose credits are in it.
        return plain(found.metadata).get(METADATA_WALLET_FOR, named)

    async def mark_granted(self, intent: str, transaction: str) -> None:
        """Write on a payment which transaction gave its credits."""
        await self._connection.write(
            lambda client, options: client.v1.payment_intents.update_async(
                intent, {"metadata": {METADATA_GRANTED: transaction}}, options
            ),
            priority=Priority.PURCHASE,
        )

    async def sales(self) -> list[Sale]:
        """The packs of this namespace among the account's last hundred payments, newest first."""
        listed = await self._connection.read(
            lambda client: client.v1.payment_intents.list_async({"limit": _PAGE}), Priority.CATALOGUE
        )
        sold = [(row, plain(row.metadata)) for row in listed.data if row.status == "succeeded"]
        return [
            Sale(row.amount, row.currency, int(marks[METADATA_UNITS]))
            for row, marks in sold
            if marks.get("stripe_meter") == self._namespace and marks.get(METADATA_UNITS, "").isdecimal()
        ]

    async def terms(self) -> Terms:
        """How credits are counted here, by the packs in the catalogue.

        Raises:
            ConfigurationError: No pack is on sale.
        """
        prefix = f"{self._namespace}:pack:"
        params: dict[str, Any] = {"active": True, "type": "one_time", "limit": _PAGE}
        while True:
            listed = await self._connection.read(_prices(params), Priority.CATALOGUE)
            for price in listed.data:
                scale = plain(price.metadata).get("scale")
                if (price.lookup_key or "").startswith(prefix) and scale is not None:
                    return Terms(_scale(scale, price), price.currency)
            if not listed.has_more:
                raise ConfigurationError(
                    f"no credit pack of namespace {self._namespace!r} is on sale in this Stripe account; "
                    "create the catalogue first: stripe-meter apply server.py"
                )
            params = {**params, "starting_after": listed.data[-1].id}

    def _date(self, answer: stripe.StripeObject) -> int:
        response = answer.last_response
        text = "" if response is None else response.headers.get("Date", "")
        try:
            return int(parsedate_to_datetime(text).timestamp())
        except (TypeError, ValueError):
            return int(self._connection.clock.now())


def _scale(text: str, price: stripe.Price) -> int:
    if text not in map(str, SCALES):
        raise ConfigurationError(
            f"metadata scale of {price.lookup_key} is {text!r}, which is no unit of credits; set it back to what "
            f'`stripe-meter plan server.py` shows: stripe post /v1/prices/{price.id} -d "metadata[scale]=…"'
        )
    return int(text)


def _listing(wallet: str, params: Any) -> Request[stripe.ListObject[stripe.CustomerBalanceTransaction]]:
    return lambda client: client.v1.customers.balance_transactions.list_async(wallet, params)


def _prices(params: Any) -> Request[stripe.ListObject[stripe.Price]]:
    return lambda client: client.v1.prices.list_async(params)


def _transaction(row: stripe.CustomerBalanceTransaction, date: int) -> Transaction:
    return Transaction(
        row.id, row.amount, row.created, row.ending_balance, row.description or "", plain(row.metadata), date
    )
