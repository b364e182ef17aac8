"""The emulator on a loopback port: uvicorn in a thread of its own.

Owns: starting and stopping within bounds, and helpers that may be called from any thread. Does not own: behaviour. It
binds loopback addresses only. A server that does not come up, or does not go down, raises TimeoutError.
"""

import asyncio
import socket
import threading
from types import TracebackType
from typing import Any, Final, Self

import uvicorn

from stripe_meter.emulator.browser import pay_by_forms
from stripe_meter.emulator.core import Emulator
from stripe_meter.emulator.resources.webhook_endpoints import is_loopback

START_SECONDS: Final = 10.0
STOP_SECONDS: Final = 10.0
BACKLOG: Final = 2048


class EmulatorServer:
    """Context manager: `with EmulatorServer(emulator) as server: server.url`. Port 0 takes a free one."""

    def __init__(self, emulator: Emulator, host: str = "127.0.0.1", port: int = 0) -> None:
        if not is_loopback(host):
            raise ValueError("the emulator binds loopback addresses only")
        self.emulator = emulator
        self._host = host
        self._port = port
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._server: uvicorn.Server | None = None
        self.url = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Bind, serve, and return once requests are answered; raises OSError when the port is taken."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        # With the protocol named asyncio sets TCP_NODELAY; without it every answer waits 40 ms for an ACK.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self._host, self._port))
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
        self._port = listener.getsockname()[1]
        host = f"[{self._host}]" if family is socket.AF_INET6 else self._host
        self.url = self.emulator.account.base_url = f"http://{host}:{self._port}"
        self.emulator.app.state.hang_up = self._hang_up
        up = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(listener, up), name="stripe-emulator", daemon=True)
        self._thread.start()
        if not up.wait(START_SECONDS):
            raise TimeoutError("the emulator did not start")

    def stop(self) -> None:
        """Stop serving; open connections are closed. Raises TimeoutError if the thread hangs."""
        if self._thread is None or self._server is None:
            return
        self._server.should_exit = True
        self._thread.join(STOP_SECONDS)
        if self._thread.is_alive():
            raise TimeoutError("the emulator did not stop")
        self._thread = None

    def advance(self, seconds: float) -> None:
        """Move the emulator's clock; everything due has happened on return."""
        self.emulator.clock.advance(seconds)

    def settle(self, timeout: float = 5.0) -> None:
        """Wait until meter events are counted and webhooks were tried; raises TimeoutError."""
        if self._loop is None:
            raise RuntimeError("the server is not running")
        done = asyncio.run_coroutine_threadsafe(self.emulator.settle(timeout), self._loop)
        done.result(timeout + STOP_SECONDS)

    def complete_checkout(self, url: str, card: str = "4242424242424242", email: str | None = None) -> str:
        """Pay on a hosted Checkout page by posting its forms; returns where the payer is sent.

        Raises ValueError with the page's message when the card is refused.
        """
        return pay_by_forms(url, card, email)

    def _run(self, listener: socket.socket, up: threading.Event) -> None:
        config = uvicorn.Config(
            self.emulator.app,
            log_level="error",
            access_log=False,
            lifespan="on",
            ws="none",
            date_header=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        server = self._server = _AnnouncingServer(config, up)

        async def main() -> None:
            self._loop = asyncio.get_running_loop()
            await server.serve(sockets=[listener])

        try:
            asyncio.run(main())
        finally:
            self._loop = None
            listener.close()

    def _hang_up(self, client: Any) -> None:
        """Reset the connection of a client without an answer."""
        connections: Any = self._server.server_state.connections if self._server else ()
        for connection in tuple(connections):
            if connection.client == tuple(client):
                connection.transport.abort()


class _AnnouncingServer(uvicorn.Server):
    """Tells when it has started."""

    def __init__(self, config: uvicorn.Config, up: threading.Event) -> None:
        super().__init__(config)
        self._up = up

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._up.set()
