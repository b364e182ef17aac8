"""The bare and the metered server behind one loopback port, in one process and one loop.

    python -m tests.benchmarks.twin_server STRIPE_URL

Serves them under /bare/mcp and /metered/mcp, says where on stdout, and ends when its stdin does. Started by
`warm_path`: whatever slows one of the two slows the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.benchmarks import harness, seller

_END_SECONDS = 15.0


def app(stripe: str) -> Starlette:
    """Both servers as one ASGI application."""
    billing = seller.billing_at(stripe)
    servers = {"bare": seller.bare_server(), "metered": seller.metered_server(billing)[0]}
    routes = [Mount(f"/{name}", server.streamable_http_app()) for name, server in servers.items()]

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            for server in servers.values():
                await stack.enter_async_context(server.session_manager.run())
            yield

    return Starlette(routes=routes, lifespan=lifespan)


async def serve(stripe: str) -> None:
    """Serve until stdin ends."""
    # With the protocol named asyncio sets TCP_NODELAY; without it answers wait for an ACK.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    server = uvicorn.Server(uvicorn.Config(app(stripe), log_level="error", ws="none", timeout_graceful_shutdown=1))

    def until_stdin_ends() -> None:
        while os.read(0, 1024):
            pass
        server.should_exit = True

    threading.Thread(target=until_stdin_ends, daemon=True).start()
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    await server.serve(sockets=[listener])


@contextlib.contextmanager
def running(stripe: str) -> Iterator[str]:
    """The twins in a process of their own; yields their base URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.twin_server", stripe],
        cwd=harness.ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        if not url:
            raise RuntimeError("the twin servers did not start")
        yield url
    finally:
        process.stdin.close()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


if __name__ == "__main__":
    seller.quiet()
    asyncio.run(serve(sys.argv[1]))
