"""Four ways to sell on one server: free calls, a plan, credits, and pay-as-you-go.

    stripe-meter dev shop.py                        without a Stripe account
    stripe-meter simulate shop.py --usage usage.csv what a month of calls would cost
    python shop.py                                  with STRIPE_SECRET_KEY=sk_test_… in the environment

It serves http://127.0.0.1:8000/mcp; PORT in the environment changes the port.
"""

import os

from mcp.server.mcpserver import MCPServer

from stripe_meter import CreditPack, Credits, Free, PayAsYouGo, StripeMeter, Subscription, metered

mcp = MCPServer("Word shop")
StripeMeter(
    [
        Free(calls=2, reset_day=15, tools=["basic-*"]),
        PayAsYouGo(volume_discounts=[(5, 10)]),
        Subscription("pro", "$10.00/month", included=4, overage="$0.25", features=["deep"]),
        Credits([CreditPack(10, "$1.50", "Starter"), CreditPack(100, "$9.99", "Big")]),
    ],
    default_price=("$0.30", "1 credit"),
).attach(mcp)


@mcp.tool()
@metered
async def summarize(text: str) -> str:
    """The first sentence of `text`."""
    return text.partition(".")[0] + "."


@mcp.tool()
@metered(("$0.002 per word", "1 credit per 100 words"), units=lambda call: len(call.result.split()), max_units=2_000)
async def translate(text: str) -> str:
    """`text`, in a language that leaves no vowel out."""
    return text.upper()


@mcp.tool()
@metered("1 call", feature="deep")
async def research(question: str) -> str:
    """An answer for those whose plan unlocks it."""
    return f"Nobody knows: {question}"


@mcp.tool(name="basic-count")
@metered(name="basic-count")
def count(text: str) -> int:
    """How many words `text` has; free for everybody."""
    return len(text.split())


if __name__ == "__main__":
    mcp.run("streamable-http", port=int(os.environ.get("PORT", "8000")))
