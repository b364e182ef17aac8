"""Which engine bills a call: found when the tool is called, never when it is imported.

Owns the order: the one the edge knows of (named at the decorator, or attached to the server), then the process default
built from the environment. Knows nothing of how the default is built; the composition root says so.
"""

from __future__ import annotations

from collections.abc import Callable
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
