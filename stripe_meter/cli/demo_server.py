"""The server that `stripe-meter demo` puts on sale: an author's program like any other, with the public API alone.

    python -m stripe_meter.cli.demo_server PORT PRICE CURRENCY

Ends when its stdin does, so that it never outlives the demo.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from stripe_meter import StripeMeter, metered

SUMMARIES = {
    "https://example.com/tides": "The moon pulls the sea. The earth turns beneath it. So the water comes twice a day.",
}


def build(price: str, currency: str) -> MCPServer:
    """A server with one tool sold by the call, one by the word, and one for nothing."""
    mcp = MCPServer("Research tools")
    StripeMeter().attach(mcp)

    @mcp.tool()
    @metered(price=price)
    async def summarize(url: str) -> str:
        """Summarize the page at `url` in three sentences."""
        if url not in SUMMARIES:
            raise ToolError(f"there is no page at {url}")
        return SUMMARIES[url]

    @mcp.tool()
    @metered(price=f"0.002 {currency} per word", units=lambda call: len(call.arguments["text"].split()))
    async def translate(text: str) -> str:
        """Translate `text` into Pig Latin."""
        return " ".join(f"{word[1:]}{word[:1]}ay" for word in text.split())

    @mcp.tool()
    @metered(price="free")
    async def ping() -> str:
        """Answer."""
        return "pong"

    return mcp


def _end_with_stdin() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    build(sys.argv[2], sys.argv[3]).run("streamable-http", port=int(sys.argv[1]))
