"""`attach`: what a server can do for billing that a decorator alone cannot.

Owns which framework a server belongs to and that a server has one engine. Each line of a framework is one thin module
behind `Adapter`; another one is another module and a row below. A server of no known kind raises `ConfigurationError`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from stripe_meter.errors import ConfigurationError
from stripe_meter.mcp import frameworks
from stripe_meter.mcp.attachment import Attachment, Listed, attachments

if TYPE_CHECKING:
    from stripe_meter.enforcement.engine import Engine

#: From Starlette's request to its response; this edge passes it on and needs no Starlette.
Handler = Callable[[Any], Awaitable[Any]]
#: Mounts one page: `(path, methods, handler)`.
AddRoute = Callable[[str, list[str], Handler], None]


class Adapter(Protocol):
    """What each framework's module offers, by public API of that framework wherever there is one."""

    async def listed(self, server: Any, /) -> Listed: ...

    def install(self, server: Any, attachment: Attachment, /) -> None: ...

    def add_route(self, server: Any, path: str, methods: list[str], handler: Handler, /) -> None: ...


#: Class of a server, by where it is defined, and the module that knows it.
_ADAPTERS: Final = {
    ("mcp.server.mcpserver.server", "MCPServer"): "stripe_meter.mcp.mcpserver",
    ("mcp.server.fastmcp.server", "FastMCP"): "stripe_meter.mcp.fastmcp1",
    ("fastmcp.server.server", "FastMCP"): "stripe_meter.mcp.fastmcp4",
}
#: The same class of an older line.
_OLDER: Final = {"fastmcp-3": "stripe_meter.mcp.fastmcp3"}
_SUPPORTED: Final = "MCPServer of mcp 2.3 or newer, a FastMCP of mcp 1.30, and a FastMCP of fastmcp 3.4 or 4"


def attach(
    engine: Engine, server: Any, mount: Callable[[AddRoute], None] | None = None, *, agent_tools: bool = False
) -> None:
    """Connect `server` to `engine`; doing it again with the same engine changes nothing.

    Args:
        engine: Bills the tools of this server that name no other one.
        server: An `MCPServer` of the MCP SDK or a `FastMCP`, of the SDK's 1.x or the standalone one.
        mount: Receives a function that mounts one page into the server, and mounts ours.
        agent_tools: Whether callers' agents get tools to look after their own billing.

    Raises:
        ConfigurationError: The server is of no known kind, or another engine is attached to it.
    """
    adapter = adapter_for(server)
    before = attachments.get(server)
    if before is not None:
        if before.engine is not engine:
            raise ConfigurationError(
                f"another StripeMeter is attached to server {server.name!r}; attach one, "
                "and name the other at its tools: @other.metered(…)"
            )
        return
    attachment = Attachment(engine, server, adapter.listed)
    attachments[server] = attachment
    adapter.install(server, attachment)
    if agent_tools:
        import_module("stripe_meter.mcp.agent_tools").add(server, attachment)
    if mount is not None:
        mount(lambda path, methods, handler: adapter.add_route(server, path, methods, handler))


def add_route(server: Any, path: str, methods: list[str], handler: Handler) -> None:
    """Mount one page into `server`; it is served wherever the server speaks HTTP, and never asks for a token."""
    adapter_for(server).add_route(server, path, methods, handler)


def adapter_for(server: Any) -> Adapter:
    """The module that knows this kind of server. Raises `ConfigurationError`."""
    for base in type(server).__mro__:
        module = _ADAPTERS.get((base.__module__, base.__name__))
        if module is not None:
            line = frameworks.line_of(base)
            return cast("Adapter", import_module(_OLDER.get(line or "", module)))
    kind = f"{type(server).__module__}.{type(server).__qualname__}"
    raise ConfigurationError(f"attach() does not know servers of type {kind}; it takes an {_SUPPORTED}")
