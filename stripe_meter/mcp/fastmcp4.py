"""Standalone `FastMCP` 4.

Owns what attaching means there: one middleware, added last so that it is nearest to the tools, and an extension whose
lifespan is where the check runs before anything is served. Both are public API. Below a parent that somebody else
runs, FastMCP leaves extensions to the parent, and the check runs with the first message.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastmcp import FastMCP
from fastmcp.server.extensions import ServerExtension
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from fastmcp.tools.base import InputRequiredToolResult, Tool, ToolResult
from mcp.types import CallToolResult

from stripe_meter.mcp import declared, refusals
from stripe_meter.mcp.attachment import PRICE_KEY, RECEIPT_KEY, Attachment, Listed, codes, end_by_exit
from stripe_meter.mcp.declared import Declaration, Looks

if TYPE_CHECKING:
    import mcp.types as mt

    from stripe_meter.mcp.attach import Handler


async def listed(server: FastMCP[Any], /) -> Listed:
    """FastMCP lists the functions themselves, except for tools of mounted servers, which are found by name."""
    tools = await server.list_tools(run_middleware=False)
    found: dict[str, Declaration | None] = {}
    mounted: dict[str, Looks] = {}
    for tool in tools:
        function = getattr(tool, "fn", None)
        if function is None:
            mounted[tool.name] = Looks(frozenset(tool.parameters.get("properties", ())), tool.description or "")
        else:
            found[tool.name] = declared.behind(function)
    return {**found, **declared.match(server, mounted)}


def install(server: FastMCP[Any], attachment: Attachment, /) -> None:
    server.add_middleware(_Middleware(attachment))
    server.add_extension(_Extension(attachment))


def add_route(server: FastMCP[Any], path: str, methods: list[str], handler: Handler, /) -> None:
    server.custom_route(path, methods, include_in_schema=False)(handler)


class _Extension(ServerExtension):
    """Tells clients that tools have prices, and checks before the first of them can ask."""

    identifier = "stripe-meter/billing"

    def __init__(self, attachment: Attachment) -> None:
        self._attachment = attachment

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        return self._checked()

    @asynccontextmanager
    async def _checked(self) -> AsyncIterator[None]:
        started_by = codes(type(self.server), "run", "run_async", "run_stdio_async", "run_http_async")
        await self._attachment.check_at_start(started_by, end_by_exit)
        yield


class _Middleware(Middleware):
    """Around every request: this engine serves it. Around calls: receipts. Around lists: prices."""

    def __init__(self, attachment: Attachment) -> None:
        self._attachment = attachment

    async def on_request(self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]) -> Any:
        with self._attachment.serving():
            return await call_next(context)

    async def on_call_tool(
        self,
        context: MiddlewareContext[mt.CallToolRequestParams],
        call_next: CallNext[mt.CallToolRequestParams, ToolResult],
    ) -> ToolResult:
        name = context.message.name
        if await self._attachment.failure() is not None:
            return ToolResult.from_mcp_result(refusals.as_text(self._attachment.refusal(name)))
        answer = await self._attachment.answer(name, lambda: call_next(context), _is_error)
        result: ToolResult = answer.result
        return result if answer.receipt is None else _with_receipt(result, answer.receipt)

    async def on_list_tools(
        self,
        context: MiddlewareContext[mt.ListToolsRequest],
        call_next: CallNext[mt.ListToolsRequest, Sequence[Tool]],
    ) -> Sequence[Tool]:
        tools = await call_next(context)
        prices = await self._attachment.prices()
        return [_priced(tool, prices[tool.name]) if tool.name in prices else tool for tool in tools]


def _priced(tool: Tool, price: dict[str, Any]) -> Tool:
    return tool.model_copy(update={"meta": {**(tool.meta or {}), PRICE_KEY: price}})


def _with_receipt(result: ToolResult, receipt: dict[str, Any]) -> ToolResult:
    meta = {**(result.meta or {}), RECEIPT_KEY: receipt}
    raw = result.to_mcp_result()
    if isinstance(raw, CallToolResult):
        return ToolResult.from_mcp_result(raw.model_copy(update={"meta": meta}))
    result.meta = meta
    return result


def _is_error(result: ToolResult) -> bool:
    return result.is_error or isinstance(result, InputRequiredToolResult)
