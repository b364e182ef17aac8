"""How commands that serve in the foreground end: when a person or a supervisor says so.

Owns SIGINT and SIGTERM while waiting; both mean an orderly end with status 0. A second one has its usual effect.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Any, Final

_LOOK_EVERY: Final = 0.5


def wait_until_told(is_alive: Callable[[], bool] = lambda: True, *, begin: Callable[[], object] = lambda: None) -> bool:
    """Wait for a signal; False when `is_alive` said no before one came.

    Args:
        begin: Called once a signal means an orderly end, to say so.
    """
    told = threading.Event()
    previous: dict[int, Any] = {}

    def end(signum: int, frame: object) -> None:
        told.set()
        for number, handler in previous.items():
            signal.signal(number, handler)

    for number in (signal.SIGINT, signal.SIGTERM):
        previous[number] = signal.signal(number, end)
    begin()
    while is_alive():
        if told.wait(_LOOK_EVERY):
            return True
    return told.is_set()
