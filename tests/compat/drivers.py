"""Clients of each framework line, behind the same few verbs.

Owns which lines are installed and how each is reached in memory, over stdio and over HTTP. Every framework is imported
when it is used, so a line that is not installed costs a skip and no error.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, NamedTuple

import pytest

from tests import serving

LINES: Final = ("mcp-2", "mcp-1", "fastmcp-4", "fastmcp-3")
WAIT: Final = 30.0


class Outcome(NamedTuple):
    """What a client sees of one call."""

    text: str
    is_error: bool
    meta: dict[str, Any]


class Session:
    """A connected client."""

    def __init__(self, client: Any, *, is_fastmcp: bool) -> None:
        self._client = client
        self._options = {"raise_on_error": False} if is_fastmcp else {}

    async def call(self, name: str, **arguments: Any) -> Outcome:
        result = await self._client.call_tool(name, arguments, **self._options)
        is_error = result.is_error if hasattr(result, "is_error") else result.isError
        return Outcome("".join(getattr(part, "text", "") for part in result.content), is_error, result.meta or {})

    async def tools(self) -> dict[str, dict[str, Any]]:
        """What the server lists, in its form on the wire."""
        listed = await self._client.list_tools()
        return {tool.name: tool.model_dump(mode="json", by_alias=True) for tool in getattr(listed, "tools", listed)}


def installed(line: str) -> str | None:
    """The version of a line's package, or None when the line is not here."""
    package, _, major = line.partition("-")
    try:
        found = version(package)
    except PackageNotFoundError:
        return None
    return found if found.partition(".")[0] == major else None


@asynccontextmanager
async def in_memory(line: str, server: Any) -> AsyncIterator[Session]:
    if line.startswith("fastmcp"):
        async with import_module("fastmcp").Client(server) as client:
            yield Session(client, is_fastmcp=True)
    elif line == "mcp-2":
        async with import_module("mcp").Client(server) as client:
            yield Session(client, is_fastmcp=False)
    else:
        async with import_module("mcp.shared.memory").create_connected_server_and_client_session(server) as client:
            yield Session(client, is_fastmcp=False)


@asynccontextmanager
async def over_stdio(line: str, command: list[str], env: dict[str, str]) -> AsyncIterator[Session]:
    if line.startswith("fastmcp"):
        transports = import_module("fastmcp.client.transports")
        transport = transports.StdioTransport(command[0], command[1:], env=env, keep_alive=False)
        async with import_module("fastmcp").Client(transport) as client:
            yield Session(client, is_fastmcp=True)
        return
    mcp = import_module("mcp")
    parameters = mcp.StdioServerParameters(command=command[0], args=command[1:], env=env)
    if line == "mcp-2":
        async with mcp.Client(parameters) as client:
            yield Session(client, is_fastmcp=False)
    else:
        async with mcp.stdio_client(parameters) as (read, write), mcp.ClientSession(read, write) as client:
            await client.initialize()
            yield Session(client, is_fastmcp=False)


@asynccontextmanager
async def over_http(line: str, url: str, headers: dict[str, str] | None = None) -> AsyncIterator[Session]:
    if not line.startswith("fastmcp"):
        async with sdk_over_http(url, headers) as session:
            yield session
        return
    transports = import_module("fastmcp.client.transports")
    async with import_module("fastmcp").Client(
        transports.StreamableHttpTransport(url, headers=headers or {})
    ) as client:
        yield Session(client, is_fastmcp=True)


@asynccontextmanager
async def sdk_over_http(
    url: str, headers: dict[str, str] | None = None, asked: Callable[[str], None] | None = None
) -> AsyncIterator[Session]:
    """The SDK's own client, which is installed with every line; `asked` makes it one that can open links."""
    mcp = import_module("mcp")
    connect = import_module("mcp.client.streamable_http").streamable_http_client
    types: Any = import_module("mcp.types")

    async def answer(context: Any, params: Any) -> Any:
        assert asked is not None
        asked(params.url)
        return types.ElicitResult(action="accept")

    callback = None if asked is None else answer
    if installed("mcp-2") is not None:
        async with (
            import_module("httpx2").AsyncClient(headers=headers, timeout=WAIT) as http,
            mcp.Client(connect(url, http_client=http), elicitation_callback=callback) as client,
        ):
            yield Session(client, is_fastmcp=False)
        return
    async with (
        import_module("httpx").AsyncClient(headers=headers, timeout=WAIT) as http,
        connect(url, http_client=http) as (read, write, _),
        mcp.ClientSession(read, write, elicitation_callback=callback) as client,
    ):
        await client.initialize()
        yield Session(client, is_fastmcp=False)


def app_of(line: str, server: Any) -> Any:
    """The ASGI app that an author would mount."""
    return server.http_app() if line.startswith("fastmcp") else server.streamable_http_app()


def json_app_of(line: str, server: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The same app answering in JSON, which leaves it no way to ask while a call runs."""
    if line == "mcp-2":
        return server.streamable_http_app(json_response=True)
    settings = server.settings if line == "mcp-1" else import_module("fastmcp").settings
    monkeypatch.setattr(settings, "json_response", True)
    return app_of(line, server)


@contextmanager
def served(app: Any) -> Iterator[str]:
    """The address of the app's MCP endpoint, on a loopback port."""
    with serving.served(app) as url:
        yield f"{url}/mcp"
