"""Standalone `FastMCP` 3, which rests on the MCP SDK 1.x.

Owns a provider without tools, whose lifespan is where the check runs before anything is served (below a parent, too),
and the results of this line; all public API. A server that answers in JSON cannot ask its client while a call runs.
This line tells so only where its settings do (`FASTMCP_JSON_RESPONSE`); with `run(json_response=True)` a client that
can open links is asked in vain, once for each link, and gets the text after our patience has run out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastmcp import FastMCP
from fastmcp.exceptions import ToolError
from fastmcp.server.providers import Provider
from fastmcp.tools.base import ToolResult

from stripe_meter.mcp.attachment import RECEIPT_KEY, Attachment, codes, end_by_exit
from stripe_meter.mcp.fastmcp_tools import BillingMiddleware, add_route, listed
from stripe_meter.mcp.refusals import as_text

if TYPE_CHECKING:
    from stripe_meter.domain.refusals import Refusal

__all__ = ["add_route", "install", "listed"]


def install(server: FastMCP[Any], attachment: Attachment, /) -> None:
    server.add_middleware(BillingMiddleware(attachment, _Results()))
    server.add_provider(_Check(type(server), attachment))


def refused(refusal: Refusal) -> ToolResult:
    """The refusal as a tool may return it; a `CallToolResult` would be serialised as data.

    Raises `ToolError` before 3.4, which has no result that is an error: text and link arrive, data in `_meta` do not.
    """
    if "is_error" not in ToolResult.model_fields:
        raise ToolError(refusal.text)
    answer = as_text(refusal)
    return ToolResult(content=answer.content, meta=answer.meta, is_error=True)


class _Check(Provider):
    """Provides nothing; it is there when the server starts."""

    def __init__(self, kind: type, attachment: Attachment) -> None:
        super().__init__()
        self._started_by = codes(kind, "run", "run_async", "run_stdio_async", "run_http_async")
        self._attachment = attachment

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        await self._attachment.check_at_start(self._started_by, end_by_exit)
        yield


class _Results:
    def refused(self, refusal: Refusal, /) -> ToolResult:
        return refused(refusal)

    def question(self, question: object, /) -> ToolResult:
        raise AssertionError("this line's clients are asked while the call runs")

    def with_receipt(self, result: ToolResult, receipt: dict[str, Any], /) -> ToolResult:
        result.meta = {**(result.meta or {}), RECEIPT_KEY: receipt}
        return result

    def is_error(self, result: ToolResult, /) -> bool:
        return bool(getattr(result, "is_error", False))  # the handle of a background task is a result without it
