"""An MCP server with one paid tool.

    stripe-meter dev server.py          without a Stripe account
    python server.py                    with STRIPE_SECRET_KEY=sk_test_… in the environment

It serves http://127.0.0.1:8000/mcp; PORT in the environment changes the port.
"""

import os
import re

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from stripe_meter import StripeMeter, metered

mcp = MCPServer("Research tools")
StripeMeter().attach(mcp)

PAGES = {
    "https://example.com/tides": (
        "The moon pulls the sea towards it. The far side bulges too, because the earth itself is pulled away from that "
        "water. The earth turns beneath both bulges once a day. So most coasts see two high tides. When sun and moon "
        "pull in line the tides are highest. Sailors call those spring tides."
    ),
}


@mcp.tool()
@metered(price="$0.05")
async def summarize(url: str) -> str:
    """The first three sentences of the page at `url`."""
    if url not in PAGES:
        raise ToolError(f"there is no page at {url}")  # a call that fails costs nothing
    return " ".join(re.split(r"(?<=[.!?])\s+", PAGES[url])[:3])


if __name__ == "__main__":
    mcp.run("streamable-http", port=int(os.environ.get("PORT", "8000")))
