"""Our pages on a loopback port, for a server that speaks stdio and has no HTTP of its own.

Owns a small uvicorn server in the Stripe thread's loop, started when the first link is made and ended with the loop.
Binds 127.0.0.1 only: the payer's browser runs on the machine the server runs on, or sees no page; the payment is
noticed either way, at the next call. Answers only to the names of this machine, so that no site can have its own name
point here and read a page through its visitor's browser.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import weakref
from typing import Final

import uvicorn
from starlette.middleware.trustedhost import TrustedHostMiddleware

from stripe_meter.enforcement.engine import Engine
from stripe_meter.web.routes import app

_serving: Final[weakref.WeakKeyDictionary[Engine, tuple[int, asyncio.Task[None]]]] = weakref.WeakKeyDictionary()


async def serve_pages(engine: Engine) -> str:
    """Base URL of the pages; starts serving them unless they are."""
    known = _serving.get(engine)
    if known is None or known[1].done():
        # Named protocol: without it asyncio leaves Nagle's algorithm on, at 40 ms an answer.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.bind(("127.0.0.1", 0))
        served = TrustedHostMiddleware(app(engine, engine.routes), allowed_hosts=["127.0.0.1", "localhost"])
        config = uvicorn.Config(served, log_level="critical", access_log=False, lifespan="off")
        task = asyncio.create_task(_serve(uvicorn.Server(config), listener))
        known = _serving[engine] = (listener.getsockname()[1], task)
    return f"http://127.0.0.1:{known[0]}{engine.routes}"


async def _serve(server: uvicorn.Server, listener: socket.socket) -> None:
    with contextlib.closing(listener):
        await server.serve(sockets=[listener])
