"""The tour of `stripe-meter demo`: one paid tool from its price to the invoice, each step checked as it is told.

Owns the order of the steps and what makes each of them true. Talks to the demo server as any MCP client does and to
the stand-in as to Stripe; believes only what it reads there. The first step that is untrue ends it with `StepFailed`.
"""

from __future__ import annotations

import html
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread
from httpx2 import AsyncClient
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, TextContent

from stripe_meter.cli import standin
from stripe_meter.cli.demo_server import SUMMARIES
from stripe_meter.domain.identity import ApiKey
from stripe_meter.domain.money import Money
from stripe_meter.errors import StripeMeterError
from stripe_meter.mcp.attachment import PRICE_KEY, RECEIPT_KEY
from stripe_meter.mcp.refusals import META_KEY

if TYPE_CHECKING:
    from stripe_meter.cli.output import Teller
    from stripe_meter.domain.rates import Rate
    from stripe_meter.emulator import EmulatorServer

CARD: Final = "4242 4242 4242 4242"
TOOL: Final = "summarize"
EVENT_NAME: Final = f"mcp.{TOOL}"

_METER_EVENTS: Final = "/v1/billing/meter_events"
_PAGE: Final = next(iter(SUMMARIES))
_NO_PAGE: Final = "https://example.com/nowhere"
_KEY: Final = re.compile(r'<code\b[^>]*\bid="api-key"[^>]*>([^<]+)</code>')
#: Calls under way at once; more only make the two cores wait for each other.
_CALLERS: Final = 8
_CALL_SECONDS: Final = 30.0
#: Usage merges for 0.4 s before it is sent; whatever a failed call had put on the meter would be here after this.
_QUIET_SECONDS: Final = 1.0
_DELIVERY_SECONDS: Final = 15.0
_CLICK_SECONDS: Final = 900.0
_LOOK_EVERY: Final = 0.05
_BAR: Final = 10


