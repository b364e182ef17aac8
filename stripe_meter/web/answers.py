"""Answers over HTTP: their headers, and one form for everything that is refused.

Owns what stands on every answer of ours. A page may show an API key, so none is cached, framed, or named in a referrer,
and none runs scripts. A program gets its refusal as JSON, a person as a page; neither is told what was sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any, Final

from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from stripe_meter.web.pages import page

_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
#: Where a form of ours may lead in the end: browsers hold redirects after a form to the page's policy.
_STRIPE: Final = "https://checkout.stripe.com https://billing.stripe.com https://buy.stripe.com"


class Refused(Exception):
    """A request that is not served.

    Args:
        status: 4xx, or 503.
        code: For programs, such as `bad_request`.
        message: One sentence for people; repeats nothing of the request.
        headers: Beside ours.
    """

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers or {}

    def answer(self, *, as_json: bool) -> Response:
        if as_json:
            return json({"error": {"code": self.code, "message": self.message}}, self.status, self.headers)
        body = f"<h1>{escape(_TITLES.get(self.status, 'That did not work.'))}</h1>\n<p>{escape(self.message)}</p>"
        return html(page("Not done", body), self.status, headers=self.headers)


_TITLES: Final = {
    403: "This is not allowed.",
    404: "There is nothing here.",
    429: "One moment, please.",
    503: "Billing cannot be reached right now.",
}


def html(text: str, status: int = 200, *, to: str = "", headers: Mapping[str, str] | None = None) -> Response:
    """A page; `to` names further origins, separated by blanks, to which its forms lead."""
    policy = f"{_POLICY} {_STRIPE} {to}".rstrip() if to else _POLICY
    return HTMLResponse(text, status, headers={**_HEADERS, "Content-Security-Policy": policy, **(headers or {})})


def json(data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse(data, status, headers={**_HEADERS, **(headers or {})})


def text(said: str, media_type: str) -> Response:
    return PlainTextResponse(said, headers=_HEADERS, media_type=media_type)


def see_other(url: str) -> Response:
    """On to another page, which is asked for with GET."""
    return Response(status_code=303, headers={**_HEADERS, "Location": url})
