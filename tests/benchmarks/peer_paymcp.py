"""The PayMCP half of `peers`: run by the Python of an environment that has it, prints one JSON object.

    PYTHON peer_paymcp.py STUB_URL

A paid tool in resubmit mode, where each call is paid by a Checkout session of its own, and a tool behind a
subscription, which is the nearer relative of ours. The client is the SDK's own, in memory. The caller's identity goes
where PayMCP looks for it, into the `_meta` of the call.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import statistics
import sys
import time
from importlib import import_module
from importlib.metadata import version
from typing import Any, Final
from urllib.request import urlopen

CALLS: Final = 10
_TICK: Final = 0.002
_IDENTITY: Final = {"authInfo": {"userId": "user_1"}}


def build(stub: str) -> Any:
    """The server: bare, paid, and behind a subscription."""
    paymcp = import_module("paymcp")
    provider = import_module("paymcp.providers.stripe")
    vars(provider)["BASE_URL"] = f"{stub}/v1"
    server = import_module("mcp.server.fastmcp").FastMCP("PayMCP")
    context = import_module("mcp.server.fastmcp").Context
    key = "sk_test_stub"
    paymcp.PayMCP(server, providers=[provider.StripeProvider(api_key=key)], mode=paymcp.Mode.RESUBMIT)

    async def bare(text: str) -> str:
        return text

    async def paid(text: str, ctx: Any) -> str:
        return text

    async def subscribed(text: str, ctx: Any) -> str:
        return text

    paid.__annotations__["ctx"] = subscribed.__annotations__["ctx"] = context
    server.tool()(bare)
    server.tool()(paymcp.price(price=0.5, currency="USD")(paid))
    server.tool()(paymcp.subscription(plan="price_1")(subscribed))
    return server


class Caller:
    """A connected client that measures."""

    def __init__(self, session: Any, stub: str) -> None:
        self._session = session
        self._stub = stub

    async def call(self, tool: str, **arguments: Any) -> str:
        result = await self._session.call_tool(tool, {"text": "x", **arguments}, meta=_IDENTITY)
        return str(result.content[0].text)

    async def paid_call(self) -> None:
        """Ask, take the payment's id from the refusal, ask again."""
        refused = await self.call("paid")
        found = re.search(r"Payment ID: (\S+)", refused)
        if found is None:
            raise RuntimeError(f"no payment id in {refused!r}")
        answer = await self.call("paid", payment_id=found[1])
        if answer != "x":
            raise RuntimeError(f"paid, but answered {answer!r}")

    async def subscribed_call(self) -> None:
        answer = await self.call("subscribed")
        if answer != "x":
            raise RuntimeError(f"subscribed, but answered {answer!r}")

    async def measured(self, call: Any) -> dict[str, Any]:
        """Latency, requests and stalls of one kind of call."""
        before, taken = self._tally(), []
        for _ in range(CALLS):
            began = time.perf_counter()
            await call()
            taken.append(1000 * (time.perf_counter() - began))
        after = self._tally()
        began = time.perf_counter()
        await asyncio.gather(*(call() for _ in range(CALLS)))
        together = 1000 * (time.perf_counter() - began)
        return {
            "p50_ms": round(statistics.median(taken), 2),
            "stripe_requests_a_call": (after["requests"] - before["requests"]) / CALLS,
            "connections_a_call": (after["sessions"] - before["sessions"] - 1) / CALLS,
            "ten_callers_ms": round(together, 1),
            "loop_stall_ms": round(await stall(call), 1),
        }

    def _tally(self) -> dict[str, Any]:
        with urlopen(f"{self._stub}/tally", timeout=30) as answer:  # between the measurements
            found: dict[str, Any] = json.loads(answer.read())
            return found


async def stall(call: Any) -> float:
    """Longest lateness of a ticker beside one call, in milliseconds."""
    late: list[float] = [0.0]

    async def tick() -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(_TICK)
            late.append(1000 * (time.perf_counter() - began - _TICK))

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0.05)
    await call()
    await asyncio.sleep(0.05)
    ticking.cancel()
    return max(late)


async def main(stub: str) -> dict[str, Any]:
    """Everything there is to say about PayMCP here."""
    connect = import_module("mcp.shared.memory").create_connected_server_and_client_session
    async with connect(build(stub)._mcp_server) as session:
        caller = Caller(session, stub)
        bare = []
        for _ in range(200):
            began = time.perf_counter()
            await caller.call("bare")
            bare.append(1000 * (time.perf_counter() - began))
        return {
            "versions": {name: version(name) for name in ("paymcp", "mcp")},
            "bare_p50_ms": round(statistics.median(bare), 3),
            "pay_per_call": await caller.measured(caller.paid_call),
            "subscription": await caller.measured(caller.subscribed_call),
        }


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    print(json.dumps(asyncio.run(main(sys.argv[1]))))
