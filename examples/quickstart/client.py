"""A caller of server.py: refused, pays on the hosted Checkout page, calls again with the key.

    stripe-meter dev server.py          in one terminal
    python client.py                    in another one; takes the server's address as its argument

Ends with status 1 and says why if anything is not as it should be. Pays with a test card, so it works only against
`stripe-meter dev`: the real Checkout page wants a person.
"""

import html
import re
import sys
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit
from urllib.request import urlopen

import anyio
from httpx2 import AsyncClient
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

PAGE = "https://example.com/tides"


def check(is_so: object, otherwise: str) -> None:
    if not is_so:
        raise SystemExit(f"client.py: {otherwise}")


async def call(server: str, url: str, key: str | None = None) -> Any:
    """Call summarize as any MCP client would, with the API key in a header."""
    headers = {"x-api-key": key} if key else {}
    async with (
        AsyncClient(headers=headers, timeout=30) as http,
        Client(streamable_http_client(f"{server}/mcp", http_client=http)) as client,
    ):
        return await client.call_tool("summarize", {"url": url})


def fill_in_checkout(url: str) -> str:
    """What a person does in the browser; returns the page they end on."""
    check(urlsplit(url).hostname == "127.0.0.1", f"{url} is not the stand-in's page; pay there yourself")
    form = urlencode({"email": "you@example.com", "card": "4242 4242 4242 4242"}).encode()
    try:
        with urlopen(url, form, timeout=10) as response:
            return str(response.read(100_000), "utf-8")
    except HTTPError as error:
        raise SystemExit(f"client.py: Checkout answered {error.code}") from None


async def main(server: str) -> None:
    refused = await call(server, PAGE)
    needed = (refused.meta or {}).get("stripe-meter/payment-required", {})
    check(refused.is_error and needed, "a caller who has not paid was served")
    print("refused:", refused.content[0].text)

    shown = re.findall(r'id="api-key">([^<]+)<', fill_in_checkout(needed["checkout_url"]))
    check(shown, "the page after Checkout shows no API key")
    key = html.unescape(shown[0])
    print("paid, and received a key")

    answer = await call(server, PAGE, key)
    receipt = (answer.meta or {}).get("stripe-meter/receipt", {})
    check(not answer.is_error, f"the paid call failed: {answer.content[0].text}")
    check(receipt.get("text") == "$0.05", f"the receipt is {receipt}")
    print("answer:", answer.content[0].text)
    print("receipt:", receipt["text"])

    failed = await call(server, "https://example.com/nowhere", key)
    receipt = (failed.meta or {}).get("stripe-meter/receipt", {})
    check(failed.is_error and receipt.get("charged") is False, "a call that failed was charged")
    print("a call that fails: not charged")


if __name__ == "__main__":
    anyio.run(main, sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000")
