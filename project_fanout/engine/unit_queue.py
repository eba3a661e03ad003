"""`UnitQueue`: which unit of a step is handed to the pool next."""

from collections import deque
from collections.abc import Iterable

from project_fanout.engine.job import Job


class UnitQueue:
    """The units of a step that wait, in order; not thread-safe.

    Args:
        jobs: what waits at first.
        one_per_record: keep a unit back while another one of its record has been taken and not released.
    """

    def __init__(self, jobs: Iterable[Job], *, one_per_record: bool) -> None:
        self._one_per_record = one_per_record
        self._lines: dict[str, deque[Job]] = {}
        # Lines with a unit that may be taken now, each once.
        self._ready: deque[str] = deque()
        self._taken: set[str] = set()
        for job in jobs:
            self._line(job).append(job)

    def put_first(self, job: Job) -> None:
        """Let *job* be the next of its line."""
        self._line(job).appendleft(job)

    def take(self) -> Job | None:
        """Return the next unit, None if none waits or all that wait are kept back."""
        if not self._ready:
            return None
        name = self._ready[0]
        line = self._lines[name]
        job = line.popleft()
        if self._one_per_record:
            self._taken.add(name)
        if self._one_per_record or not line:
            self._ready.popleft()
        return job

    def release(self, job: Job) -> None:
        """Note that a unit that was taken has come back from the pool."""
        name = self._name(job)
        if name in self._taken:
            self._taken.discard(name)
            if self._lines[name]:
                self._ready.append(name)

    def drain(self) -> list[Job]:
        """Take out all that waits."""
        jobs = [job for line in self._lines.values() for job in line]
        self._lines = {name: deque() for name in self._lines}
        self._ready.clear()
        return jobs

    def _name(self, job: Job) -> str:
        return job.record_key if self._one_per_record else ""

    def _line(self, job: Job) -> deque[Job]:
        """Return the line that *job* is about to join."""
        name = self._name(job)
        line = self._lines.setdefault(name, deque())
        if not line and name not in self._taken:
            self._ready.append(name)
        return line
