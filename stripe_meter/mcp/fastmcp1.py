"""`FastMCP` of the MCP SDK 1.x.

Owns what attaching means there. The check runs where `run` or an ASGI server starts one of the public ways to serve,
which are wrapped on the server object: the SDK enters lifespans once per session, too late. Served in memory, the check
runs with the first message. `def` tools run on the event loop here: without `attach`, looking up a caller blocks it,
once for each and for at most twice the timeout of the settings, and callers of `def` tools are not asked for anything.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from mcp.types import CallToolRequest, ListToolsRequest

from stripe_meter.domain.refusals import Refusal
from stripe_meter.enforcement.current import override
from stripe_meter.mcp import declared, outside, refusals
from stripe_meter.mcp.attachment import PRICE_KEY, RECEIPT_KEY, Attachment, Listed, codes, end_at_once
from stripe_meter.mcp.caller import read_caller
from stripe_meter.mcp.calls import exchange
from stripe_meter.mcp.declared import Declaration, Looks

if TYPE_CHECKING:
    from stripe_meter.mcp.attach import Handler

#: A request of the client to the SDK's answer, a `ServerResult` around the result.
Answerer = Callable[[Any], Awaitable[Any]]

_RUNS: Final = ("run", "run_stdio_async", "run_sse_async", "run_streamable_http_async")
_APPS: Final = ("sse_app", "streamable_http_app")


async def listed(server: Any, /) -> Listed:
    """The SDK lists names, schemas and descriptions, no functions; a private name settles what these leave open."""
    tools = await server.list_tools()
    looks = {t.name: Looks(frozenset(t.inputSchema.get("properties", ())), t.description or "") for t in tools}
    return declared.match(server, looks).settled(server)


def install(server: Any, attachment: Attachment, /) -> None:
    """The SDK has no middleware and no public way to its handlers, so its low-level half is found by a private name.

    Through that half's public `request_handlers` go receipts, prices and `_meta` of refusals. Without it, billing and
    the refusals' text with the link remain.
    """
    _check_before_serving(server, attachment)
    handlers: Any = getattr(getattr(server, "_mcp_server", None), "request_handlers", None)
    if not isinstance(handlers, dict):
        return
    handlers[CallToolRequest] = _Calls(server, attachment, handlers[CallToolRequest])
    handlers[ListToolsRequest] = _priced_list(attachment, handlers[ListToolsRequest])


def add_route(server: Any, path: str, methods: list[str], handler: Handler, /) -> None:
    server.custom_route(path, methods, include_in_schema=False)(handler)


def tool_error(text: str) -> Exception:
    """The error whose text this line shows to clients; any result of ours would be checked against the schema."""
    error: Exception = import_module("mcp.server.fastmcp.exceptions").ToolError(text)
    return error


def _check_before_serving(server: Any, attachment: Attachment) -> None:
    started_by = codes(type(server), *_RUNS)
    over_stdio: Callable[[], Awaitable[None]] = server.run_stdio_async

    async def run_stdio_async() -> None:
        await attachment.check_at_start(started_by, end_at_once)
        await over_stdio()

    server.run_stdio_async = run_stdio_async
    for name in _APPS:
        setattr(server, name, _checked_app(getattr(server, name), attachment, started_by))


def _checked_app(build: Callable[..., Any], attachment: Attachment, started_by: frozenset[Any]) -> Callable[..., Any]:
    def checked(*args: Any, **kwargs: Any) -> Any:
        app = build(*args, **kwargs)
        inner = app.router.lifespan_context

        @asynccontextmanager
        async def lifespan(app: Any) -> AsyncIterator[Any]:
            await attachment.check_at_start(started_by, end_at_once)
            async with inner(app) as state:
                yield state

        app.router.lifespan_context = lifespan
        return app

    return checked


class _Calls:
    """Around every `tools/call`: this engine serves it, and its answer carries receipt or refusal in `_meta`."""

    def __init__(self, server: Any, attachment: Attachment, inner: Answerer) -> None:
        self._server = server
        self._attachment = attachment
        self._inner = inner

    async def __call__(self, request: Any) -> Any:
        name = request.params.name
        if await self._attachment.failure() is not None:
            return _server_result(refusals.as_text(self._attachment.refusal(name)))
        if name not in self._attachment.names:
            await self._attachment.look_for(name)
        mine = self._attachment.exchange(name)
        try:
            response = await (self._run(request) if mine.sold is None else self._run_outside(mine.sold, request))
            mine.answered = not _is_error(response)
        finally:
            mine.close()
        if mine.charged and mine.engine.thread.waits:
            await mine.delivered()
        receipt = self._attachment.receipt(mine)
        if receipt is not None:
            response.root.meta = {**(response.root.meta or {}), RECEIPT_KEY: receipt}
        return response

    async def _run(self, request: Any) -> Any:
        await self._admit_ahead(request.params.name)
        response = await self._inner(request)
        mine = exchange.get()
        refused = None if mine is None else mine.refused
        if refused is None or not _says(response, refused.refusal.text):
            return response
        if refused.may_ask:
            await refusals.ask(self._server.get_context(), refused.refusal)
        return _server_result(refusals.as_text(refused.refusal))

    async def _run_outside(self, sold: Declaration, request: Any) -> Any:
        ctx = self._server.get_context()
        result = await outside.serve(sold, ctx, request.params.arguments, lambda: self._inner(request))
        if not isinstance(result, Refusal):
            return result
        await refusals.ask(ctx, result)
        return _server_result(refusals.as_text(result))

    async def _admit_ahead(self, name: str) -> None:
        """Decide on a `def` tool while it can still be awaited."""
        mine = exchange.get()
        declaration = self._attachment.declaration(name)
        if mine is None or mine.ahead is not None or declaration is None or declaration.is_async:
            return
        configured = self._attachment.engine if declaration.billing is None else declaration.billing.engine
        engine = override.engine or configured
        if not engine.enabled:
            return
        caller = read_caller(self._server.get_context(), engine)
        tool = declaration.serve(engine, configured).tool
        verdict = engine.admit_warm(tool, caller) or await engine.admit(tool, caller)
        mine.prepare(engine, tool, verdict)


def _priced_list(attachment: Attachment, inner: Answerer) -> Answerer:
    async def priced(request: Any) -> Any:
        response = await inner(request)
        if await attachment.failure() is None:
            prices = await attachment.prices()
            for tool in response.root.tools:
                if tool.name in prices:
                    tool.meta = {**(tool.meta or {}), PRICE_KEY: prices[tool.name]}
        return response

    return priced


def _server_result(result: Any) -> Any:
    types: Any = import_module("mcp.types")  # the class is gone in the line that this project is typed against
    return types.ServerResult(result)


def _says(response: Any, text: str) -> bool:
    """Whether this answer is the error that our refusal was raised as; a tool may have caught it and gone on."""
    return _is_error(response) and any(text in getattr(part, "text", "") for part in response.root.content)


def _is_error(response: Any) -> bool:
    return bool(getattr(response.root, "isError", False))
