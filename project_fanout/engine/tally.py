"""The running counts of one fan-out, shared by all its records in a process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Tally:
    """Counts ended units, and steps in progress; safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failed = 0
        self._total: int | None = None
        self._steps = 0

    def count(self, *, succeeded: bool) -> None:
        """Count one unit that has ended for good."""
        with self._lock:
            self._failed += not succeeded

    def expect(self, total: int) -> None:
        """Say how many units there are in all, once that is known."""
        with self._lock:
            self._total = total

    def out_of_reach(self, max_failed_ratio: float) -> bool:
        """Tell whether more units have failed than may fail, whatever becomes of the others.

        Until the total is known, only a ratio of 0 can be out of reach.
        """
        with self._lock:
            if self._total is None:
                return max_failed_ratio == 0 and self._failed > 0
            return self._total > 0 and self._failed / self._total > max_failed_ratio

    @contextmanager
    def step_in_progress(self) -> Iterator[None]:
        """Count a step among those that share the pool while the block runs."""
        with self._lock:
            self._steps += 1
        try:
            yield
        finally:
            with self._lock:
                self._steps -= 1

    @property
    def steps_in_progress(self) -> int:
        with self._lock:
            return max(1, self._steps)
