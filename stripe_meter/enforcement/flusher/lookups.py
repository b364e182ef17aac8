"""An executor for a loop that has to work, and to keep its deadlines, while the interpreter ends.

Owns nothing else. What a loop gives to a pool is looking up names, which takes as long as a broken resolver likes.
"""

from __future__ import annotations

import _thread
import concurrent.futures
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class LookUps(concurrent.futures.ThreadPoolExecutor):
    """A thread for each call that nobody waits for at the end: at interpreter exit, pools refuse work.

    Where not even such a thread can be had (the exit of Python 3.12 and later), the call is made at once, in the loop.
    """

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[T]:
        future: concurrent.futures.Future[T] = concurrent.futures.Future()

        def work() -> None:
            try:
                result = fn(*args, **kwargs)
            except Exception as error:  # it belongs to whoever asks the future
                future.set_exception(error)
            else:
                future.set_result(result)

        future.set_running_or_notify_cancel()
        try:
            _thread.start_new_thread(work, ())
        except RuntimeError:
            work()
        return future
