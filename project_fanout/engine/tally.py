"""The running counts of one fan-out, shared by all its records in a process."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from project_fanout.engine.progress import Progress

# Where the first units of a stage all fail for a reason that has nothing to do with the unit, because what it returns
# cannot travel or what it needs cannot be set up, the rest would run for nothing.
_ENOUGH_IN_VAIN = 10


class Tally:
    """Counts ended units, and steps in progress; safe to use from many threads.

    Attributes:
        cuts: the last record of each batch that a trigger has sent off, in this attempt or an earlier one.
        longest_batch: how many records the longest of them has.
        progress: how far the asset is.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failed = 0
        self._total: int | None = None
        self._steps = 0
        self._through = 0
        self.cuts: set[str] = set()
        self.longest_batch = 0
        self.progress = Progress()
        self._worked: set[str] = set()
        self._in_vain: Counter[str] = Counter()

    def count(self, *, succeeded: bool) -> None:
        """Count one unit that has ended for good."""
        with self._lock:
            self._failed += not succeeded

    def note_work(self, stage: str, *, in_vain: bool) -> None:
        """Note whether *stage* has worked for a unit, or not at all."""
        if not in_vain and stage in self._worked:
            return  # for each of a million units: that it has worked once is all that is asked
        with self._lock:
            if in_vain:
                self._in_vain[stage] += 1
            else:
                self._worked.add(stage)

    def works_in_vain(self, stage: str) -> bool:
        """Tell whether *stage* has not worked for the first units, ten of them, and for none since."""
        return stage not in self._worked and self._in_vain[stage] >= _ENOUGH_IN_VAIN

    def expect(self, total: int) -> None:
        """Say how many units there are in all, once that is known."""
        with self._lock:
            self._total = total
        self.progress.expect(total)

    def out_of_reach(self, max_failed_ratio: float) -> bool:
        """Tell whether more units have failed than may fail, whatever becomes of the others.

        Until the total is known, only a ratio of 0 can be out of reach.
        """
        with self._lock:
            if self._total is None:
                return max_failed_ratio == 0 and self._failed > 0
            return self._total > 0 and self._failed / self._total > max_failed_ratio

    def cut(self, record_key: str, records: int) -> None:
        """Note that a batch of so many *records* has been sent off, of which that is the last."""
        self.cuts.add(record_key)
        self.longest_batch = max(self.longest_batch, records)

    def is_idle(self, sent: int) -> bool:
        """Tell whether all of the *sent* batches are through their first step, so that no worker has anything to do."""
        return self._through >= sent

    @contextmanager
    def step_in_progress(self, *, is_first: bool = True) -> Iterator[None]:
        """Count a step among those that share the pool while the block runs; *is_first*: of the first stage."""
        with self._lock:
            self._steps += 1
        try:
            yield
        finally:
            with self._lock:
                self._steps -= 1
                self._through += is_first

    @property
    def steps_in_progress(self) -> int:
        with self._lock:
            return max(1, self._steps)
