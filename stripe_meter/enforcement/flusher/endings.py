"""Every way a process can end, and what is done so that usage still arrives.

Owns the one end that a process comes to, whatever brings it about: the exit of the interpreter, of a `multiprocessing`
child, a signal. All engines share its deadline, and so do a signal and the exit that follows it. A signal is kept back
while usage is sent, then sent again to whoever heard it before us; within a second another one is the same, later it
ends the waiting. Forks are here too: a child starts from nothing. `kill -9` and `os.exec…` run nothing, and what Stripe
had not accepted until then is lost.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import threading
import time
import weakref
from collections.abc import Iterable
from typing import Final

from stripe_meter.enforcement.flusher import signals
from stripe_meter.enforcement.flusher.thread import AFTERLIFE, IMPORTING, SERVER_DEADLINE, StripeThread

log = logging.getLogger("stripe_meter.flusher")

#: Servers repeat the signals that they heard, and impatient people and process managers send several.
_SAME: Final = 1.0


class _End:
    """Where this process stands on its way to the end."""

    def __init__(self) -> None:
        #: The signal that was heard first, and when.
        self.number: int | None = None
        self.heard = 0.0
        #: Whether it was sent on: then we have had our time.
        self.is_passed_on = False
        #: Whether a second one ended the waiting.
        self.is_cut_short = False
        self.is_exiting = False
        #: When waiting is over, and how long it may take.
        self.until: float | None = None
        self.patience = SERVER_DEADLINE

    def by_when(self, threads: Iterable[StripeThread]) -> float:
        """One moment for all stages; a process that lives much longer than that has time again."""
        now = time.monotonic()
        if self.until is None or now > self.until + self.patience:
            self.patience = min((thread.deadline for thread in threads), default=SERVER_DEADLINE)
            self.until = now + self.patience
        return self.until


class _Watched:
    """The threads of this process. A tuple that is replaced: a signal handler reads it without a lock."""

    def __init__(self) -> None:
        self.end = _End()
        self.lock = threading.Lock()
        self.references: tuple[weakref.ref[StripeThread], ...] = ()
        self.is_hooked = False
        self.forking: list[StripeThread] = []

    def threads(self) -> list[StripeThread]:
        return [thread for reference in self.references if (thread := reference()) is not None]


_state: Final = _Watched()


def watch(thread: StripeThread) -> None:
    """Make sure that what `thread` holds is sent however this process ends."""
    with _state.lock:
        _state.references = (*(known for known in _state.references if known()), weakref.ref(thread))
        is_first, _state.is_hooked = not _state.is_hooked, True
    if is_first:
        _hook()
    if not (signals.take() or signals.take_again()) and is_first:
        log.warning(
            "usage that is on its way will be lost on SIGTERM, because no tool was decorated and no StripeMeter was "
            "built in the main thread; do one of them there, such as at the top of a module"
        )


def _hook() -> None:
    # After all threads but daemons, as one of them may be the server.
    atexit.register(_close_all)
    with contextlib.suppress(AttributeError, RuntimeError):  # a later Python without it; the main thread has ended
        threading._register_atexit(_close_child)  # type: ignore[attr-defined]  # private; there is no public such hook
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
    signals.listen(_heed)


def watch_again() -> None:
    """Before the first usage: a server may have reset signals in a child after its fork."""
    signals.take_again()


def _close_child() -> None:
    """A child of `multiprocessing` runs no exit hooks but those of its threads."""
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        _close_all()


def _close_all() -> None:
    end, threads = _state.end, _state.threads()
    end.is_exiting = True
    until = end.by_when([thread for thread in threads if not thread.is_settled])
    for thread in threads:
        thread.leave(until)
    for thread in threads:
        _wait_for(thread, until)
    end.is_exiting = False
    if end.number is not None and not end.is_passed_on:
        _pass_on()


def _wait_for(thread: StripeThread, until: float) -> None:
    """Ctrl-C is no reason to lose usage, for waiting is bounded; a second one is."""
    try:
        thread.gone(until)
    except KeyboardInterrupt:
        try:
            thread.gone(until)
        except KeyboardInterrupt:
            thread.cut_short()
            thread.gone(0.0)


def _heed(number: int) -> bool:
    """Whether a signal is kept back. Runs in its handler, so it takes no lock and leaves the work to the threads."""
    now, end, threads = time.monotonic(), _state.end, _state.threads()
    if end.number is not None and now - end.heard > AFTERLIFE:
        end = _state.end = _End()
    if end.is_passed_on or (end.is_cut_short and now - end.heard >= _SAME):
        return False
    if end.number is not None:
        if now - end.heard >= _SAME:
            end.is_cut_short, end.heard = True, now
            for thread in threads:
                thread.cut_short()
        return True
    end.number, end.heard = number, now
    for thread in threads:
        thread.hurry()
    if end.is_exiting:
        return True
    waiting = [thread for thread in threads if not thread.is_settled]
    if waiting:
        _see_off(waiting)
    else:
        end.is_passed_on = True
    return bool(waiting)


def _see_off(waiting: list[StripeThread]) -> None:
    until, tickets = _state.end.by_when(waiting), list(range(len(waiting)))

    def done() -> None:
        # Popping is atomic, so exactly one of several threads gets the last one.
        if tickets.pop() == 0:
            if all(thread.is_settled for thread in waiting):
                _state.end.until = None
            if not _state.end.is_exiting:
                _pass_on()

    for thread in waiting:
        thread.see_off(until, done)


def _pass_on() -> None:
    """Send the signal again, to whoever heard it before us."""
    end = _state.end
    if end.number is not None:
        end.is_passed_on = True
        os.kill(os.getpid(), end.number)


def _before_fork() -> None:
    IMPORTING.acquire()
    _state.forking = _state.threads()
    for thread in _state.forking:
        thread.before_fork()


def _after_in_parent() -> None:
    for thread in _state.forking:
        thread.after_fork_in_parent()
    _state.forking = []
    IMPORTING.release()


def _after_in_child() -> None:
    _state.end = _End()
    _state.lock = threading.Lock()
    for thread in _state.threads():
        thread.after_fork_in_child()
    _state.forking = []
    IMPORTING.release()
