"""The emulator's clock and its agenda of work that falls due.

Owns: what time it is (real time plus an offset, or frozen) and a queue of jobs with a due time.
Does not own: what the jobs do. A job runs with the clock standing at its own due time, also when it runs late,
so the objects it makes carry the time Stripe would have written. A job that raises ends the run and the error
reaches whoever moved the clock; the jobs after it stay queued.
"""

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from typing import Final

Job = Callable[[], None]
MAX_JOBS: Final = 1_000_000


class Clock:
    """Epoch seconds that tests can move; every method may be called from any thread."""

    def __init__(self, lock: threading.RLock, source: Callable[[], float] = time.time) -> None:
        self._lock = lock
        self._source = source
        self._offset = 0.0
        self._frozen_at: float | None = None
        self._pinned: float | None = None
        self._jobs: list[tuple[float, int, Job]] = []
        self._serial = itertools.count()
        self._listeners: list[Callable[[], None]] = []

    def now(self) -> float:
        """Current time of the emulator in epoch seconds."""
        with self._lock:
            if self._pinned is not None:
                return self._pinned
            if self._frozen_at is not None:
                return self._frozen_at
            return self._source() + self._offset

    def seconds(self) -> int:
        """Current time as whole epoch seconds, the form of every `created` field."""
        return int(self.now())

    @property
    def frozen(self) -> bool:
        """Whether time stands still until `advance` or `unfreeze`."""
        return self._frozen_at is not None

    def freeze(self) -> None:
        """Stop the clock where it is."""
        with self._lock:
            if self._frozen_at is None:
                self._frozen_at = self.now()
        self._notify()

    def unfreeze(self) -> None:
        """Let real time pass again, going on from where the clock stood."""
        with self._lock:
            if self._frozen_at is not None:
                self._offset = self._frozen_at - self._source()
                self._frozen_at = None
        self._notify()

    def advance(self, seconds: float) -> None:
        """Move forward by `seconds` and do everything that falls due on the way, in order.

        Raises ValueError for a negative step: Stripe's time, like a test clock's, only goes forward.
        """
        if seconds < 0:
            raise ValueError("the clock only moves forward")
        with self._lock:
            target = self.now() + seconds
            self._run_until(target)
            if self._frozen_at is not None:
                self._frozen_at = target
            else:
                self._offset += seconds
        self._notify()

    def schedule(self, at: float, job: Job) -> None:
        """Have `job` run when the clock reaches `at` (epoch seconds); equal times run in order of arrival."""
        with self._lock:
            if len(self._jobs) >= MAX_JOBS:
                raise OverflowError(f"the emulator queues at most {MAX_JOBS} jobs")
            heapq.heappush(self._jobs, (at, next(self._serial), job))
            earliest = self._jobs[0][2] is job
        if earliest:
            self._notify()

    def run_due(self) -> None:
        """Do what is due by now."""
        with self._lock:
            if self._pinned is None:
                self._run_until(self.now())

    def next_due(self) -> float | None:
        """Real seconds until the next job, or None when nothing is queued or time stands still before it."""
        with self._lock:
            if not self._jobs:
                return None
            wait = max(0.0, self._jobs[0][0] - self.now())
            return None if wait > 0 and self._frozen_at is not None else wait

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever the next due time may have changed."""
        self._listeners.append(listener)

    def off_change(self, listener: Callable[[], None]) -> None:
        """Stop calling `listener`."""
        self._listeners.remove(listener)

    def _run_until(self, target: float) -> None:
        try:
            while self._jobs and self._jobs[0][0] <= target:
                at, _, job = heapq.heappop(self._jobs)
                self._pinned = at
                job()
        finally:
            self._pinned = None

    def _notify(self) -> None:
        for listener in tuple(self._listeners):
            listener()
