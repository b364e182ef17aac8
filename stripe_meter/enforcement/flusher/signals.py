"""SIGTERM and SIGHUP: heard before anybody else in this process, and passed on.

Owns the handlers and whom they displaced. Python lets only the main thread install one, and an engine may be built in
any, so they are taken when the first tool is decorated and mean nothing until `listen` names somebody. What runs in a
handler interrupts the main thread anywhere: it takes no lock. A signal that is ignored (`nohup`) stays ignored, a
handler that was installed from C could not be called afterwards and stays, and so does one on SIGHUP, which is no end
but a reload. SIGINT is left alone: asyncio and the servers turn it into an orderly exit.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

_NUMBERS: Final = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


class _Hearing:
    """Who hears signals of this process."""

    heed: Callable[[int], bool] | None = None
    is_taken = False
    is_forked = False
    #: Whether the loop of the main thread was asked to take them; once is enough.
    was_asked = False


_hearing: Final = _Hearing()
_displaced: Final[dict[int, Any]] = {}


def listen(heed: Callable[[int], bool]) -> None:
    """Ask `heed` about every signal: True when it keeps it back and sends it again later."""
    _hearing.heed = heed


def take() -> bool:
    """Hear signals from now on, if this is the main thread; whether they are heard."""
    if not _hearing.is_taken and threading.current_thread() is threading.main_thread():
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_after_fork)
        _take()
    return _hearing.is_taken


def take_again() -> bool:
    """Hear signals also where a server has thrown our handlers over, as they do in a worker after its fork.

    From another thread than the main one, the loop there is asked to take them. Whether they are heard.
    """
    is_missing = _hearing.is_forked or not _hearing.is_taken
    if threading.current_thread() is threading.main_thread():
        if is_missing or signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            _hearing.is_forked = False
            _take()
    elif is_missing and not _hearing.was_asked:
        _hearing.was_asked = True
        import anyio.from_thread

        with contextlib.suppress(RuntimeError):  # no thread of a loop: nobody to ask
            anyio.from_thread.run_sync(take_again)
    return _hearing.is_taken


def _take() -> None:
    _hearing.is_taken = True
    for number in _NUMBERS:
        found = signal.getsignal(number)
        is_reload = number != signal.SIGTERM and found is not signal.SIG_DFL
        if found is None or found in (signal.SIG_IGN, _on_signal) or is_reload:
            continue
        _displaced[number] = found
        with contextlib.suppress(ValueError):  # the main thread of another interpreter
            signal.signal(number, _on_signal)


def _on_signal(number: int, frame: FrameType | None) -> None:
    if _hearing.heed is not None and _hearing.heed(number):
        return
    displaced = _displaced[number]
    if callable(displaced):
        displaced(number, frame)
    else:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def _after_fork() -> None:
    _hearing.is_forked, _hearing.was_asked = True, False