class StepFailed(StripeMeterError):
    """A step of the tour is not true."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to show: `calls` billed calls, then `failures` that are free, at `price`, which reads as `rate`."""

    calls: int
    failures: int
    price: str
    rate: Rate


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was seen; amounts are minor units of `currency`."""

    refused_before_payment: bool
    checkout_url: str
    customer: str
    calls_billed: int
    calls_failed_unbilled: int
    meter_total: int
    meter_events_sent: int
    amount_due: int
    amount_charged: int
    currency: str
    invoice: str
    stripe_requests_per_warm_call: float


@dataclass(frozen=True, slots=True)
class Buyer:
    """Who paid, and a key of theirs."""

    customer: str
    key: ApiKey


class Tour:
    """One run through the story.

    Attributes:
        buyer: Known from step 3 on.
    """

    def __init__(self, order: Order, stand_in: EmulatorServer, server: str, teller: Teller) -> None:
        self._order = order
        self._stand_in = stand_in
        self._server = server
        self._teller = teller
        self.buyer: Buyer | None = None

    async def run(self, by_hand: Callable[[str], Buyer | None] | None = None) -> Outcome:
        """Take all steps.

        Args:
            by_hand: Called again and again with the Checkout link until it tells who has paid; the tour pays itself
                without one.

        Raises:
            StepFailed: With the sentence of the step that is not true.
        """
        async with self._client() as anybody:
            await self._for_sale(anybody)
            url = await self._refused(anybody)
        buyer = self.buyer = await (self._paid(url) if by_hand is None else self._paid_by_hand(url, by_hand))
        async with self._client(buyer.key) as client:
            await self._same_call(client)
            before = self._requests()
            await self._more_calls(client)
            await self._failures(client)
        asked = self._requests() - before
        total, events = await self._metered(buyer)
        invoice = await self._invoiced(buyer, total)
        warm = self._order.calls - 1 + self._order.failures
        return Outcome(
            refused_before_payment=True,
            checkout_url=url,
            customer=buyer.customer,
            calls_billed=self._order.calls,
            calls_failed_unbilled=self._order.failures,
            meter_total=total,
            meter_events_sent=events,
            amount_due=int(invoice["total"]),
            amount_charged=int(invoice["amount_paid"]),
            currency=str(invoice["currency"]),
            invoice=str(invoice["id"]),
            stripe_requests_per_warm_call=asked / warm if asked else 0,
        )

    async def _for_sale(self, client: Client) -> None:
        tools = (await client.list_tools()).tools
        prices = {tool.name: str(((tool.meta or {}).get(PRICE_KEY) or {}).get("text")) for tool in tools}
        _need(1, prices.get(TOOL) == str(self._order.rate), f"{TOOL} is listed at {prices.get(TOOL)}")
        self._teller.step(1, "What is for sale", " · ".join(f"{name} {price}" for name, price in prices.items()))

    async def _refused(self, client: Client) -> str:
        result = await _call(client, _PAGE)
        data = (result.meta or {}).get(META_KEY)
        _need(2, result.is_error and data is not None, "a caller who has not paid was served")
        url = str((data or {}).get("checkout_url"))
        _need(2, url.startswith(self._stand_in.url) and url in _text(result), "the refusal carries no link")
        self._teller.step(2, "Call before paying", f'refused: "{_text(result)}"', "✗")
        return url

    async def _paid(self, url: str) -> Buyer:
        try:
            back = await anyio.to_thread.run_sync(
                lambda: self._stand_in.complete_checkout(url, CARD.replace(" ", ""), "you@example.com")
            )
        except (ValueError, RuntimeError, OSError) as error:
            raise StepFailed(f"step 3 is not true: the Checkout page did not take the card: {error}") from None
        _need(3, back.startswith(f"{self._server}/"), f"Checkout leads to {back}, which is not the server's page")
        shown = _KEY.search(await anyio.to_thread.run_sync(standin.page, back))
        key = ApiKey.parse(html.unescape(shown[1])) if shown is not None else None
        if key is None:
            raise StepFailed("step 3 is not true: the success page shows no API key")
        self._teller.step(3, "Checkout", f"paid with {CARD} → customer {key.customer}, key {key.masked}", "✓")
        return Buyer(key.customer, key)

    async def _paid_by_hand(self, url: str, look: Callable[[str], Buyer | None]) -> Buyer:
        self._teller.step(3, "Checkout", f"your turn: open {url} and pay with {CARD}")
        with anyio.move_on_after(_CLICK_SECONDS):
            while True:
                buyer = await anyio.to_thread.run_sync(look, url)
                if buyer is not None:
                    break
                await anyio.sleep(10 * _LOOK_EVERY)
            self._teller.step(3, "Checkout", f"paid by you, customer {buyer.customer}", "✓")
            self._teller.line(f"   Your browser shows you a key; the tour goes on with another one, {buyer.key.masked}")
            return buyer
        raise StepFailed(f"step 3 is not true: nobody paid within {_CLICK_SECONDS / 60:.0f} minutes")

    async def _same_call(self, client: Client) -> None:
        result = await _call(client, _PAGE)
        _need(4, not result.is_error, f"the paid call failed: {_text(result)}")
        receipt = self._billed(4, result)
        self._teller.step(4, "The same call", f'"{_text(result)}"   receipt: {receipt}', "✓")

    async def _more_calls(self, client: Client) -> None:
        count = self._order.calls - 1
        before, began = self._requests(), time.perf_counter()

        async def call() -> None:
            self._billed(5, await _call(client, _PAGE))

        await _repeat(count, call)
        took, asked = time.perf_counter() - began, self._requests() - before
        _need(5, asked == 0, f"{asked} requests went to Stripe while {count} calls were served")
        if count:
            each = f"{took / count * 1000:.1f} ms each over HTTP"
            self._teller.step(5, f"{count:,} more", f"{_calls(count)}, {each}, requests to Stripe 0", "✓")

    async def _failures(self, client: Client) -> None:
        count = self._order.failures
        said = ""

        async def call() -> None:
            nonlocal said
            result = await _call(client, _NO_PAGE)
            said = _text(result)
            _need(6, result.is_error and META_KEY not in (result.meta or {}), "the tool did not fail")
            _need(6, not _receipt(result).get("charged"), "a call that failed was charged")

        await _repeat(count, call)
        if count:
            title = "One that fails" if count == 1 else f"{count:,} that fail"
            self._teller.step(6, title, f'tool error "{said}" – not charged', "✗")

    async def _metered(self, buyer: Buyer) -> tuple[int, int]:
        events = await self._delivered()
        await anyio.to_thread.run_sync(self._stand_in.settle)
        total = await anyio.to_thread.run_sync(self._summed, buyer.customer)
        _need(7, total == self._expected, f"the meter says {total}, not {self._expected}")
        bar = "█" * max(1, min(_BAR, total))
        sent = f"{_calls(self._order.calls)} in {events} meter event{'' if events == 1 else 's'}"
        self._teller.step(7, "On the meter", f"{bar} {total:,} {TOOL}   ({sent})")
        return total, events

    async def _delivered(self) -> int:
        """Wait until the usage has come and no more is coming; the number of meter events."""
        seen, since = -1, time.monotonic()
        give_up = since + _DELIVERY_SECONDS
        while True:
            sent = [int(r.body["payload"]["value"]) for r in self._meter_events() if r.status == 200]
            now = time.monotonic()
            if len(sent) != seen:
                seen, since = len(sent), now
            if sum(sent) >= self._expected and now - since >= _QUIET_SECONDS:
                return len(sent)
            _need(7, now < give_up, f"of {self._expected} only {sum(sent)} reached the meter")
            await anyio.sleep(_LOOK_EVERY)

    def _summed(self, customer: str) -> int:
        url = self._stand_in.url
        meters = standin.read(url, "billing/meters", limit=100)["data"]
        meter = next((row["id"] for row in meters if row["event_name"] == EVENT_NAME), None)
        if meter is None:
            raise StepFailed(f"step 7 is not true: there is no meter {EVENT_NAME}")
        now = int(self._stand_in.emulator.clock.now())
        start, end = (now - 86_400) // 60 * 60, now // 60 * 60 + 120
        path = f"billing/meters/{meter}/event_summaries"
        rows = standin.read(url, path, customer=customer, start_time=start, end_time=end)["data"]
        return int(sum(Decimal(str(row["aggregated_value"])) for row in rows))

    async def _invoiced(self, buyer: Buyer, total: int) -> dict[str, Any]:
        invoice, balance = await anyio.to_thread.run_sync(self._end_month, buyer.customer)
        exact = self._order.rate.money(total)
        due = Money(Decimal(invoice["total"]), exact.currency)
        _need(8, due.minor == exact.rounded(), f"the invoice says {due}, not {exact} rounded")
        _need(8, invoice["status"] == "paid", f"the invoice is {invoice['status']}")
        amount = str(exact) if exact.minor == due.minor else f"{exact}, rounded to {due}"
        left = due.minor - invoice["amount_paid"]
        if left:
            _need(8, balance == left, f"{due} were neither charged nor owed")
            how = f"below Stripe's smallest charge, so {Money(left, due.currency)} is owed with the next invoice"
        else:
            how = "paid" if due.minor else "nothing to pay"
        unit = Money(self._order.rate.unit_amount, exact.currency)
        text = f"clock moved one month → invoice {invoice['id']}: {total:,} × {unit} = {amount}, {how}"
        self._teller.step(8, "End of the month", text)
        return invoice

    def _end_month(self, customer: str) -> tuple[dict[str, Any], int]:
        url, clock = self._stand_in.url, self._stand_in.emulator.clock
        subscriptions = standin.read(url, "subscriptions", customer=customer)["data"]
        _need(8, len(subscriptions) == 1, f"{customer} has {len(subscriptions)} subscriptions")
        ends = max(item["current_period_end"] for item in subscriptions[0]["items"]["data"])
        self._stand_in.advance(ends - clock.now() + self._stand_in.emulator.switches.grace + 60)
        invoices = standin.read(url, "invoices", customer=customer)["data"]
        _need(8, len(invoices) == 1, f"{customer} has {len(invoices)} invoices")
        return invoices[0], int(standin.read(url, f"customers/{customer}")["balance"])

    @property
    def _expected(self) -> int:
        return self._order.calls * self._order.rate.quantity(1)

    def _billed(self, step: int, result: CallToolResult) -> str:
        receipt = _receipt(result)
        wanted = str(self._order.rate.money(self._order.rate.quantity(1)))
        _need(step, not result.is_error and receipt.get("charged"), f"a call was not served: {_text(result)}")
        _need(step, receipt.get("text") == wanted, f"the receipt says {receipt.get('text')}, not {wanted}")
        return wanted

    def _meter_events(self) -> list[Any]:
        return [record for record in self._stand_in.emulator.requests if record.path == _METER_EVENTS]

    def _requests(self) -> int:
        """Requests so far, without the meter events."""
        return len(self._stand_in.emulator.requests) - len(self._meter_events())

    @asynccontextmanager
    async def _client(self, key: ApiKey | None = None) -> AsyncIterator[Client]:
        headers = {"x-api-key": key.reveal()} if key is not None else {}
        async with (
            AsyncClient(headers=headers, timeout=_CALL_SECONDS) as http,
            Client(streamable_http_client(f"{self._server}/mcp", http_client=http)) as client,
        ):
            yield client


async def _call(client: Client, page: str) -> CallToolResult:
    return await client.call_tool(TOOL, {"url": page}, read_timeout_seconds=_CALL_SECONDS)


async def _repeat(count: int, call: Callable[[], Any]) -> None:
    left = count

    async def work() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await call()

    async with anyio.create_task_group() as tasks:
        for _ in range(min(_CALLERS, count)):
            tasks.start_soon(work)


def _need(step: int, is_true: object, otherwise: str) -> None:
    if not is_true:
        raise StepFailed(f"step {step} is not true: {otherwise}")


def _receipt(result: CallToolResult) -> dict[str, Any]:
    receipt: dict[str, Any] = (result.meta or {}).get(RECEIPT_KEY) or {}
    return receipt


def _text(result: CallToolResult) -> str:
    return " ".join(block.text for block in result.content if isinstance(block, TextContent))


def _calls(count: int) -> str:
    return "1 call" if count == 1 else f"{count:,} calls"
