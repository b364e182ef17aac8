"""An ASGI application on a loopback port, in a thread of its own: for clients that come over HTTP."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import uvicorn

#: Seconds that a server may take to end; it ends at once unless the machine is busy.
_END: Final = 30.0


@contextmanager
def served(app: Any, port: int = 0) -> Iterator[str]:
    """The address of `app`, for as long as this lasts.

    Args:
        app: ASGI, with a lifespan of its own.
        port: A free one unless given.
    """
    listener = socket.create_server(("127.0.0.1", port))
    config = uvicorn.Config(app, log_level="critical", lifespan="on", ws="none", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(_END)
        listener.close()
