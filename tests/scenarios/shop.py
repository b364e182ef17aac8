"""A seller's MCP server and its callers, as a story needs them.

Owns the server (the public API alone, as an author writes it), the client that calls it over HTTP, and what a caller
reads in an answer. No socket is opened: the HTTP stays in this process.
"""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from httpx2 import ASGITransport, AsyncClient
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import TextContent

from stripe_meter import StripeMeter, metered
from stripe_meter.domain.identity import ApiKey
from stripe_meter.domain.plans import Plan
from stripe_meter.domain.usage import Call
from stripe_meter.gateway.checkout import Order
from tests.conftest import caught_up

#: A text that every tool of the shop fails on.
BROKEN: Final = "broken"
_ADDRESS: Final = "http://127.0.0.1:8000"
_FIELD: Final = {name: re.compile(rf'name="{name}" value="([^"]+)"') for name in ("token", "choice")}
_SHOWN_KEY: Final = re.compile(r'id="api-key"[^>]*>([^<]+)<')


@dataclass(frozen=True)
class Priced:
    """A tool of which more is to say than its price.

    Attributes:
        price: As `@metered` takes it.
        units: Counts the pieces of a call.
        max_units: Most of them that one call is charged.
        feature: What the caller's plan has to unlock.
        work: What the tool makes of its text.
    """

    price: str | tuple[str, ...]
    units: Callable[[Call], int] | None = None
    max_units: int | None = None
    feature: str | None = None
    work: Callable[[str], str] = str.upper


Price = str | tuple[str, ...] | Priced


@dataclass(frozen=True)
class Answer:
    """What a caller sees of one call.

    Attributes:
        text: For people.
        is_error: The tool failed, or the call was refused.
        refusal: Why it was refused and where to pay, or nothing.
        receipt: What it will cost, or nothing.
    """

    text: str
    is_error: bool
    refusal: dict[str, Any]
    receipt: dict[str, Any]

    @property
    def link(self) -> str:
        """Where a person can pay."""
        return str(self.refusal["checkout_url"])

    @property
    def cost(self) -> str:
        """What was charged: `5 usd` in minor units, `3 credits`, `free call`; `free` when nothing was."""
        if not self.receipt.get("charged"):
            return "free"
        if self.receipt.get("paid_from") == "allowance":
            return "free call"
        if "credits" in self.receipt:
            return f"{self.receipt['credits']} credits"
        return f"{self.receipt['amount']} {self.receipt['currency']}"


class Shop:
    """One run of the server: another one is another process, which knows nothing of what the first one knew."""

    def __init__(self, plans: Sequence[Plan] | None = None, spend_cap: str | None = None) -> None:
        self.billing = StripeMeter(plans, spend_cap=spend_cap)
        self.server: MCPServer[Any] = MCPServer("Research tools")
        self.billing.attach(self.server)
        self.tools: list[str] = []
        self._http: Any = None

    def sell(self, name: str, price: Price) -> None:
        """Put a tool on sale: it answers its text in capitals, unless told otherwise, and fails on a broken one."""
        terms = price if isinstance(price, Priced) else Priced(price)

        async def tool(text: str) -> str:
            if text == BROKEN:
                raise ToolError("there is no such page")
            return terms.work(text)

        tool.__name__ = name
        sold = metered(terms.price, units=terms.units, max_units=terms.max_units, feature=terms.feature)
        self.server.tool()(sold(tool))
        self.tools.append(name)

    def order(self, plan: str) -> Order:
        """What a caller who buys this plan puts into their basket."""
        return self.billing.engine.order(next(p for p in self.billing.engine.offering.plans if p.name == plan))

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Shop]:
        """Serve until this ends; then all usage is at Stripe."""
        self._http = self.server.streamable_http_app()
        try:
            async with self.server.session_manager.run():
                try:
                    if self.billing.engine.offering.credits is not None:
                        await self._catch_up()
                    yield self
                finally:
                    self.billing.close()
        except BaseExceptionGroup as group:
            # The server's task group wraps what went wrong in the story; the reader wants the thing itself.
            raise group.exceptions[0] from None

    async def _catch_up(self) -> None:
        """Let a server that sells credits look for money that came while it was away, before its callers come."""
        await self.prices()
        await caught_up(self.billing.engine)

    async def call(self, tool: str, text: str = "a page", *, key: ApiKey | None = None) -> Answer:
        """One call by an MCP client of its own; with `key` in its header, else by a stranger."""
        headers = {"x-api-key": key.reveal()} if key is not None else {}
        async with (
            self._browser(headers) as http,
            Client(streamable_http_client(f"{_ADDRESS}/mcp", http_client=http)) as client,
        ):
            result = await client.call_tool(tool, {"text": text})
        said = " ".join(block.text for block in result.content if isinstance(block, TextContent))
        meta = result.meta or {}
        refusal, receipt = meta.get("stripe-meter/payment-required", {}), meta.get("stripe-meter/receipt", {})
        return Answer(said, bool(result.is_error), refusal, receipt)

    async def calls(self, count: int, tool: str, text: str = "a page", *, key: ApiKey | None = None) -> None:
        """So many calls, one after the other, each of them served and charged."""
        for _ in range(count):
            answer = await self.call(tool, text, key=key)
            assert not answer.is_error, answer.text
            assert answer.receipt["charged"], answer.text

    async def prices(self) -> dict[str, str]:
        """What the list of tools says about their prices."""
        async with (
            self._browser({}) as http,
            Client(streamable_http_client(f"{_ADDRESS}/mcp", http_client=http)) as client,
        ):
            tools = (await client.list_tools()).tools
        return {tool.name: str((tool.meta or {})["stripe-meter/price"]["text"]) for tool in tools}

    async def key_on(self, page: str) -> ApiKey | None:
        """The API key that the success page shows to the payer's browser, or None."""
        async with self._browser({}) as browser:
            shown = _SHOWN_KEY.search((await browser.get(f"{_ADDRESS}{page}")).text)
        return None if shown is None else ApiKey.parse(html.unescape(shown[1]))

    async def first_of(self, link: str) -> str:
        """Stripe's page for the first thing on offer, where a link leads to the page on which one chooses."""
        if "/billing/plans?" not in link:
            return link
        async with self._browser({}) as browser:
            page = (await browser.get(link)).text
            fields = {name: html.unescape(_FIELD[name].findall(page)[0]) for name in ("token", "choice")}
            return (await browser.post(f"{_ADDRESS}/billing/checkout", data=fields)).headers["location"]

    def _browser(self, headers: dict[str, str]) -> AsyncClient:
        return AsyncClient(transport=ASGITransport(app=self._http), headers=headers, timeout=30)
