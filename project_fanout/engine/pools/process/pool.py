"""A pool of local processes that one unit cannot break."""

import atexit
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from project_fanout.engine.closing import Closing
from project_fanout.engine.errors import FanoutDefinitionError
from project_fanout.engine.policy import available_cpus
from project_fanout.engine.pools.backlog import Backlog
from project_fanout.engine.pools.calls import UnitCall, UnitLog, UnitReply
from project_fanout.engine.pools.execute import MAX_RESULT_BYTES
from project_fanout.engine.pools.process.slot import WorkerSlot
from project_fanout.engine.pools.process.worker_process import Reaper
from project_fanout.engine.pools.settings import (
    NICENESS,
    LogLevel,
    MaxResultBytes,
    MaxWorkers,
    MemoryLimit,
    Niceness,
)
from project_fanout.engine.pools.ticket import Ticket, check_owner
from project_fanout.engine.settings import check_settings

# Slots notice within 0.25 s that the pool is closed; one stuck in a caller's callback is not waited for.
_LONGEST_CLOSE_S = 2.0


class ProcessPool(Closing):
    """Runs units in processes of its own, which start when there is work and never import `__main__`.

    Whatever a unit does ends that unit alone: raising, hanging, exiting or being killed. Its worker is
    replaced with the next call. Nothing survives the pool: `close` kills what runs, with the processes
    that units have started, and so does a small reaper process when this process is killed. Processes
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
        self._backlog = Backlog(self._max_workers)
        self._lock = threading.Lock()
        self._slots: list[WorkerSlot] = []
        self._threads: list[threading.Thread] = []
        self._reaper = Reaper()
        self._owner = os.getpid()
        atexit.register(self.close)

    @property
    def workers(self) -> int:
        """How many units run at once."""
        return self._max_workers

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the workers that have been started and not yet been replaced."""
        return tuple(pid for slot in tuple(self._slots) if (pid := slot.pid) is not None)

    def submit(self, call: UnitCall, on_log: Callable[[UnitLog], None] | None = None) -> "Future[UnitReply]":
        """Start *call* as soon as a worker and its budget are free; see `UnitPool.submit`.

        The deadline counts from the moment at which the unit starts: neither waiting for a worker nor
        the start of one nor the first import of the stage's module (60 s at most) is part of it.

        Raises:
            PoolClosedError: the pool has been closed, or belongs to another process.
        """
        check_owner(self._owner, call)
        ticket = Ticket(call, on_log)
        if self._backlog.append(ticket):
            self._add_slot()
        return ticket.future

    def close(self) -> None:
        """Kill what runs and wait until no worker is left. Calls not yet replied to end as cancelled futures.

        `Future.result` raises CancelledError for all of them; `Future.cancelled` is True for those that
        were still waiting for a worker.
        """
        if os.getpid() != self._owner:
            return
        atexit.unregister(self.close)
        self._backlog.close()
        give_up_at = time.monotonic() + _LONGEST_CLOSE_S
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, give_up_at - time.monotonic()))
        self._reaper.close()

    def _add_slot(self) -> None:
        with self._lock:
            if self._backlog.closed or len(self._slots) == self._max_workers:
                return
            slot = WorkerSlot(self._backlog, self._reaper, self._settings)
            # Daemons, so that the interpreter does not wait for them before it calls close() at its exit.
            thread = threading.Thread(
                target=slot.run, name=f"project_fanout pool {len(self._slots) + 1}", daemon=True
            )
            self._slots.append(slot)
            self._threads.append(thread)
            thread.start()
