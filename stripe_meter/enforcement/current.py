"""Which engine bills a call: found when the tool is called, never when it is imported.

Owns the order: the one a test has put in place of all others, then the one the edge knows of (named at the decorator,
or attached to the server), then the process default built from the environment. Knows nothing of how the default is
built; the composition root says so.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from stripe_meter.errors import ConfigurationError

if TYPE_CHECKING:
    from stripe_meter.enforcement.engine import Engine


class _Default:
    """The engine of a process that configured none, and whether one was configured."""

    build: Callable[[], Engine] | None = None
    engine: Engine | None = None
    is_configured = False


_default: Final = _Default()


class _Override:
    """The engine that bills every call of this process while a test says so, whatever else is configured.

    One for the process and no context variable: the tasks and threads of a server are often older than the test's wish.
    """

    __slots__ = ("_begun", "_lock", "engine")

    def __init__(self) -> None:
        self.engine: Engine | None = None
        self._begun: list[_Wish] = []
        self._lock = threading.Lock()

    def begin(self, wish: _Wish) -> None:
        with self._lock:
            self._begun.append(wish)
            self.engine = wish.engine

    def end(self, wish: _Wish) -> None:
        with self._lock:
            self._begun.remove(wish)
            self.engine = self._begun[-1].engine if self._begun else None


class _Wish:
    """One `instead`, told from another one of the same engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine


#: Looked at by every paid call; each edge asks it before anything else.
override: Final = _Override()


@contextmanager
def instead(engine: Engine) -> Iterator[None]:
    """Until this ends, `engine` bills every call of this process, in every thread and task.

    Where several are open, the one begun last counts, in whatever order they end.
    """
    wish = _Wish(engine)
    override.begin(wish)
    try:
        yield
    finally:
        override.end(wish)


@contextmanager
def forgetting() -> Iterator[None]:
    """A process default of its own until this ends; it is closed then, and the one before is back."""
    before = _default.engine, _default.is_configured
    _default.engine = None
    try:
        yield
    finally:
        mine = _default.engine
        _default.engine, _default.is_configured = before
        if mine is not None:
            mine.close()


def build_default_with(build: Callable[[], Engine]) -> None:
    """Say how the process default is built; the composition root does, once."""
    _default.build = build


def configured() -> None:
    """Note that the author built a StripeMeter, so that a bare `@metered` cannot quietly use another one."""
    _default.is_configured = True


def find(explicit: Engine | None) -> Engine:
    """The engine for a call.

    Raises:
        ConfigurationError: A StripeMeter was configured, but nothing connects it to this tool.
    """
    engine = explicit or _default.engine
    if engine is not None:
        return engine
    if _default.is_configured:
        raise ConfigurationError(
            "a StripeMeter was configured, but this tool is not connected to it; write `billing.attach(mcp)` "
            "once, or `@billing.metered(…)` above the tool"
        )
    if _default.build is None:
        raise ConfigurationError("nothing says who bills this call; import `metered` from stripe_meter")
    _default.engine = _default.build()
    return _default.engine
