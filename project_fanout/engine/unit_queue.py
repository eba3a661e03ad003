"""`UnitQueue`: which unit of a step is handed to the pool next."""

from collections import deque
from collections.abc import Iterable

from project_fanout.engine.task import Task


class UnitQueue:
    """The units of a step that wait, in order; not thread-safe.

    Args:
        tasks: what waits at first.
        one_per_record: keep a unit back while another one of its record has been taken and not released.
    """

    def __init__(self, tasks: Iterable[Task], *, one_per_record: bool) -> None:
        self._one_per_record = one_per_record
        self._lines: dict[str, deque[Task]] = {}
        # Lines with a unit that may be taken now, each once.
        self._ready: deque[str] = deque()
        self._taken: set[str] = set()
        for task in tasks:
            self._line(task).append(task)

    def put_first(self, task: Task) -> None:
        """Let *task* be the next of its line."""
        self._line(task).appendleft(task)

    def take(self) -> Task | None:
        """Return the next unit, None if none waits or all that wait are kept back."""
        if not self._ready:
            return None
        name = self._ready[0]
        line = self._lines[name]
        task = line.popleft()
        if self._one_per_record:
            self._taken.add(name)
        if self._one_per_record or not line:
            self._ready.popleft()
        return task

    def release(self, task: Task) -> None:
        """Note that a unit that was taken has come back from the pool."""
        name = self._name(task)
        if name in self._taken:
            self._taken.discard(name)
            if self._lines[name]:
                self._ready.append(name)

    def drain(self) -> list[Task]:
        """Take out all that waits."""
        tasks = [task for line in self._lines.values() for task in line]
        self._lines = {name: deque() for name in self._lines}
        self._ready.clear()
        return tasks

    def _name(self, task: Task) -> str:
        return task.record_key if self._one_per_record else ""

    def _line(self, task: Task) -> deque[Task]:
        """Return the line that *task* is about to join."""
        name = self._name(task)
        line = self._lines.setdefault(name, deque())
        if not line and name not in self._taken:
            self._ready.append(name)
        return line
