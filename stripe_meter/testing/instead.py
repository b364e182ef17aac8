"""`use`: which StripeMeter bills while a test runs.

Owns the context manager that authors write; what it changes is `enforcement.current`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from stripe_meter.enforcement import current

if TYPE_CHECKING:
    from stripe_meter.meter import StripeMeter


@contextmanager
def use(billing: StripeMeter) -> Iterator[StripeMeter]:
    """Have `billing` bill every `@metered` tool of this process, in every thread and task, until this ends.

    It comes before a StripeMeter named at the decorator, one attached to the server, and the process default; a
    running server follows with its next call. Where several are open, the one opened last counts, in whatever order
    they end. A call that has begun is billed by whoever admitted it. `billing` itself is not closed.

    Args:
        billing: The StripeMeter that bills meanwhile.

    Yields:
        `billing`.
    """
    with current.instead(billing.engine):
        yield billing
