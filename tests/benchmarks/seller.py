"""A seller with one paid tool and one caller who has paid, put together from the library's public parts.

Owns the twin servers of a comparison, the bare one and the metered one with the same tool, and the first purchase: be
refused, pay on the hosted page, come back with an API key.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from mcp.server.mcpserver import MCPServer

from stripe_meter import StripeMeter
from stripe_meter.domain.identity import Caller
from stripe_meter.domain.rates import parse_price
from stripe_meter.domain.refusals import Refusal
from stripe_meter.domain.tools import Tool
from stripe_meter.emulator.browser import pay_by_forms
from stripe_meter.settings import Settings

PRICE: Final = "$0.05"
NAME: Final = "summarize"
#: Where our pages would be; nothing needs to listen there.
PAGES: Final = "http://127.0.0.1:9"
#: Settings under which back-pressure never refuses a call.
NO_BOUNDS: Final = {"max_unsent_amount": 10**12, "max_unsent_seconds": 86400.0}

Tooling = Callable[..., Awaitable[Any]]


async def summarize(text: str) -> str:
    """The tool that every comparison calls: it does nothing, so that only what is around it is timed."""
    return text


def billing_at(url: str, **settings: Any) -> StripeMeter:
    """A seller on the stand-in at `url`, who trusts everybody: a loop of calls is faster than any caller would be."""
    values: dict[str, Any] = {"emulator": url, "public_url": PAGES, **NO_BOUNDS, **settings}
    return StripeMeter(settings=Settings(**values))


def bare_server() -> MCPServer[Any]:
    """A server whose tool costs nothing."""
    server: MCPServer[Any] = MCPServer("Bare")
    server.add_tool(summarize)
    return server


def metered_server(billing: StripeMeter) -> tuple[MCPServer[Any], Tooling]:
    """The same server with billing attached, and its metered tool."""
    server: MCPServer[Any] = MCPServer("Metered")
    tool = billing.metered(PRICE)(summarize)
    server.add_tool(tool)
    billing.attach(server)
    return server, tool


async def subscribe(billing: StripeMeter, tool: str = NAME) -> str:
    """Buy as a stranger would, and return the API key."""
    engine = billing.engine
    stranger = Caller(b"a203.0.113.7", client="203.0.113.7")
    refusal = await engine.admit(Tool(tool, parse_price(PRICE)), stranger)
    if not isinstance(refusal, Refusal) or refusal.checkout_url is None:
        raise TypeError(f"a stranger was not shown the way to Checkout but {refusal}")
    back = pay_by_forms(refusal.checkout_url, "4242424242424242", "caller@example.com")
    query = parse_qs(urlsplit(back).query)
    done = await engine.sales.complete(query["session_id"][0], query["claim"][0])
    assert done.key is not None
    return done.key.reveal()


def quiet() -> None:
    """No log lines: the SDK's server puts a handler at INFO on the root logger, which costs a millisecond a line."""
    for name in ("mcp", "fastmcp", "httpx", "httpx2", "uvicorn", "stripe_meter.audit"):
        logging.getLogger(name).setLevel(logging.ERROR)
