"""`MCPServer` of the MCP SDK 2.x.

Owns what attaching means there: one middleware, appended last so that it is nearest to the tools, and the check when
the server's lifespan begins. After construction the SDK offers no public way into the lifespan, so the server's
low-level half is looked for by its private name; where it is not found, the check runs with the first message.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.types import CallToolRequestParams

from stripe_meter.domain.refusals import Refusal
from stripe_meter.mcp import declared, outside, refusals
from stripe_meter.mcp.attachment import PRICE_KEY, RECEIPT_KEY, Attachment, Listed, codes, end_at_once
from stripe_meter.mcp.declared import Declaration, Looks

if TYPE_CHECKING:
    from mcp.server.context import CallNext, HandlerResult, ServerRequestContext

    from stripe_meter.mcp.attach import Handler


async def listed(server: MCPServer[Any], /) -> Listed:
    """The SDK lists names, schemas and descriptions, no functions; a private name settles what these leave open."""
    tools = await server.list_tools()
    looks = {t.name: Looks(frozenset(t.input_schema.get("properties", ())), t.description or "") for t in tools}
    return declared.match(server, looks).settled(server)


def install(server: MCPServer[Any], attachment: Attachment, /) -> None:
    # A bound method, for CPython calls an object with `__call__` the long way round.
    server.middleware.append(_Middleware(attachment).around)
    low_level: Any = getattr(server, "_lowlevel_server", None)
    inner: Any = getattr(low_level, "lifespan", None)
    if not callable(inner):
        return
    started_by = codes(type(server), "run", "run_stdio_async", "run_sse_async", "run_streamable_http_async")

    @asynccontextmanager
    async def checked(low_level: Any) -> AsyncIterator[Any]:
        await attachment.check_at_start(started_by, end_at_once)
        async with inner(low_level) as state:
            yield state

    low_level.lifespan = checked


def add_route(server: MCPServer[Any], path: str, methods: list[str], handler: Handler, /) -> None:
    server.custom_route(path, methods, include_in_schema=False)(handler)


class _Middleware:
    """Around calls: the exchange and its receipt. Around lists: prices. While the check fails, calls are refused."""

    def __init__(self, attachment: Attachment) -> None:
        self._attachment = attachment

    async def around(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        attachment = self._attachment
        if ctx.request_id is None:
            return await call_next(ctx)
        failure = None if attachment.is_checked else await attachment.failure()
        if ctx.method != "tools/call":
            result = await call_next(ctx)
            if ctx.method == "tools/list" and failure is None and isinstance(result, dict):
                _add_prices(result, await attachment.prices())
            return result
        name = str((ctx.params or {}).get("name"))
        if failure is not None:
            return refusals.as_text(attachment.refusal(name))
        if name not in attachment.names:
            await attachment.look_for(name)
        mine = attachment.exchange(name)
        try:
            result = await (call_next(ctx) if mine.sold is None else self._run(mine.sold, ctx, call_next))
            # The SDK has put it in its wire form; a question is no answer.
            if isinstance(result, dict) and not result.get("isError"):
                mine.answered = result.get("resultType") != "input_required"
        finally:
            mine.close()
        if mine.charged and mine.engine.thread.waits:
            await mine.delivered()
        receipt = attachment.receipt(mine)
        if receipt is not None and isinstance(result, dict):
            result["_meta"] = {**(result.get("_meta") or {}), RECEIPT_KEY: receipt}
        return result

    async def _run(self, sold: Declaration, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        params = CallToolRequestParams.model_validate(ctx.params)
        context: Context[Any, Any] = Context(request_context=ctx, input_params=params)
        result = await outside.serve(sold, context, params.arguments, lambda: call_next(ctx))
        return await refusals.refuse(context, result, may_ask=True) if isinstance(result, Refusal) else result


def _add_prices(result: dict[str, Any], prices: dict[str, dict[str, Any]]) -> None:
    for tool in result.get("tools", ()):
        if tool["name"] in prices:
            tool["_meta"] = {**(tool.get("_meta") or {}), PRICE_KEY: prices[tool["name"]]}
