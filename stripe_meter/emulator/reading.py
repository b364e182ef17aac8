"""Reading request bodies within bounds, for API, control and pages alike.

Owns: the limit of 1 MB and the decoding to text. Does not own: the format. More than the limit raises `TooLarge`
before the rest is read; bytes that are not UTF-8 are replaced, never an error.
"""

from typing import Final
from urllib.parse import parse_qs

from starlette.requests import Request

MAX_BODY: Final = 1_000_000


class TooLarge(Exception):
    """The request body is larger than the emulator reads."""


async def body_of(request: Request) -> str:
    """The body as text; raises TooLarge beyond 1 MB."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_BODY:
            raise TooLarge(f"The request body is larger than {MAX_BODY} bytes.")
    return data.decode(errors="replace")


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a page's form, the last value of each; none of them when the form is too large."""
    try:
        text = await body_of(request)
    except TooLarge:
        return {}
    return {name: values[-1].strip() for name, values in parse_qs(text).items()}
