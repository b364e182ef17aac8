"""The same paid tools on a server of each framework line; as a script it serves them.

Owns the tools and how a server of each line is made and run. Imports only the framework that is asked for, so that it
works where no other one is installed; asking for one that is not there raises ImportError.
"""

# Annotations are real objects here: the context class is known only when a server is built.

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

from stripe_meter import StripeMeter, metered


class Built(NamedTuple):
    """A server and its tools, as plain functions by name."""

    server: Any
    tools: dict[str, Any]


def build(line: str, *, is_paid: bool = True, name: str = "Compat") -> Built:
    """A server of `line` with its tools."""
    kind, context = classes(line)
    server = kind(name)
    paid: Callable[[Any], Any] = metered("$0.05") if is_paid else lambda function: function
    tool: Callable[[Any], Any] = lambda function: server.tool()(paid(function))  # noqa: E731  # two decorators in one

    async def async_plain(text: str, times: int = 1) -> str:
        """Shout."""
        return text.upper() * times

    def sync_plain(text: str, times: int = 1) -> str:
        """Shout from a thread, where the framework has threads."""
        return text.upper() * times

    async def async_context(text: str, ctx: context) -> str:  # type: ignore[valid-type]  # known only at run time
        """Shout, knowing the request."""
        return f"{text.upper()} {type(ctx).__name__}"

    def sync_context(text: str, ctx: context) -> str:  # type: ignore[valid-type]  # known only at run time
        """Shout from a thread, knowing the request."""
        return f"{text.upper()} {type(ctx).__name__}"

    async def failing(text: str) -> str:
        """Break."""
        raise RuntimeError("out of order")

    tools = {f.__name__: tool(f) for f in (async_plain, sync_plain, async_context, sync_context, failing)}

    async def free() -> str:
        """Cost nothing."""
        return "free"

    server.tool()(free)
    return Built(server, tools)


def classes(line: str) -> tuple[Any, Any]:
    """The server class and the context class of `line`."""
    if line == "mcp-2":
        module = import_module("mcp.server.mcpserver")
        return module.MCPServer, module.Context
    module = import_module("mcp.server.fastmcp" if line == "mcp-1" else "fastmcp")
    return module.FastMCP, module.Context


def run(line: str, server: Any, transport: str, port: int) -> None:
    """Serve as an author's script does."""
    if transport == "stdio":
        options: dict[str, Any] = {"show_banner": False} if line.startswith("fastmcp") else {}
        server.run("stdio", **options)
    elif line == "mcp-1":
        server.settings.port = port
        server.run("streamable-http")
    else:
        options = {"show_banner": False} if line.startswith("fastmcp") else {}
        server.run("streamable-http", port=port, **options)


if __name__ == "__main__":
    chosen, how, over, where = sys.argv[1:]
    serving = build(chosen).server
    if how == "attached":
        StripeMeter().attach(serving)
    run(chosen, serving, over, int(where))
