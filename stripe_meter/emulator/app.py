"""The Starlette application: API, control API and pages under one roof.

Owns: reading requests within their bounds and writing responses. Does not own: what they mean. A body over 1 MB is a
413; a lost answer closes the connection without a byte.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from email.utils import formatdate
from typing import TYPE_CHECKING, Final

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from stripe_meter.emulator import control, pages
from stripe_meter.emulator.api import Call, Reply
from stripe_meter.emulator.errors import ApiError
from stripe_meter.emulator.reading import TooLarge, body_of

if TYPE_CHECKING:
    from stripe_meter.emulator.core import Emulator

METHODS: Final = ["GET", "POST", "DELETE", "PUT", "PATCH"]


class HungUp(Response):
    """No response at all: the connection was, or is, closed."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait for the server to notice; without a server in between the caller sees the reset itself."""
        hang_up = scope["app"].state.hang_up
        if hang_up is None:
            raise ConnectionResetError("the emulator closed the connection")
        hang_up(scope["client"])
        while (await receive())["type"] != "http.disconnect":
            pass


def build_app(emulator: Emulator) -> Starlette:
    """The ASGI application of an emulator."""

    async def api(request: Request) -> Response:
        return await _api(emulator, request)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(emulator.run)
            yield
            tasks.cancel_scope.cancel()

    app = Starlette(
        routes=[
            Route("/v1/{rest:path}", api, methods=METHODS),
            Route("/v2/{rest:path}", api, methods=METHODS),
            *control.routes(emulator),
            *pages.routes(emulator),
        ],
        lifespan=lifespan,
    )
    app.state.hang_up = None
    return app


async def _api(emulator: Emulator, request: Request) -> Response:
    emulator.account.base_url = str(request.base_url).rstrip("/")
    try:
        body = await body_of(request)
    except TooLarge as error:
        return _written(emulator, Reply(413, ApiError(413, str(error)).body()))
    headers = dict(request.headers.items())
    call = Call(request.method, request.url.path, request.url.query, body, headers)
    answer = await emulator.traffic.handle(call)
    emulator.courier.pump()
    if answer is None:
        return HungUp()
    if isinstance(answer, str):
        return HTMLResponse(answer)
    return _written(emulator, answer)


def _written(emulator: Emulator, reply: Reply) -> Response:
    date = formatdate(emulator.clock.now(), usegmt=True)
    return JSONResponse(reply.body, reply.status, {**reply.headers, "Date": date})
