"""A pool of workers on a Ray cluster."""

import atexit
import itertools
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from project_fanout.engine.closing import Closing
from project_fanout.engine.policy import available_cpus
from project_fanout.engine.pools.backlog import Backlog
from project_fanout.engine.pools.calls import IMPORT_GRACE_S, UnitCall, UnitLog, UnitReply
from project_fanout.engine.pools.execute import MAX_RESULT_BYTES
from project_fanout.engine.pools.ray import session
from project_fanout.engine.pools.ray.worker import Starts, run_unit
from project_fanout.engine.pools.settings import LogLevel, MaxResultBytes, MaxWorkers, RayAddress
from project_fanout.engine.pools.ticket import Ticket, check_owner, crashed
from project_fanout.engine.settings import check_settings

_logger = logging.getLogger(__name__)

# A killed unit whose worker Ray does not report dead by then (stopped, or its node is out of reach) is given up.
_LONGEST_KILL_S = 5.0
# ray.shutdown takes 1 to 3 s.
_LONGEST_CLOSE_S = 20.0


@dataclass(slots=True, eq=False)
class _Flight:
    """A call in Ray's hands.

    Args:
        ticket: whose call it is.
        task: reference to its reply.
        start: reference that is ready when the unit has started, None without a deadline.
        since: when that was or, until then, when the call was handed over, on the monotonic clock.
        due: when something has to be done about it: at its deadline, and again if it outlives its kill.
        killed: whether it has been killed at its deadline.
    """

    ticket: Ticket
    task: Any
    start: Any
    since: float
    due: float | None = None
    killed: bool = False


