"""A seller's counter: a StripeMeter on the emulated Stripe, its tool on sale, and people who come to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from stripe_meter import CreditPack, Credits, Principal, StripeMeter
from stripe_meter.domain.identity import Caller, credential
from stripe_meter.domain.plans import Plan
from stripe_meter.domain.refusals import Refusal
from stripe_meter.domain.tools import Tool
from stripe_meter.emulator import EmulatorServer
from stripe_meter.enforcement.gate import Admission
from stripe_meter.settings import Settings
from tests.conftest import PAGES, a_tool

ALICE = Principal("https://login.example", "alice")
STARTER = CreditPack(2, "$9.99", "Starter")
BIG = CreditPack(50, "$79", "Big")
REFILLED = Credits([STARTER, BIG], top_up="Starter", top_up_limit=2)

GOOD, DECLINED = "4242424242424242", "4000000000000002"
#: Taken by Checkout, refused later.
FAILS_LATER = "4000000000000341"
#: Asks for its owner at each payment.
ASKS_ALWAYS = "4000002760003184"


@dataclass(frozen=True)
class Counter:
    """One seller's process."""

    billing: StripeMeter
    stripe: EmulatorServer
    tool: Tool

    async def pay(self, url: str, card: str = GOOD) -> str:
        """Fill in the hosted page and come back to our success page; returns the address of that."""
        back = self.stripe.complete_checkout(url, card=card, email="payer@example.com")
        query = parse_qs(urlsplit(back).query)
        claim = query.get("claim")
        await self.billing.engine.sales.complete(query["session_id"][0], claim[0] if claim else None)
        return back

    async def call(self, who: Principal = ALICE) -> Admission | Refusal:
        """One call of the tool, settled when it is served."""
        caller = Caller(credential("p", f"{who.issuer} {who.subject}"), principal=who)
        answer = await self.billing.engine.admit(self.tool, caller)
        if isinstance(answer, Admission):
            answer.settle(1)
        return answer

    async def is_served(self, who: Principal = ALICE, times: int = 1) -> bool:
        return all([isinstance(await self.call(who), Admission) for _ in range(times)])

    async def refusal(self, who: Principal = ALICE) -> Refusal:
        answer = await self.call(who)
        assert isinstance(answer, Refusal)
        return answer

    def rows(self, kind: str, **wanted: object) -> list[dict[str, Any]]:
        """Objects in the emulated account, oldest first."""
        found = self.stripe.emulator.account.store.all(kind)
        return [row for row in found if all(row[name] == value for name, value in wanted.items())]

    async def change_card(self, card: str, who: Principal = ALICE) -> None:
        """On the portal's page for that."""
        url = await self.billing.portal(who, flow="payment_method_update")
        assert self.visit(url, action="card", card=card).status_code == 303

    def confirm_setup(self, intent: str, method: str) -> dict[str, Any]:
        """What Stripe's scripts do in the browser on a page of the author's own."""
        return self.post(f"/v1/setup_intents/{intent}/confirm", payment_method=method)

    def post(self, path: str, **form: str) -> dict[str, Any]:
        """A request of somebody else to the same account."""
        answer = httpx.post(self.stripe.url + path, data=form, auth=("sk_test_emulator", ""))
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    def visit(self, url: str, **form: str) -> httpx.Response:
        """Open a hosted page, or send its form."""
        return httpx.post(url, data=form) if form else httpx.get(url, follow_redirects=True)


Open = Callable[..., Awaitable[Counter]]


@pytest.fixture
def open_shop(stripe: EmulatorServer) -> Iterator[Open]:
    """Processes of the seller, closed at the end; all of them keep Stripe's time."""
    opened: list[StripeMeter] = []

    async def make(*plans: Plan, price: str | tuple[str, ...] = "1 credit", **settings: object) -> Counter:
        values: dict[str, object] = {"emulator": stripe.url, "public_url": PAGES, **settings}
        billing = StripeMeter(plans, settings=Settings(**values))
        opened.append(billing)
        tool = a_tool(price=price)
        await billing.engine.prepare([tool])
        return Counter(billing, stripe, tool)

    yield make
    for billing in opened:
        billing.close()
