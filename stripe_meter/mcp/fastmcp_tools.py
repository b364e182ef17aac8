"""What attaching means on every line of standalone FastMCP.

Owns finding the tools and the middleware, which is added last so that it is nearest to the tools. Only the way to what
stands behind a mounted tool is private, and where it is not found, the tool's looks decide. The lines differ in how a
refusal and a receipt become a result and in where the check runs before anything is served: `fastmcp3` and `fastmcp4`
own that. While the check fails, every call is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from fastmcp import FastMCP
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from fastmcp.tools.base import Tool, ToolResult

from stripe_meter.domain.refusals import Refusal
from stripe_meter.mcp import declared, outside, refusals
from stripe_meter.mcp.attachment import PRICE_KEY, Attachment, Listed, attachments
from stripe_meter.mcp.declared import Declaration, Looks

if TYPE_CHECKING:
    import mcp.types as mt
    from mcp.types import InputRequiredResult

    from stripe_meter.mcp.attach import Handler


class Results(Protocol):
    """How one line of FastMCP writes its results."""

    def refused(self, refusal: Refusal, /) -> ToolResult: ...

    def question(self, question: InputRequiredResult, /) -> ToolResult: ...

    def with_receipt(self, result: ToolResult, receipt: dict[str, Any], /) -> ToolResult: ...

    def is_error(self, result: ToolResult, /) -> bool: ...


async def listed(server: FastMCP[Any], /) -> Listed:
    """FastMCP lists the functions themselves, except for tools of mounted servers, which say where they come from."""
    found: dict[str, Declaration | None] = {}
    unknown: dict[str, Looks] = {}
    sold_below: dict[str, Declaration] = {}
    remote: set[str] = set()
    for tool in await server.list_tools(run_middleware=False):
        owner, original = await _below(server, tool)
        if owner is not server and (sold := await _outside(owner, original)) is not None:
            sold_below[tool.name] = sold
        function = getattr(original, "fn", None)
        if _is_remote(original):
            remote.add(tool.name)
        if function is None:
            unknown[tool.name] = Looks(frozenset(tool.parameters.get("properties", ())), tool.description or "")
        else:
            found[tool.name] = declared.behind(function)
    matches = declared.match(server, unknown)
    matches.update(found)
    matches.bare = frozenset(remote)
    for name, declaration in sold_below.items():
        matches[name] = matches.get(name) or declaration
    return matches.known_by_name()


async def _below(server: FastMCP[Any], tool: Tool | None) -> tuple[FastMCP[Any], Tool | None]:
    """The mounted server, however deep, and its tool that `tool` stands for; else these two themselves."""
    while tool is not None:
        child, name = getattr(tool, "_server", None), getattr(tool, "_original_name", None)
        if not isinstance(child, FastMCP) or not isinstance(name, str):
            break
        server, tool = child, await child.get_tool(name)
    return server, tool


def _is_remote(tool: Tool | None) -> bool:
    """Whether the tool stands for one of another server, whose functions are most likely not ours."""
    return any(base.__name__ == "ProxyTool" for base in type(tool).__mro__)


async def _outside(owner: FastMCP[Any], tool: Tool | None) -> Declaration | None:
    """What the price list of an attached mounted server sells; whoever answers the client meters it."""
    attachment = attachments.get(owner)
    found = None if attachment is None or tool is None else await attachment.outside(tool.name)
    return None if found is None or attachment is None else replace(found, billing=found.billing or attachment)


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
        if name not in self._attachment.names:
            await self._attachment.look_for(name)
        mine = self._attachment.exchange(name)
        try:
            result = await (call_next(context) if mine.sold is None else self._run(mine.sold, context, call_next))
            mine.answered = not self._results.is_error(result)
        finally:
            mine.close()
            if mine.charged and mine.engine.thread.waits:
                await mine.delivered()
        receipt = self._attachment.receipt(mine)
        return result if receipt is None else self._results.with_receipt(result, receipt)

    async def _run(
        self,
        sold: Declaration,
        context: MiddlewareContext[mt.CallToolRequestParams],
        call_next: CallNext[mt.CallToolRequestParams, ToolResult],
    ) -> ToolResult:
        message, ctx = context.message, context.fastmcp_context
        result = await outside.serve(sold, ctx, message.arguments, lambda: call_next(context))
        if not isinstance(result, Refusal):
            return result
        question = await refusals.ask(ctx, result)
        return self._results.refused(result) if question is None else self._results.question(question)

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