class RayPool(Closing):
    """Runs units as tasks of a Ray cluster: the one given, or one in this machine for as long as the pool lives.

    A unit gets the same reply as in a `ProcessPool`. Ray never runs a unit a second time by itself: a
    unit whose worker or node dies is crashed, and the caller's policy decides on another attempt.
    Three things differ. Log records reach *on_log* together when the unit ends, at most 10,000 of
    them, and those of a unit that is killed or crashes are lost. `close` and a deadline kill the
    worker; what becomes of processes that the unit started is up to Ray. And on a cluster that is
    joined, this package and the modules of the stages must be importable on every node.

    Any thread may submit. *on_log* and the futures' callbacks are called in one thread of the pool.

    Args:
        max_workers, address, max_result_bytes, log_level: see `project_fanout.engine.pools.settings`. Each worker
            has one CPU. If the program is connected to Ray already, that is used whatever *address* says.

    Raises:
        FanoutDefinitionError: Ray is not installed, or an argument is out of its bounds.
        ConnectionError: there is no cluster at *address*.
    """

    def __init__(
        self,
        max_workers: MaxWorkers = None,
        *,
        address: RayAddress = None,
        max_result_bytes: MaxResultBytes = MAX_RESULT_BYTES,
        log_level: LogLevel = logging.INFO,
    ) -> None:
        settings = {"max_workers": max_workers, "address": address}
        check_settings(RayPool, {**settings, "max_result_bytes": max_result_bytes, "log_level": log_level})
        self._ray = session.import_ray()
        cpus = max_workers if max_workers is not None else available_cpus()
        self._leaves = session.join(address, cpus)
        if max_workers is None:
            cpus = max(1, int(self._ray.cluster_resources().get("CPU", 1)))
        self._max_workers = cpus
        self._max_result_bytes = max_result_bytes
        self._log_level = log_level
        self._run_unit = self._ray.remote(num_cpus=1, max_retries=0)(run_unit)
        self._starts: Any = None
        self._numbers = itertools.count(1)
        self._backlog = Backlog(cpus)
        self._flights: set[_Flight] = set()
        # What the dispatcher has to do, in order. Ray's callbacks and other threads only ever put it here.
        self._events: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._owner = os.getpid()
        # A daemon, so that the interpreter does not wait for it before it calls close() at its exit.
        self._dispatcher = threading.Thread(
            target=self._dispatch, name="project_fanout ray pool", daemon=True
        )
        self._dispatcher.start()
        atexit.register(self.close)

    @property
    def workers(self) -> int:
        """How many units run at once, room in the cluster permitting."""
        return self._max_workers

    def submit(self, call: UnitCall, on_log: Callable[[UnitLog], None] | None = None) -> "Future[UnitReply]":
        """Hand *call* to Ray as soon as a place and its budget are free; see `UnitPool.submit`.

        The deadline counts from the moment at which the unit starts: neither waiting for room in the
        cluster nor the first import of the stage's module (60 s at most) is part of it.

        Raises:
            PoolClosedError: the pool has been closed, or belongs to another process.
        """
        check_owner(self._owner, call)
        ticket = Ticket(call, on_log)
        self._backlog.append(ticket)
        self._events.put(self._start_waiting)
        return ticket.future

    def close(self) -> None:
        """Kill what runs, and disconnect from Ray unless somebody else here uses it.

        Calls not yet replied to end as cancelled futures: `Future.result` raises CancelledError.
        """
        if os.getpid() != self._owner:
            return
        atexit.unregister(self.close)
        self._backlog.close()
        self._events.put(lambda: None)
        if threading.current_thread() is not self._dispatcher:
            self._dispatcher.join(_LONGEST_CLOSE_S)

    # All below runs in the dispatcher's thread.

    def _dispatch(self) -> None:
        try:
            while not self._backlog.closed:
                try:
                    self._events.get(timeout=self._patience())()
                except queue.Empty:
                    pass
                except Exception:
                    # A dispatcher that ended here would leave every future open for ever.
                    _logger.exception("An unexpected error in a Ray pool; it goes on.")
                self._end_overdue()
        finally:
            self._clear_up()

    def _start_waiting(self) -> None:
        """Hand over as many calls as there are places for."""
        while len(self._flights) < self._max_workers and (ticket := self._backlog.take()) is not None:
            try:
                self._start(ticket)
            except Exception as error:  # noqa: BLE001  # whatever it is, it is this unit's outcome
                self._backlog.finish(ticket)
                problem = f"Ray did not take it: {type(error).__name__}: {error}"
                ticket.future.set_result(crashed(problem))

    def _start(self, ticket: Ticket) -> None:
        number, start = next(self._numbers), None
        if ticket.call.timeout_s is not None:
            if self._starts is None:
                # It does next to nothing, so it takes no CPU from the units.
                options = {"num_cpus": 0, "max_concurrency": 1000 + 4 * self._max_workers}
                self._starts = self._ray.remote(**options)(Starts).remote(IMPORT_GRACE_S)
            start = self._starts.wait.remote(number)
        task = self._run_unit.remote(
            ticket.call,
            number,
            self._starts if start is not None else None,
            self._log_level if ticket.on_log is not None else None,
            self._max_result_bytes,
        )
        flight = _Flight(ticket, task, start, time.monotonic())
        self._flights.add(flight)
        task.future().add_done_callback(lambda done: self._events.put(lambda: self._land(flight, done)))
        if start is not None:
            start.future().add_done_callback(lambda _: self._events.put(lambda: self._note_start(flight)))

    def _note_start(self, flight: _Flight) -> None:
        if not flight.killed:
            assert flight.ticket.call.timeout_s is not None  # for the type checker
            flight.since = time.monotonic()
            flight.due = flight.since + flight.ticket.call.timeout_s

    def _patience(self) -> float | None:
        due = min((flight.due for flight in self._flights if flight.due is not None), default=None)
        return None if due is None else max(0.0, due - time.monotonic())

    def _end_overdue(self) -> None:
        now = time.monotonic()
        for flight in [flight for flight in self._flights if flight.due is not None and flight.due <= now]:
            if flight.killed:
                self._finish(flight, flight.ticket.timed_out(time.monotonic() - flight.since))
            else:
                self._kill(flight)
                flight.killed, flight.due = True, now + _LONGEST_KILL_S

    def _land(self, flight: _Flight, done: "Future[tuple[UnitReply, list[UnitLog]]]") -> None:
        """Answer for a call that Ray is done with."""
        if flight not in self._flights:
            return
        error = done.exception()
        if error is None:
            reply, logs = done.result()
            for log in logs:
                flight.ticket.relay(log)
        elif flight.killed:
            reply = flight.ticket.timed_out(time.monotonic() - flight.since)
        else:
            problem = " ".join(f"{type(error).__name__}: {error}".split())
            reply = crashed(problem, time.monotonic() - flight.since)
        self._finish(flight, reply)

    def _finish(self, flight: _Flight, reply: UnitReply) -> None:
        self._flights.discard(flight)
        self._backlog.finish(flight.ticket)
        self._start_waiting()
        flight.ticket.future.set_result(reply)
        if flight.start is not None and reply.status == "crashed":
            # It may have died before it started, and the actor would wait for that for ever.
            self._ray.cancel(flight.start)

    def _kill(self, flight: _Flight) -> None:
        try:
            self._ray.cancel(flight.task, force=True)
        except Exception:
            _logger.exception("Ray could not be told to kill unit %r.", flight.ticket.call.unit_key)

    def _clear_up(self) -> None:
        """Kill what runs, end its futures, and let go of Ray."""
        flights = list(self._flights)
        for flight in flights:
            self._kill(flight)
        try:
            if flights:
                self._ray.wait(
                    [flight.task for flight in flights], num_returns=len(flights), timeout=_LONGEST_KILL_S
                )
            if self._starts is not None:
                self._ray.kill(self._starts)
        except Exception:
            _logger.exception("Ray could not be asked whether all units of a closed pool have ended.")
        try:
            if self._leaves:
                session.leave()
        finally:
            for flight in flights:
                flight.ticket.cancel()
