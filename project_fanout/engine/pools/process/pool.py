"""A pool of local processes that one unit cannot break."""

import atexit
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from types import TracebackType

from project_fanout.engine.errors import FanoutDefinitionError, PoolClosedError
from project_fanout.engine.policy import available_cpus
from project_fanout.engine.pools.backlog import Backlog, Job
from project_fanout.engine.pools.calls import UnitCall, UnitLog, UnitReply
from project_fanout.engine.pools.execute import MAX_RESULT_BYTES
from project_fanout.engine.pools.process.seat import Seat
from project_fanout.engine.pools.process.worker_process import Guard
from project_fanout.engine.pools.settings import (
    NICENESS,
    LogLevel,
    MaxResultBytes,
    MaxWorkers,
    MemoryLimit,
    Niceness,
)
from project_fanout.engine.settings import check_settings

# Seats notice within 0.25 s that the pool is closed; one stuck in a caller's callback is not waited for.
_LONGEST_CLOSE_S = 2.0


class ProcessPool:
    """Runs units in processes of its own, which start when there is work and never import `__main__`.

    Whatever a unit does ends that unit alone: raising, hanging, exiting or being killed. Its worker is
    replaced with the next call. Nothing survives the pool: `close` kills what runs, with the processes
    that units have started, and so does a small guard process when this process is killed. Processes
    that a unit moved into a session of their own are found through /proc, that is on Linux, and only
    while their parents live.

    Any thread may submit. A pool belongs to the process that made it and does not work after a fork.

    Args:
        max_workers, max_result_bytes, log_level, memory_limit_mb, niceness: see `project_fanout.engine.pools.settings`.

    Raises:
        FanoutDefinitionError: an argument is out of its bounds.
    """

    def __init__(
        self,
        max_workers: MaxWorkers = None,
        *,
        max_result_bytes: MaxResultBytes = MAX_RESULT_BYTES,
        log_level: LogLevel = logging.INFO,
        memory_limit_mb: MemoryLimit = None,
        niceness: Niceness = NICENESS,
    ) -> None:
        self._settings = {
            "max_result_bytes": max_result_bytes,
            "log_level": log_level,
            "memory_limit_mb": memory_limit_mb,
            "niceness": NICENESS if niceness is None else niceness,
        }
        check_settings(ProcessPool, {"max_workers": max_workers, **self._settings})
        if memory_limit_mb is not None and sys.platform != "linux":
            raise FanoutDefinitionError(
                f"ProcessPool: memory_limit_mb is {memory_limit_mb}, but {sys.platform} does not enforce it: "
                "leave it out, or run on Linux."
            )
        self._max_workers = max_workers if max_workers is not None else available_cpus()
        self._changed = threading.Condition()
        self._backlog = Backlog()
        self._seats: list[Seat] = []
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._guard = Guard()
        self._owner = os.getpid()
        self.closed = False
        atexit.register(self.close)

    @property
    def workers(self) -> int:
        """How many units run at once."""
        return self._max_workers

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the workers that have been started and not yet been replaced."""
        return tuple(pid for seat in tuple(self._seats) if (pid := seat.pid) is not None)

    def submit(self, call: UnitCall, on_log: Callable[[UnitLog], None] | None = None) -> "Future[UnitReply]":
        """Start *call* as soon as a worker and its budget are free; see `UnitPool.submit`.

        The deadline counts from the moment at which the unit starts: neither waiting for a worker nor
        the start of one nor the first import of the stage's module (60 s at most) is part of it.

        Raises:
            PoolClosedError: the pool has been closed, or belongs to another process.
        """
        if os.getpid() != self._owner:
            raise PoolClosedError(
                f"Unit {call.unit_key!r} was handed to the pool of process {self._owner} in process "
                f"{os.getpid()}, which was forked from it: make a pool in the process that uses it."
            )
        job = Job(call, Future(), on_log)
        with self._changed:
            if self.closed:
                raise PoolClosedError(
                    f"Unit {call.unit_key!r} was handed to a pool that has been closed: "
                    "submit inside the pool's `with` block, or make a new pool."
                )
            self._backlog.append(job)
            if self._idle < len(self._backlog) and len(self._seats) < self._max_workers:
                self._add_seat()
            self._changed.notify()
        return job.future

    def close(self) -> None:
        """Kill what runs and wait until no worker is left. Calls not yet replied to end as cancelled futures.

        `Future.result` raises CancelledError for all of them; `Future.cancelled` is True for those that
        were still waiting for a worker.
        """
        if os.getpid() != self._owner:
            return
        with self._changed:
            self.closed = True
            waiting = self._backlog.clear()
            self._changed.notify_all()
        atexit.unregister(self.close)
        for job in waiting:
            if not job.future.cancel() and not job.future.done():
                # It was handed to a worker once and taken back.
                job.future.set_exception(CancelledError())
        give_up_at = time.monotonic() + _LONGEST_CLOSE_S
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, give_up_at - time.monotonic()))
        self._guard.close()

    def __enter__(self) -> "ProcessPool":  # Self is new in 3.11
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _add_seat(self) -> None:
        seat = Seat(self, self._guard, self._settings)
        # Daemons, so that the interpreter does not wait for them before it calls close() at its exit.
        thread = threading.Thread(
            target=seat.run, name=f"project_fanout pool {len(self._seats) + 1}", daemon=True
        )
        self._seats.append(seat)
        self._threads.append(thread)
        thread.start()

    # What a seat needs: see `Desk`.

    def next_job(self) -> Job | None:
        """Wait for a job and return it, None once the pool is closed."""
        with self._changed:
            while not self.closed:
                job = self._backlog.take()
                if job is None:
                    self._idle += 1
                    self._changed.wait()
                    self._idle -= 1
                elif job.claim():
                    return job
                else:
                    self._backlog.release(job)
            return None

    def next_jobs_behind(self, last: Job, count: int, max_bytes: int) -> list[Job]:
        """Return up to *count* jobs to be run after *last* on the same worker, none unless plenty wait.

        They take *max_bytes* together at most.
        """
        jobs: list[Job] = []
        with self._changed:
            # The rest must keep the other workers busy as long as these keep this one.
            while len(jobs) < count and len(self._backlog) > self._max_workers * (len(jobs) + 1):
                job = self._backlog.take_behind(last, max_bytes)
                if job is None:
                    break
                if job.claim():
                    jobs.append(job)
                    last, max_bytes = job, max_bytes - job.size
        return jobs

    def put_back(self, job: Job, *, counted: bool) -> None:
        """Take back a job that has not been started; *counted*: as in flight."""
        job.number = 0
        with self._changed:
            if counted:
                self._backlog.release(job)
            if not self.closed:
                self._backlog.put_back(job)
                self._changed.notify()
                return
        job.future.set_exception(CancelledError())

    def finish(self, job: Job, following: Job | None) -> None:
        """Note that *job* is done, and that *following* has taken its place."""
        with self._changed:
            self._backlog.release(job)
            if following is not None:
                self._backlog.occupy(following)
            if job.call.max_in_flight is not None and len(self._backlog):
                self._changed.notify()
