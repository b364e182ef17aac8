"""Which framework, and which line of it, a class belongs to.

Owns that question: FastMCP 3 and 4 share module and name of their classes, so their version tells them apart, and the
MCP SDK keeps its `Context` elsewhere in each line. Loads nothing that the author has not loaded. What it does not know
is no framework's, and is treated as the newest SDK treats it.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib import import_module
from typing import Any, Final, Literal, cast

Line = Literal["mcp-1", "mcp-2", "fastmcp-3", "fastmcp-4"]

_SDK: Final[dict[str, Line]] = {"mcp.server.mcpserver": "mcp-2", "mcp.server.fastmcp": "mcp-1"}
#: The first major version of FastMCP that rests on the MCP SDK 2.x.
_ON_SDK_2: Final = 4


def line_of(kind: type) -> Line | None:
    """The line that a class, such as that of a `Context`, belongs to; None for any other class."""
    for base in kind.__mro__:
        module = base.__module__
        if module.partition(".")[0] == "fastmcp":
            return fastmcp_line()
        line = _SDK.get(".".join(module.split(".")[:3]))
        if line is not None:
            return line
    return None


def fastmcp_line() -> Line:
    """The line of the FastMCP that is loaded."""
    version = str(getattr(sys.modules.get("fastmcp"), "__version__", ""))
    major = version.partition(".")[0]
    return "fastmcp-3" if major.isdigit() and 0 < int(major) < _ON_SDK_2 else "fastmcp-4"


@lru_cache(maxsize=1)
def sdk_context() -> type:
    """The `Context` class of the installed MCP SDK."""
    try:
        module: Any = import_module("mcp.server.mcpserver")
    except ImportError:
        module = import_module("mcp.server.fastmcp")
    return cast("type", module.Context)
