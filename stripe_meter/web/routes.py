"""Our HTTP routes: where Checkout sends the payer's browser back to, and where a subscriber changes plans.

Owns request checks and headers; what happened is the engine's to say. A page that shows a key is never cached, framed,
or named in a referrer. Nothing here believes an id: the success page asks Stripe about the session and wants the claim
that only the payer was sent back with.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from stripe_meter.enforcement.current import override
from stripe_meter.enforcement.engine import Engine
from stripe_meter.errors import StripeMeterError
from stripe_meter.web import change, pages

Handler = Callable[[Request], Awaitable[Response]]
#: Adds one route to whatever serves: path, methods, handler.
AddRoute = Callable[[str, list[str], Handler], None]

_SESSION: Final = re.compile(r"cs_[A-Za-z0-9_]{3,120}")
_CLAIM: Final = re.compile(r"[A-Za-z0-9_-]{16,64}")
#: A signed link to change a plan: customer, subscription, plan, end, signature.
_TOKEN: Final = re.compile(r"cus_\w{1,120}\.sub_\w{1,120}\.[a-z0-9_-]{1,30}\.\d{10}\.[0-9a-f]{32}", re.ASCII)
_PLAN: Final = re.compile(r"[a-z0-9_-]{1,30}")
#: Bytes of the longest form that we send ourselves.
_LONGEST: Final = 2048
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'self'",
}


def mount(engine: Engine, add: AddRoute, prefix: str | None = None) -> None:
    """Add our routes through `add`, under the engine's path or `prefix`."""

    async def success(request: Request) -> Response:
        session = request.query_params.get("session_id", "")
        claim = request.query_params.get("claim")
        if not _SESSION.fullmatch(session) or (claim is not None and not _CLAIM.fullmatch(claim)):
            return _html(pages.not_found(), 404)
        try:
            done = await (override.engine or engine).sales.complete(session, claim)
        except StripeMeterError:
            return _html(pages.try_again(), 503)
        if done.customer is None:
            return _html(pages.not_found(), 404)
        if done.key is not None:
            return _html(pages.key_shown(done.key.reveal()))
        return _html(pages.key_was_shown() if done.already_shown else pages.paid())

    async def cancel(request: Request) -> Response:
        return _html(pages.cancelled())

    async def change_plan(request: Request) -> Response:
        """GET shows what a signed link offers, POST makes the change; the token is the only thing believed."""
        form = dict(request.query_params)
        if request.method == "POST":
            form = dict(parse_qsl(await _body(request)))
        token, plan = form.get("token", ""), form.get("plan") if request.method == "POST" else None
        if not _TOKEN.fullmatch(token) or (plan is not None and not _PLAN.fullmatch(plan)):
            return _html(change.gone(), 404)
        try:
            proposal = await (override.engine or engine).sales.change_plan(token, plan)
        except StripeMeterError:
            return _html(change.try_again(), 503)
        if proposal is None:
            return _html(change.gone(), 404)
        return _html(change.changed(proposal) if proposal.done else change.asking(proposal))

    path = engine.routes if prefix is None else prefix
    add(f"{path}/success", ["GET"], success)
    add(f"{path}/cancel", ["GET"], cancel)
    add(f"{path}/change", ["GET", "POST"], change_plan)


def app(engine: Engine, prefix: str = "") -> Starlette:
    """Our routes as an app of their own."""
    routes: list[Route] = []
    mount(engine, lambda path, methods, handler: routes.append(Route(path, handler, methods=methods)), prefix)
    return Starlette(routes=routes)


async def _body(request: Request) -> str:
    """The form that was sent, or nothing when it is longer than any of ours."""
    sent = b""
    async for chunk in request.stream():
        sent += chunk
        if len(sent) > _LONGEST:
            return ""
    return sent.decode("ascii", "replace")


def _html(text: str, status: int = 200) -> Response:
    return HTMLResponse(text, status, headers=_HEADERS)
