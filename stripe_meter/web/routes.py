"""Our HTTP routes, mounted into whatever serves: one Starlette app, or one route after the other into a server.

Owns the way of a request through the guards to its handler, and what becomes of our own errors. Serves exactly what the
table of operations says, and describes it at `/openapi.json`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from stripe_meter.enforcement.current import override
from stripe_meter.enforcement.engine import Engine
from stripe_meter.enforcement.identity.reading import mount_of
from stripe_meter.errors import NotForSale, StripeMeterError, StripeRejected, StripeUnavailable, TooMany
from stripe_meter.web import openapi
from stripe_meter.web.answers import Refused, json
from stripe_meter.web.guards import Guards
from stripe_meter.web.operations import BY_PATH, LOOKING, PUBLIC, Operation
from stripe_meter.web.reading import JSON, from_body, from_query
from stripe_meter.web.visit import Visit

log = logging.getLogger("stripe_meter")

Handler = Callable[[Request], Awaitable[Response]]
#: Adds one route to whatever serves: path, methods, handler.
AddRoute = Callable[[str, list[str], Handler], None]

#: Every method is ours to answer, so that a refusal looks the same for all of them.
_METHODS: Final = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"]
_RETRY: Final = 5


def mount(engine: Engine, add: AddRoute, prefix: str | None = None) -> None:
    """Add our routes through `add`, under the engine's path or `prefix`."""
    place = _Place(engine.routes if prefix is None else prefix)
    guards = Guards()

    async def described(visit: Visit) -> Response:
        public, above = visit.engine.settings.public_url, visit.request.scope.get("root_path", "")
        server = f"{above}{place.prefix}" if public is None else f"{public}{visit.engine.routes}"
        return json(openapi.document(PUBLIC, server))

    description = Operation(
        "GET", "/openapi.json", described, "This document.", answers=((200, "json"),), limit=LOOKING
    )
    for where, operations in {**BY_PATH, description.path: (description,)}.items():
        add(place.prefix + where, _METHODS, _served(engine, guards, place, operations))


def app(engine: Engine, prefix: str = "") -> Starlette:
    """Our routes as an app of their own."""
    routes: list[Route] = []
    mount(engine, lambda path, methods, handler: routes.append(Route(path, handler, methods=methods)), prefix)
    return Starlette(routes=routes)


@dataclass(slots=True)
class _Place:
    """Where our routes are below the path at which their app is mounted."""

    prefix: str
    is_checked: bool = False

    def check(self, engine: Engine, request: Request) -> None:
        """Say once in the log when an app of its own is mounted where no link leads."""
        mount = mount_of(request.scope)
        if self.is_checked or self.prefix or not mount:
            return
        self.is_checked = True
        if not mount.endswith(engine.routes):
            log.error(
                "StripeMeter.asgi() is mounted at %s, but the links of refused calls lead to %s; "
                'write asgi(routes="%s")',
                *(mount, engine.routes, mount),
            )


def _served(engine: Engine, guards: Guards, place: _Place, operations: tuple[Operation, ...]) -> Handler:
    methods = [operation.method for operation in operations]
    allowed = ", ".join(["GET", "HEAD"] * ("GET" in methods) + ["POST"] * ("POST" in methods))

    async def serve(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        operation = next((one for one in operations if one.method == method), None)
        sent_json = request.headers.get("content-type", "").lower().startswith(JSON)
        as_json = sent_json or all(media != "page" for one in operations for _, media in one.answers)
        try:
            if operation is None:
                guards.check_network(override.engine or engine, request, operations[0])
                refused = Refused(405, "method_not_allowed", f"This takes {allowed}.", {"Allow": allowed})
                return refused.answer(as_json=as_json)
            return await _answer(override.engine or engine, guards, place, request, operation)
        except Refused as refused:
            return refused.answer(as_json=as_json)
        except ClientDisconnect:
            return Refused(400, "broken_off", "The request broke off.").answer(as_json=as_json)
        except StripeMeterError as error:
            return _told(error, operation or operations[0]).answer(as_json=as_json)

    return serve


async def _answer(engine: Engine, guards: Guards, place: _Place, request: Request, operation: Operation) -> Response:
    place.check(engine, request)
    guards.check(engine, request, operation)
    if operation.method == "GET":
        sent = from_query(request, operation.fields)
    else:
        sent = {} if operation.is_raw else await from_body(request, operation.fields)
    return await operation.handler(Visit(engine, request, sent, place.prefix))


def _told(error: StripeMeterError, operation: Operation) -> Refused:
    """What a stranger may read of an error; the rest is the author's, in the log."""
    if isinstance(error, TooMany):
        wait = str(math.ceil(error.retry_after))
        return Refused(429, "too_many_requests", str(error), {"Retry-After": wait})
    path = operation.path
    if operation.method == "POST" and isinstance(error, (NotForSale, StripeRejected)):
        log.info("%s was refused: %s", path, error)
        return Refused(409, "not_for_sale", "This cannot be had as things stand: it is not on offer, or not to you.")
    if isinstance(error, StripeUnavailable):
        log.warning("%s could not be answered: %s", path, error)
    else:
        log.error("%s could not be answered: %s", path, error)
    wait = str(math.ceil(getattr(error, "retry_after", None) or _RETRY))
    message = "Billing cannot be reached just now. Reload this page in a few seconds; nothing is lost or done twice."
    return Refused(503, "unavailable", message, {"Retry-After": wait})
