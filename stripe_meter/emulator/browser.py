"""A payer without a browser: posts the forms of the hosted pages with the standard library.

Owns: following Checkout's own redirects. Does not own: the pages. A refused card raises ValueError with the message
shown on the page; anything else unexpected raises RuntimeError.
"""

import html
import http.client
import re
from typing import Final
from urllib.parse import urlencode, urljoin, urlsplit

TIMEOUT_SECONDS: Final = 10.0
MAX_STEPS: Final = 4
ALERT: Final = re.compile(r'role="alert"[^>]*>(.*?)</', re.DOTALL)


def pay_by_forms(url: str, card: str, email: str | None) -> str:
    """Fill in and send the form at `url`; complete 3-D Secure if asked; return the address outside the pages."""
    fields = {"card": card, **({"email": email} if email is not None else {})}
    start = urlsplit(url).path
    for _ in range(MAX_STEPS):
        status, location, page = _post(url, fields)
        if status != 303:
            raise _failure(status, page)
        target = urljoin(url, location)
        if not urlsplit(target).path.startswith(start) or urlsplit(target).netloc != urlsplit(url).netloc:
            return target
        url, fields = target, {"outcome": "complete"}
    raise RuntimeError("the Checkout pages redirect in a circle")


def _post(url: str, fields: dict[str, str]) -> tuple[int, str, str]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)
    try:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", parts.path, urlencode(fields), headers)
        response = connection.getresponse()
        return response.status, response.getheader("Location", ""), response.read().decode()
    finally:
        connection.close()


def _failure(status: int, page: str) -> Exception:
    shown = ALERT.search(page)
    if shown is not None:
        return ValueError(html.unescape(re.sub(r"<[^>]+>", "", shown[1])).strip())
    return RuntimeError(f"the Checkout page answered {status}")
