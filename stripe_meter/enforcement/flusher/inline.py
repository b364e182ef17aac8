"""An executor that needs no threads, for a loop that has to work while the interpreter ends.

Owns nothing else: what a loop would give to a pool, such as looking up a name, runs in the loop's own thread.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class InlineExecutor(concurrent.futures.ThreadPoolExecutor):
    """Runs what it is given at once: at interpreter exit, pools refuse work, and name look-ups would fail."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[T]:
        future: concurrent.futures.Future[T] = concurrent.futures.Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # it belongs to whoever asks the future
            future.set_exception(error)
        return future
