"""The calls that wait for a worker, in the order in which they came, within their budgets."""

from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from project_fanout.engine.pools.calls import UnitCall, UnitLog, UnitReply

_Budget = tuple[str, "int | None"]


@dataclass(slots=True, eq=False)
class Job:
    """A call, the future that its submitter holds, and how it fares in the pool.

    Args:
        call: what to run.
        future: ends with the reply.
        on_log: gets the unit's log records, None if nobody wants them.
        place: its place in the order of submission.
        number: its number with the worker that holds it.
        handed_at: when it was given to that worker, on the monotonic clock.
        claimed: whether the future has been told that its call is in work.
        returned: how often a worker died before it started the call.
    """

    call: UnitCall
    future: "Future[UnitReply]"
    on_log: Callable[[UnitLog], None] | None = None
    place: int = 0
    number: int = 0
    handed_at: float = 0.0
    claimed: bool = False
    returned: int = 0
    budget: _Budget = field(init=False)

    def __post_init__(self) -> None:
        self.budget = (self.call.budget, self.call.max_in_flight)

    def claim(self) -> bool:
        """Mark the future as running; return False if it has been cancelled."""
        if not self.claimed:
            self.claimed = self.future.set_running_or_notify_cancel()
        return self.claimed

    @property
    def size(self) -> int:
        """About how many bytes the call takes on its way."""
        return len(self.call.payload_json) + len(self.call.params)


class Backlog:
    """First in, first out, except that a budget with all its places taken is passed over.

    There is one queue per budget and limit, and few of these, so every operation takes the same short
    time however many calls wait. Not thread-safe.
    """

    def __init__(self) -> None:
        self._queues: dict[_Budget, deque[Job]] = {}
        self._in_flight: Counter[str] = Counter()
        self._submitted = 0
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def append(self, job: Job) -> None:
        """Put a new job last."""
        self._submitted += 1
        job.place = self._submitted
        self._queues.setdefault(job.budget, deque()).append(job)
        self._waiting += 1

    def put_back(self, job: Job) -> None:
        """Put a job that was taken but not started back in its place, before all that came after it."""
        queue = self._queues.setdefault(job.budget, deque())
        later = []
        while queue and queue[0].place < job.place:
            later.append(queue.popleft())
        queue.appendleft(job)
        queue.extendleft(reversed(later))
        self._waiting += 1

    def take(self) -> Job | None:
        """Return the first job that may start now and count it as in flight, None if there is none."""
        job = self._take(self._first(None))
        if job is not None:
            self.occupy(job)
        return job

    def take_behind(self, last: Job, max_bytes: int) -> Job | None:
        """Return the job that is to follow *last* on the same worker, None if there is none.

        It is not counted as in flight until `occupy`. It is the job that would be taken next anyway, so
        nothing is overtaken; it has no limit or takes the place of *last* in the same budget; and it
        is not larger than *max_bytes*.
        """
        budget = self._first(last.budget)
        if budget is None or (budget[1] is not None and budget != last.budget):
            return None
        return self._take(budget) if self._queues[budget][0].size <= max_bytes else None

    def occupy(self, job: Job) -> None:
        """Count *job* as in flight."""
        self._in_flight[job.call.budget] += 1

    def release(self, job: Job) -> None:
        """Count *job* as no longer in flight."""
        self._in_flight[job.call.budget] -= 1
        if not self._in_flight[job.call.budget]:
            del self._in_flight[job.call.budget]

    def clear(self) -> list[Job]:
        """Remove and return all that waits, in order."""
        jobs = sorted((job for queue in self._queues.values() for job in queue), key=lambda job: job.place)
        self._queues.clear()
        self._waiting = 0
        return jobs

    def _first(self, open_anyway: _Budget | None) -> _Budget | None:
        """Return the budget whose first job is the oldest of those that may start."""
        may_start = [
            budget
            for budget in self._queues
            if budget[1] is None or budget == open_anyway or self._in_flight[budget[0]] < budget[1]
        ]
        return min(may_start, key=lambda budget: self._queues[budget][0].place, default=None)

    def _take(self, budget: _Budget | None) -> Job | None:
        if budget is None:
            return None
        queue = self._queues[budget]
        job = queue.popleft()
        if not queue:
            del self._queues[budget]
        self._waiting -= 1
        return job
