"""A faulty wire: a loopback TCP proxy in front of the emulator that breaks connections by plan.

Owns: resets, half answers and silence, below HTTP where the app cannot produce them. Does not own: what the emulator
answers. Each connection carries one request and takes the next behaviour of the plan; after the plan all go well.
A target that does not answer closes the client's connection.
"""

import contextlib
import random
import socket
import socketserver
import struct
import threading
from collections import deque
from collections.abc import Iterable
from types import TracebackType
from typing import Final, Literal, Self, get_args
from urllib.parse import urlsplit

Behaviour = Literal["ok", "rst_before", "rst_after", "half", "hang"]
BEHAVIOURS: Final[tuple[Behaviour, ...]] = get_args(Behaviour)
CHUNK: Final = 65_536
MAX_HEAD: Final = 64 * 1024
MAX_BODY: Final = 8_000_000
TIMEOUT_SECONDS: Final = 10.0
RESET: Final = struct.pack("ii", 1, 0)


def plan_from(seed: int, length: int, faulty: float = 0.3) -> list[Behaviour]:
    """A plan that the same seed makes again: about `faulty` of the connections go wrong."""
    dice = random.Random(seed)  # noqa: S311  # repeatable on purpose
    wrong = [behaviour for behaviour in BEHAVIOURS if behaviour != "ok"]
    return [dice.choice(wrong) if dice.random() < faulty else "ok" for _ in range(length)]


class FaultyWire:
    """Context manager: `with FaultyWire(server.url, ["rst_after"]) as wire: client(wire.url)`.

    `rst_before`: reset without passing the request on. `rst_after`: pass it on, reset instead of answering. `half`:
    pass it on, send half of the answer, reset. `hang`: say nothing until the client gives up.
    """

    def __init__(self, target: str, plan: Iterable[Behaviour] = ()) -> None:
        parts = urlsplit(target)
        self.target = (parts.hostname or "127.0.0.1", parts.port or 80)
        self.taken: list[Behaviour] = []
        self._plan = deque(plan)
        self._lock = threading.Lock()
        self._closing = threading.Event()
        wire = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                wire.serve(self.request)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def serve(self, client: socket.socket) -> None:
        """Carry one request and its answer, as far as the plan lets it."""
        client.settimeout(TIMEOUT_SECONDS)
        with contextlib.suppress(OSError):
            request = _message(client)
            if not request:
                return
            behaviour = self._next()
            if behaviour == "hang":
                self._stay_silent(client)
                return
            answer = b"" if behaviour == "rst_before" else self._ask(request)
            if behaviour == "half":
                client.sendall(answer[: len(answer) // 2])
            if behaviour == "ok":
                client.sendall(answer.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
            else:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    def _next(self) -> Behaviour:
        with self._lock:
            behaviour = self._plan.popleft() if self._plan else "ok"
            self.taken.append(behaviour)
            return behaviour

    def _stay_silent(self, client: socket.socket) -> None:
        client.settimeout(0.05)
        while not self._closing.is_set():
            try:
                if not client.recv(CHUNK):
                    return
            except TimeoutError:
                continue

    def _ask(self, request: bytes) -> bytes:
        with socket.create_connection(self.target, TIMEOUT_SECONDS) as upstream:
            upstream.sendall(request)
            return _message(upstream)


def _message(connection: socket.socket) -> bytes:
    """One HTTP message with a Content-Length; as much as there is when the other side closes early."""
    data = b""
    while b"\r\n\r\n" not in data and len(data) < MAX_HEAD:
        part = connection.recv(CHUNK)
        if not part:
            return data
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    wanted = min(_length(head), MAX_BODY)
    while len(body) < wanted:
        part = connection.recv(CHUNK)
        if not part:
            break
        body += part
    return head + b"\r\n\r\n" + body


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            return int(value)
    return 0
