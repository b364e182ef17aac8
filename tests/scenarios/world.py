"""The world of a story: a seller with a Stripe account, their server, and the people who call it.

Owns the verbs a story is told in. Nearly all of them are API requests, the same whatever answers them, so a recording
of either replays the same story. Two are not: a person paying on a hosted page, which needs a browser at Stripe, and
time passing, which needs a test clock there. Checkout makes no customers on test clocks, so `pays` falls back to a
subscription by API where there is no page to click, and stories in which time passes for others are skipped.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import anyio
import pytest
import stripe
from click.testing import CliRunner

from stripe_meter.cli import keys
from stripe_meter.domain.identity import ApiKey, wallet_name
from stripe_meter.domain.plans import Plan
from stripe_meter.emulator.browser import pay_by_forms
from tests.scenarios.backends import Backend
from tests.scenarios.shop import Answer, Price, Shop

#: How a person pays: on the hosted page, or as if they had, by API.
Payer = Literal["page", "api"]

#: Test cards: the number typed into a page, and Stripe's token for the same card.
CARDS: Final = {
    "good": ("4242424242424242", "pm_card_visa"),
    "declined": ("4000000000000002", "pm_card_visa_chargeDeclined"),
    "declined later": ("4000000000000341", "pm_card_chargeCustomerFail"),
    "asks for 3-D Secure": ("4000002500003155", "pm_card_authenticationRequiredOnSetup"),
}
EMAIL: Final = "caller@example.com"
_GRACE: Final = 2 * 3600


class Declined(Exception):
    """The card was refused; the message is what the payer reads."""


class World:
    """One story's world."""

    def __init__(
        self, backend: Backend, payer: Payer, opening: int, namespace: str, log: pytest.LogCaptureFixture
    ) -> None:
        self.backend = backend
        self.payer = payer
        #: When the story begins, Unix seconds.
        self.opening = opening
        #: Every name the story makes at Stripe begins with it.
        self.namespace = namespace
        self._client, self._http = backend.client()
        self._log = log
        log.set_level(logging.INFO, logger="stripe")

    @property
    def seller(self) -> Any:
        """What the seller can do in their account by hand: the v1 services of Stripe's SDK."""
        return self._client.v1

    @asynccontextmanager
    async def shop(self, *plans: Plan, spend_cap: str | None = None, **prices: Price) -> AsyncIterator[Shop]:
        """The seller's server, just started; a second one later is the same server after a restart.

        Args:
            plans: What is on offer; pay-as-you-go unless given.
            spend_cap: The most that one customer may spend.
            prices: Of its tools, by name.
        """
        shop = Shop(plans or None, spend_cap)
        for name, price in prices.items():
            shop.sell(name, price)
        async with shop.open():
            yield shop

    # People.

    async def pays(self, shop: Shop, refused: Answer, card: str = "good") -> ApiKey:
        """A stranger follows the link of their refusal and comes back with an API key.

        Raises:
            Declined: The card was refused, and nothing has happened.
        """
        if self.payer == "api":
            return await self.subscriber(shop, card=card)
        key = await self.pays_again(shop, refused, card)
        assert key is not None, "the success page shows no key"
        return key

    async def pays_again(self, shop: Shop, refused: Answer, card: str = "good") -> ApiKey | None:
        """A caller follows the link of their refusal; whoever has a key is shown no other one.

        Raises:
            Declined: The card was refused, and nothing has happened.
        """
        try:
            link = await shop.first_of(refused.link)
            back = urlsplit(await anyio.to_thread.run_sync(pay_by_forms, link, CARDS[card][0], EMAIL))
        except ValueError as error:
            raise Declined(str(error)) from None
        return await shop.key_on(f"{back.path}?{back.query}")

    async def subscriber(
        self, shop: Shop, card: str = "good", currency: str = "usd", plan: str = "pay-as-you-go"
    ) -> ApiKey:
        """A customer on a test clock, whom the seller subscribes to a plan of the shop.

        Raises:
            Declined: The card was refused, and nothing has happened.
        """
        await shop.prices()  # the first message to a server completes its catalogue
        clock = self.seller.test_helpers.test_clocks.create({"frozen_time": self.opening, "name": self.namespace})
        customer = self.seller.customers.create({"email": EMAIL, "test_clock": clock.id}).id
        try:
            method = self.seller.payment_methods.attach(CARDS[card][1], {"customer": customer}).id
        except stripe.CardError as error:
            raise Declined(error.user_message) from None
        basket = [
            {"price": price} if quantity is None else {"price": price, "quantity": quantity}
            for price, quantity in shop.order(plan).lines
        ]
        self.seller.subscriptions.create(
            {
                "customer": customer,
                "currency": currency,
                "default_payment_method": method,
                "items": basket,
                "metadata": {"stripe_meter": self.namespace, "stripe_meter_plan": plan},
                "billing_mode": {"type": "flexible"},
            }
        )
        return self.issue_key(customer)

    def acquaintance(self) -> ApiKey:
        """A customer who has bought nothing; the seller made them by hand and gave them a key."""
        return self.issue_key(self.seller.customers.create({"metadata": {"stripe_meter": self.namespace}}).id)

    # The seller.

    def issue_key(self, customer: str) -> ApiKey:
        """`stripe-meter keys create`."""
        key = ApiKey.parse(json.loads(self._typed("create", customer, "--json"))["key"])
        assert key is not None
        return key

    def revoke_key(self, key: ApiKey) -> None:
        """`stripe-meter keys revoke`."""
        self._typed("revoke", key.customer, key.id)

    def _typed(self, *arguments: str) -> str:
        result = CliRunner().invoke(keys.command, arguments)
        assert result.exit_code == 0, result.output
        return result.output

    # The books.

    def prices(self, *tools: str) -> list[Any]:
        """The prices that are in force for these tools, in their order."""
        found = self.seller.prices.list({"lookup_keys": [f"{self.namespace}.{tool}" for tool in tools], "active": True})
        by_key = {price.lookup_key: price for price in found.data}
        return [by_key[f"{self.namespace}.{tool}"] for tool in tools]

    async def on_the_meter(self, customer: str, **expected: int) -> None:
        """Stripe's meters come to say these totals; fails when they do not, or when they say more.

        Args:
            customer: `cus_…`.
            expected: By tool; `calls` are those of plans, `price` what tools of one price share.
        """
        for tool, total in expected.items():
            seen: list[float] = [0]

            def is_counted(tool: str = tool, total: int = total, seen: list[float] = seen) -> bool:
                seen[0] = self._total(customer, tool)
                return seen[0] == total

            await self._until(is_counted)
            assert seen[0] == total, f"the meter of {tool} says {seen[0]}, not {total}"

    def _total(self, customer: str, tool: str) -> float:
        start = self.opening // 60 * 60 - 60
        params = {"customer": customer, "start_time": start, "end_time": start + 3600}
        names = f"{self.namespace}.{tool}", f"{self.namespace}:{tool}"
        meters = self.seller.billing.meters
        meter = next(m for m in meters.list({"limit": 100}).auto_paging_iter() if m.event_name.startswith(names))
        return float(sum(row.aggregated_value for row in meters.event_summaries.list(meter.id, params).data))

    def bills(self, customer: str) -> list[int]:
        """Totals of everything they were billed, in minor units, oldest first."""
        invoices = self.seller.invoices.list({"customer": customer, "limit": 100}).data
        return [invoice.total for invoice in reversed(invoices)]

    def credits(self, customer: str) -> int:
        """What their wallet holds; Stripe keeps it as a balance in the customer's favour."""
        wallet = self.seller.customers.retrieve(customer).metadata[wallet_name(self.namespace)]
        return -int(self.seller.customers.retrieve(wallet).balance)

    def days_pass(self, days: int) -> None:
        """For everybody but customers on a test clock; a recording has it already, and Stripe cannot do it."""
        if self.backend.stand_in is not None:
            self.backend.stand_in.advance(days * 86_400)

    async def end_of_month(self, customer: str) -> Any:
        """The month passes; the customer's invoice for it, charged or refused by the card."""
        return (await self.end_of_month_of(customer))[0]

    async def end_of_month_of(self, *customers: str) -> list[Any]:
        """The same for several at once: at the emulator there is only one month, and it passes for all."""
        subscriptions = [self.seller.subscriptions.list({"customer": customer}).data[0] for customer in customers]
        for subscription in subscriptions:
            await self._reach(max(item.current_period_end for item in subscription["items"].data), subscription)
        return [await self._closed_invoice(customer) for customer in customers]

    async def _reach(self, end: int, subscription: Any) -> None:
        moment, clocks = end + _GRACE, self.seller.test_helpers.test_clocks
        if subscription.test_clock is not None:
            clocks.advance(subscription.test_clock, {"frozen_time": moment})
            await self._until(lambda: clocks.retrieve(subscription.test_clock).status == "ready")
        elif self.backend.stand_in is not None:
            self.backend.stand_in.advance(moment - self.backend.stand_in.emulator.clock.now())

    async def _closed_invoice(self, customer: str) -> Any:
        found: list[Any] = []

        def is_closed() -> bool:
            found[:] = self.seller.invoices.list({"customer": customer, "limit": 1}).data
            return bool(found and found[0].billing_reason == "subscription_cycle" and found[0].attempted)

        await self._until(is_closed)
        return found[0]

    async def _until(self, is_so: Callable[[], bool]) -> None:
        """Look until it is so, or often enough; the story then says what is wrong."""
        for _ in range(self.backend.tries):
            if is_so():
                return
            await anyio.sleep(self.backend.pause)

    def fault(self, **fault: Any) -> None:
        """Something goes wrong at Stripe, as the emulator is told; a recording has it already."""
        if self.backend.stand_in is not None:
            self.backend.stand_in.emulator.faults.add(**fault)

    def refusals(self, status: int) -> int:
        """How often Stripe has answered with this HTTP status, as its SDK logs it."""
        answers = [said for said in self._log.messages if "Stripe API response" in said]
        return sum(said.endswith(f"response_code={status}") for said in answers)

    def close(self) -> None:
        self._http.close()
