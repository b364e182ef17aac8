"""What a forked child must not inherit: tasks of a loop that is gone, and locks that another thread held.

Owns the hook and whom it calls; each of them begins anew what it owns. What a child knows of customers, prices and keys
it keeps, for that is as true there. Usage and whatever is held at Stripe belong to `flusher/endings.py`.
"""

from __future__ import annotations

import os
import weakref
from typing import Final, Protocol


class Inherited(Protocol):
    """Something with tasks or locks."""

    def after_fork(self) -> None:
        """In the child, which has only the thread that forked: begin anew what belonged to others."""


_WATCHED: Final[weakref.WeakSet[Inherited]] = weakref.WeakSet()
#: Tasks of the parent; collecting one that is not done would be told as an error.
_KEPT: Final[list[object]] = []


def watch(inherited: Inherited) -> None:
    """Tell `inherited`, for as long as it lives, when it finds itself in a forked child."""
    _WATCHED.add(inherited)


def keep(tasks: object) -> None:
    """Let go of tasks without collecting them."""
    _KEPT.append(tasks)


def _after_in_child() -> None:
    for inherited in list(_WATCHED):
        inherited.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_in_child)
