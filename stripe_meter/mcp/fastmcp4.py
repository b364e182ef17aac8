"""Standalone `FastMCP` 4.

Owns an extension, whose lifespan is where the check runs before anything is served, and the results of this line; all
public API. Below a parent that somebody else runs, FastMCP leaves extensions to the parent, and the check runs with
the first message.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastmcp import FastMCP
from fastmcp.server.extensions import ServerExtension
from fastmcp.tools.base import InputRequiredToolResult, ToolResult
from mcp.types import CallToolResult, InputRequiredResult

from stripe_meter.mcp import refusals
from stripe_meter.mcp.attachment import RECEIPT_KEY, Attachment, codes, end_by_exit
from stripe_meter.mcp.fastmcp_tools import BillingMiddleware, add_route, listed

if TYPE_CHECKING:
    from stripe_meter.domain.refusals import Refusal

__all__ = ["add_route", "install", "listed"]


def install(server: FastMCP[Any], attachment: Attachment, /) -> None:
    server.add_middleware(BillingMiddleware(attachment, _Results()))
    server.add_extension(_Extension(attachment))


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


class _Results:
    def refused(self, refusal: Refusal, /) -> ToolResult:
        return ToolResult.from_mcp_result(refusals.as_text(refusal))

    def question(self, question: InputRequiredResult, /) -> ToolResult:
        return InputRequiredToolResult(question)

    def with_receipt(self, result: ToolResult, receipt: dict[str, Any], /) -> ToolResult:
        meta = {**(result.meta or {}), RECEIPT_KEY: receipt}
        raw = result.to_mcp_result()
        if isinstance(raw, CallToolResult):
            return ToolResult.from_mcp_result(raw.model_copy(update={"meta": meta}))
        result.meta = meta
        return result

    def is_error(self, result: ToolResult, /) -> bool:
        return result.is_error or isinstance(result, InputRequiredToolResult)
