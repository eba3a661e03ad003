"""A pool of local processes that one unit cannot break."""

import atexit
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from project_fanout.engine.closing import Closing
from project_fanout.engine.container import available_cpus, free_memory_mb
from project_fanout.engine.errors import FanoutDefinitionError
from project_fanout.engine.pools.attempt.call_stage import MAX_RESULT_BYTES
from project_fanout.engine.pools.backlog import Backlog
from project_fanout.engine.pools.calls import UnitCall, UnitLog, UnitReply
from project_fanout.engine.pools.process.environment import environments_of
from project_fanout.engine.pools.process.slot import WorkerSlot
from project_fanout.engine.pools.process.worker_process import Reaper
from project_fanout.engine.pools.settings import (
    NICENESS,
    SETUP_TIMEOUT_S,
    Gpus,
    LogLevel,
    MaxResultBytes,
    MaxWorkers,
    MemoryLimit,
    Niceness,
    RecycleAboveMb,
    RecycleAfterUnits,
    SetupTimeout,
    ThreadsPerUnit,
    UnitsPerWorker,
    places_of,
)
from project_fanout.engine.pools.ticket import Ticket, check_owner
from project_fanout.engine.rate import Rate
from project_fanout.engine.settings import check_settings

# Slots notice within 0.25 s that the pool is closed, and their workers may have 5 s to close what they have set up;
# one stuck in a caller's callback is not waited for.
_LONGEST_CLOSE_S = 7.0
# Of the memory that a container has left one worker may take so much, and leaves the others what they need to live:
# pandas and pyarrow imported. Where there is less than that, units do not fail for a limit that nobody has set.
_SHARE_OF_FREE = 0.9
_IDLE_WORKER_MB = 150
_LEAST_LIMIT_MB = 300


class ProcessPool(Closing):
    """Runs units in processes of its own, which start when there is work and never import `__main__`.

    Whatever a unit does ends that unit alone: raising, hanging, exiting or being killed. Its worker is
    replaced with the next call. Nothing survives the pool: `close` kills what runs, with the processes
    that units have started, and so does a small reaper process when this process is killed. Processes
    that a unit moved into a session of their own are found through /proc, that is on Linux, and only
    while their parents live.

    Any thread may submit. A pool belongs to the process that made it and does not work after a fork.

    Args:
        max_workers and others: see `project_fanout.engine.pools.settings`.

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
        units_per_worker: UnitsPerWorker = None,
        recycle_after_units: RecycleAfterUnits = None,
        recycle_above_mb: RecycleAboveMb = None,
        threads_per_unit: ThreadsPerUnit = 1,
        setup_timeout_s: SetupTimeout = SETUP_TIMEOUT_S,
        gpus: Gpus = None,
    ) -> None:
        self._settings: dict[str, Any] = {
            "max_result_bytes": max_result_bytes,
            "log_level": log_level,
            "memory_limit_mb": memory_limit_mb,
            "niceness": NICENESS if niceness is None else niceness,
            "units_per_worker": units_per_worker,
            "recycle_after_units": recycle_after_units,
            "recycle_above_mb": recycle_above_mb,
            "setup_timeout_s": setup_timeout_s,
        }
        of_workers = {"threads_per_unit": threads_per_unit, "gpus": gpus}
        check_settings(ProcessPool, {"max_workers": max_workers, **of_workers, **self._settings})
        if memory_limit_mb is not None and sys.platform != "linux":
            raise FanoutDefinitionError(
                f"ProcessPool: memory_limit_mb is {memory_limit_mb}, but {sys.platform} does not enforce it: "
                "leave it out, or run on Linux."
            )
        self._max_workers, self._environments = environments_of(
            max_workers if max_workers is not None else available_cpus(), threads_per_unit, gpus
        )
        if memory_limit_mb is None and sys.platform == "linux":
            self._settings["memory_limit_mb"] = _limit_in_container(self._max_workers)
        self._backlog = Backlog(self._max_workers)
        self._lock = threading.Lock()
        self._slots: list[WorkerSlot] = []
        self._threads: list[threading.Thread] = []
        self._reaper = Reaper()
        self._owner = os.getpid()
        atexit.register(self.close)

    @property
    def workers(self) -> int:
        """How many worker processes there are at most."""
        return self._max_workers

    def places(self, call: UnitCall) -> int:
        """Return how many units like that of *call* run at once; see `UnitPool.places`."""
        per_worker = places_of(self._settings["units_per_worker"], is_async=call.is_async)
        return self._max_workers * per_worker * (call.batch_size or 1)

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the workers that have been started and not yet been replaced."""
        return tuple(pid for slot in tuple(self._slots) if (pid := slot.pid) is not None)

    def submit(
        self,
        call: UnitCall,
        on_log: Callable[[UnitLog], None] | None = None,
        rate: Rate | None = None,
        on_begin: Callable[[], None] | None = None,
    ) -> "Future[UnitReply]":
        """Start *call* as soon as a worker and its budget are free, and *rate* allows it; see `UnitPool.submit`.

        The deadline counts from the moment at which the unit starts: neither waiting for a worker nor
        the start of one nor the import of the stage's module and what it sets up (`setup_timeout_s` at
        most) is part of it.

        Raises:
            PoolClosedError: the pool has been closed, or belongs to another process.
        """
        check_owner(self._owner, call)
        ticket = Ticket(call, on_log, rate, on_begin)
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
            environment = self._environments[len(self._slots)]
            slot = WorkerSlot(self._backlog, self._reaper, self._settings, environment)
            # Daemons, so that the interpreter does not wait for them before it calls close() at its exit.
            thread = threading.Thread(
                target=slot.run, name=f"project_fanout pool {len(self._slots) + 1}", daemon=True
            )
            self._slots.append(slot)
            self._threads.append(thread)
            thread.start()


def _limit_in_container(workers: int) -> int | None:
    """Return the default of `memory_limit_mb`: what the container has left, but for what the other workers need."""
    free = free_memory_mb()
    if free is None:
        return None
    return max(_LEAST_LIMIT_MB, int(free * _SHARE_OF_FREE) - (workers - 1) * _IDLE_WORKER_MB)
