"""Every way a process can end, and what is done so that usage still arrives.

Owns the hooks: interpreter exit, SIGTERM (chained, never swallowed), fork. Installed once for each process when the
first engine is built, which is before a server runs; a second SIGTERM or the deadline ends the waiting. SIGINT is left
alone: asyncio and the servers turn it into an orderly exit. `kill -9` runs nothing, and what Stripe had not accepted
until then is lost.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import signal
import threading
import weakref
from types import FrameType
from typing import Any, Final

from stripe_meter.enforcement.flusher.thread import IMPORTING, StripeThread

log = logging.getLogger("stripe_meter.flusher")

_THREADS: Final[weakref.WeakSet[StripeThread]] = weakref.WeakSet()


class _Endings:
    def __init__(self) -> None:
        self.hooked = False
        self.handling = False
        self.previous: Any = signal.SIG_DFL
        self.stopping = False
        self.is_forked = False


_state: Final = _Endings()


def watch(thread: StripeThread) -> None:
    """Make sure that what `thread` holds is sent however this process ends."""
    _THREADS.add(thread)
    if not _state.hooked:
        _state.hooked = True
        # Runs before the executors shut down, and in multiprocessing children too, where atexit does not.
        getattr(threading, "_register_atexit", atexit.register)(_close_all)
        os.register_at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
    if not _state.handling and threading.current_thread() is threading.main_thread():
        _state.handling = True
        _state.previous = signal.signal(signal.SIGTERM, _on_sigterm)


def watch_again() -> None:
    """In a forked child: a server may have reset SIGTERM after the fork, so take it again before the first usage."""
    if _state.is_forked and threading.current_thread() is threading.main_thread():
        _state.is_forked = False
        if signal.getsignal(signal.SIGTERM) is not _on_sigterm:
            _state.previous = signal.signal(signal.SIGTERM, _on_sigterm)


def _close_all() -> None:
    threads = list(_THREADS)
    for thread in threads:
        thread.hurry()
    for thread in threads:
        thread.close()


def _on_sigterm(signum: int, frame: FrameType | None) -> None:
    waiting = [thread for thread in _THREADS if not thread.is_settled]
    if _state.stopping or not waiting:
        for thread in _THREADS:
            thread.hurry()
        _chain(signum, frame)
        return
    _state.stopping = True
    if _loop_runs_here():
        # Blocking here would stop the tools that are still running; the loop goes on, the signal comes again.
        left = list(waiting)

        def drained() -> None:
            left.pop()
            if not left:
                os.kill(os.getpid(), signal.SIGTERM)

        for thread in waiting:
            thread.hurry_then(drained)
        return
    for thread in waiting:
        thread.hurry()
    for thread in waiting:
        thread.drain(thread.deadline)
    _chain(signum, frame)


def _chain(signum: int, frame: FrameType | None) -> None:
    previous = _state.previous
    if callable(previous):
        previous(signum, frame)
    elif previous == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)


def _loop_runs_here() -> bool:
    with contextlib.suppress(RuntimeError):
        asyncio.get_running_loop()
        return True
    return False


def _before_fork() -> None:
    IMPORTING.acquire()
    for thread in _THREADS:
        thread.before_fork()


def _after_in_parent() -> None:
    for thread in _THREADS:
        thread.after_fork_in_parent()
    IMPORTING.release()


def _after_in_child() -> None:
    _state.stopping = False
    _state.is_forked = True
    for thread in _THREADS:
        thread.after_fork_in_child()
    IMPORTING.release()
