"""What attaching means on every line of standalone FastMCP.

Owns finding the tools and the middleware, which is added last so that it is nearest to the tools. Only the way to what
stands behind a mounted tool is private, and where it is not found, the tool's looks decide. The lines differ in how a
refusal and a receipt become a result and in where the check runs before anything is served: `fastmcp3` and `fastmcp4`
own that. While the check fails, every call is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from fastmcp import FastMCP
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from fastmcp.tools.base import Tool, ToolResult

from stripe_meter.mcp import declared
from stripe_meter.mcp.attachment import PRICE_KEY, Attachment, Listed
from stripe_meter.mcp.declared import Declaration, Looks

if TYPE_CHECKING:
    import mcp.types as mt

    from stripe_meter.domain.refusals import Refusal
    from stripe_meter.mcp.attach import Handler


class Results(Protocol):
    """How one line of FastMCP writes its results."""

    def refused(self, refusal: Refusal, /) -> ToolResult: ...

    def with_receipt(self, result: ToolResult, receipt: dict[str, Any], /) -> ToolResult: ...

    def is_error(self, result: ToolResult, /) -> bool: ...


async def listed(server: FastMCP[Any], /) -> Listed:
    """FastMCP lists the functions themselves, except for tools of mounted servers, which say where they come from."""
    found: dict[str, Declaration | None] = {}
    unknown: dict[str, Looks] = {}
    for tool in await server.list_tools(run_middleware=False):
        original = await _below(tool)
        function = getattr(original, "fn", None)
        if function is None:
            unknown[tool.name] = Looks(frozenset(tool.parameters.get("properties", ())), tool.description or "")
        else:
            found[tool.name] = declared.behind(function)
    return {**found, **declared.match(server, unknown)}


async def _below(tool: Tool | None) -> Tool | None:
    """The tool of the mounted server that `tool` stands for, however deep; else `tool` itself."""
    while tool is not None:
        child, name = getattr(tool, "_server", None), getattr(tool, "_original_name", None)
        if not isinstance(child, FastMCP) or not isinstance(name, str):
            return tool
        tool = await child.get_tool(name)
    return None


def add_route(server: FastMCP[Any], path: str, methods: list[str], handler: Handler, /) -> None:
    server.custom_route(path, methods, include_in_schema=False)(handler)


class BillingMiddleware(Middleware):
    """Around calls: the exchange and its receipt. Around lists: prices."""

    def __init__(self, attachment: Attachment, results: Results) -> None:
        self._attachment = attachment
        self._results = results

    async def on_call_tool(
        self,
        context: MiddlewareContext[mt.CallToolRequestParams],
        call_next: CallNext[mt.CallToolRequestParams, ToolResult],
    ) -> ToolResult:
        name = context.message.name
        if await self._attachment.failure() is not None:
            return self._results.refused(self._attachment.refusal(name))
        with self._attachment.exchange(name) as mine:
            result = await call_next(context)
            mine.answered = not self._results.is_error(result)
        receipt = await self._attachment.receipt(mine)
        return result if receipt is None else self._results.with_receipt(result, receipt)

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
