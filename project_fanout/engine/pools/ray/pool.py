"""A pool of workers on a Ray cluster."""

import atexit
import importlib
import itertools
import logging
import math
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from project_fanout.engine.closing import Closing
from project_fanout.engine.container import available_cpus
from project_fanout.engine.errors import PoolLostError
from project_fanout.engine.pools.attempt.call_stage import MAX_RESULT_BYTES
from project_fanout.engine.pools.attempt.deadline import LONGEST_CANCEL_S, timed_out
from project_fanout.engine.pools.backlog import Backlog
from project_fanout.engine.pools.calls import UnitCall, UnitLog, UnitReply
from project_fanout.engine.pools.ray import cluster, session
from project_fanout.engine.pools.ray.worker import Starts, run_units
from project_fanout.engine.pools.replies import separated
from project_fanout.engine.pools.settings import (
    SETUP_TIMEOUT_S,
    LogLevel,
    MaxResultBytes,
    MaxWorkers,
    RayAddress,
    RayOptions,
    SetupTimeout,
    UnitsPerWorker,
    places_of,
)
from project_fanout.engine.pools.ticket import Ticket, check_owner, crashed
from project_fanout.engine.rate import Rate
from project_fanout.engine.settings import check_settings

_logger = logging.getLogger(__name__)

# A cluster that is gone lets nobody wait: the dispatcher's last call to Ray ends, or is left to itself.
_LONGEST_LAST_CALL_S = 1.0
# A killed unit whose worker Ray does not report dead by then (stopped, or its node is out of reach) is given up.
_LONGEST_KILL_S = 5.0
# A task reaches a worker that is there within some milliseconds.
_RATE_LEAD_S = 0.05
# ray.shutdown takes 1 to 3 s.
_LONGEST_CLOSE_S = 20.0
# Where a cluster goes down, its workers may die a moment before its head: a crash is the unit's own only if the
# head still answers so long after it.
_CRASH_STANDS_AFTER_S = 2.0


@dataclass(slots=True, eq=False)
class _Flight:
    """Calls in Ray's hands as one task.

    Args:
        tickets: whose calls these are.
        task: reference to its reply.
        start: reference that is ready when the unit has started, None without a deadline.
        since: when that was or, until then, when the call was handed over, on the monotonic clock.
        due: when something has to be done about it: at its deadline, and again if it outlives its kill.
        killed: whether it has been killed at its deadline.
        reply: what Ray, not the worker, says has become of it; it stands if the cluster answers a question
            that it is asked at *stands_at* or later.
    """

    tickets: list[Ticket]
    task: Any = None
    start: Any = None
    since: float = field(default_factory=time.monotonic)
    due: float | None = None
    killed: bool = False
    reply: UnitReply | None = None
    stands_at: float = 0.0

    @property
    def timeout_s(self) -> float:
        """Seconds until its deadline: a batch has those of all its units, and coroutines keep their own first."""
        first = self.tickets[0].call
        if first.batch_size is not None:
            return (first.timeout_s or 0.0) * len(self.tickets)
        timeouts_s = [ticket.call.timeout_s for ticket in self.tickets]
        if None in timeouts_s:
            return math.inf
        longest_s = max(timeout_s or 0.0 for timeout_s in timeouts_s)
        return longest_s + (LONGEST_CANCEL_S if first.is_async else 0.0)

    def timed_out(self) -> UnitReply:
        """Return the reply to its call that was killed at its deadline."""
        timeout_s = self.tickets[0].call.timeout_s or 0.0
        return timed_out(timeout_s, "killed", time.monotonic() - self.since)


class RayPool(Closing):
    """Runs units as tasks of a Ray cluster: the one given, or one in this machine for as long as the pool lives.

    A unit gets the same reply as in a `ProcessPool`. Ray never runs a unit a second time by itself: a
    unit whose worker or node dies is crashed, and the caller's policy decides on another attempt. If the
    cluster itself is gone, or does not answer for 10 s, no unit is anything: the pool is lost, and all
    its futures end with a `PoolLostError`, as those do whose calls are submitted from then on.
    Three things differ. Log records reach *on_log* together when the unit ends, at most 10,000 of
    them, and those of a unit that is killed or crashes are lost. `close` and a deadline kill the
    worker; what becomes of processes that the unit started is up to Ray. And on a cluster that is
    joined, this package and the modules of the stages must be importable on every node.

    Any thread may submit. *on_log* and the futures' callbacks are called in threads of the pool.

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
        units_per_worker: UnitsPerWorker = None,
        setup_timeout_s: SetupTimeout = SETUP_TIMEOUT_S,
        ray_options: RayOptions = None,
    ) -> None:
        self._settings = {"max_result_bytes": max_result_bytes, "log_level": log_level}
        settings = {"max_workers": max_workers, "address": address, "setup_timeout_s": setup_timeout_s}
        check_settings(RayPool, {**settings, **self._settings, "units_per_worker": units_per_worker})
        self._ray = cluster.import_ray()
        self._lock = threading.Lock()
        # Nobody is handed a call ahead here, so it does not matter how many workers there are.
        self._backlog = Backlog(workers=0, lead_s=_RATE_LEAD_S)
        self._flights: set[_Flight] = set()
        self._in_doubt: set[_Flight] = set()
        # What the dispatcher has to do, in order. Other threads, of Ray and of others, only ever put it here.
        self._events: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lost: str | None = None
        cpus = max_workers if max_workers is not None else available_cpus()
        self._connection = session.join(address, cpus, self)
        if max_workers is None:
            cpus = max(1, int(self._ray.cluster_resources().get("CPU", 1)))
        self._max_workers = cpus
        self._units_per_worker = units_per_worker
        self._setup_timeout_s = setup_timeout_s
        self._shared: dict[str, Any] = {}
        options: dict[str, Any] = {"num_cpus": 1, **(ray_options or {}), "max_retries": 0}
        self._run_units = self._ray.remote(**options)(run_units)
        self._starts: Any = None
        self._numbers = itertools.count(1)
        self._owner = os.getpid()
        # A daemon, so that the interpreter does not wait for it before it calls close() at its exit.
        self._dispatcher = threading.Thread(
            target=self._dispatch, name="project_fanout ray pool", daemon=True
        )
        self._backlog.tell_when_more(self._look_again)
        self._dispatcher.start()
        atexit.register(self.close)

    def places(self, call: UnitCall) -> int:
        """Return how many units like that of *call* run at once, room in the cluster permitting."""
        return self._max_workers * self._most_together(call) * (call.batch_size or 1)

    def submit(
        self,
        call: UnitCall,
        on_log: Callable[[UnitLog], None] | None = None,
        rate: Rate | None = None,
        on_begin: Callable[[], None] | None = None,
    ) -> "Future[UnitReply]":
        """Hand *call* to Ray as soon as a place and its budget are free, and *rate* allows it; see `UnitPool.submit`.

        The deadline counts from the moment at which the unit starts: neither waiting for room in the
        cluster nor the import of the stage's module and what it sets up (`setup_timeout_s` at most) is part of it.

        Raises:
            PoolClosedError: the pool has been closed, or belongs to another process.
            PoolLostError: the cluster is gone.
        """
        check_owner(self._owner, call)
        ticket = Ticket(call, on_log, rate, on_begin)
        self._backlog.append(ticket)
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
        if self._lost is not None:
            self._connection.leave(self)

    def note_answer(self, asked: float) -> None:
        """Let those replies stand that the cluster's answer confirms; see `session.Member`."""
        self._events.put(lambda: self._let_stand(asked))

    def note_loss(self, message: str) -> None:
        """End all futures with a `PoolLostError`; see `session.Member`.

        This happens in the thread of the caller: the dispatcher may wait in Ray for an answer.
        """
        with self._lock:
            self._lost = message
            flights = self._flights | self._in_doubt
            self._flights, self._in_doubt = set(), set()
        self._events.put(lambda: None)
        for ticket in (ticket for flight in flights for ticket in flight.tickets):
            ticket.fail(PoolLostError(message))
        self._backlog.close(lost=message)
        if threading.current_thread() is not self._dispatcher:
            self._dispatcher.join(_LONGEST_LAST_CALL_S)

    # All below runs in the dispatcher's thread.

    def _dispatch(self) -> None:
        try:
            while not self._backlog.closed and self._lost is None:
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
        # Before the look at what there is: whoever may start only later tells this thread then.
        self._backlog.tell_when_more(self._look_again)
        while True:
            with self._lock:
                # Together, so that a loss of the cluster finds the call either here or there.
                if self._lost is not None or len(self._flights) >= self._max_workers:
                    return
                if (ticket := self._backlog.take()) is None:
                    return
                flight = _Flight(self._together_with(ticket))
                self._flights.add(flight)
            if not all(each.begin() for each in flight.tickets):
                self._finish(flight, [None] * len(flight.tickets))
                continue
            try:
                self._start(flight)
            except Exception as error:  # noqa: BLE001  # whatever it is, it is this unit's outcome
                if not self._is_loss(error):
                    self._doubt(flight, crashed(f"Ray did not take it: {cluster.one_line(error)}"))

    def _look_again(self) -> None:
        """Have the dispatcher look for calls that may start; from any thread."""
        self._events.put(self._start_waiting)

    def _most_together(self, call: UnitCall) -> int:
        """Return how many calls like *call*, or batches of them, one task runs at once."""
        return 1 if call.batch_size else places_of(self._units_per_worker, is_async=call.is_async)

    def _together_with(self, first: Ticket) -> list[Ticket]:
        """Return *first* with those tickets that are run in the same task."""
        if first.is_suspect:
            return [first]
        if first.call.batch_size is not None:
            return [first, *self._backlog.take_batch(first, first.call.batch_size - 1)]
        tickets = [first]
        # An even share for each worker: they would not get any while this one works.
        share = min(self._most_together(first.call), 1 + len(self._backlog) // self._max_workers)
        while len(tickets) < share and (ticket := self._backlog.take(lambda budget: budget == first.budget)):
            tickets.append(ticket)
        return tickets

    def _start(self, flight: _Flight) -> None:
        if not self._is_connected():
            raise ConnectionError("Ray has been disconnected")
        calls, number = [ticket.call for ticket in flight.tickets], next(self._numbers)
        if any(call.timeout_s is not None for call in calls):
            if self._starts is None:
                # It does next to nothing, so it takes no CPU from the units.
                options = {"num_cpus": 0, "max_concurrency": 1000 + 4 * self._max_workers}
                self._starts = self._ray.remote(**options)(Starts).remote(self._setup_timeout_s)
            flight.start = self._starts.wait.remote(number)
        flight.task = self._run_units.remote(
            calls,
            number,
            self._starts if flight.start is not None else None,
            self._references(calls),
            [ticket.start for ticket in flight.tickets],
            {**self._settings, "wants_logs": flight.tickets[0].on_log is not None},
        )
        flight.since = time.monotonic()
        flight.task.future().add_done_callback(
            lambda done: self._events.put(lambda: self._land(flight, done))
        )
        if flight.start is not None:
            flight.start.future().add_done_callback(
                lambda _: self._events.put(lambda: self._note_start(flight))
            )

    def _note_start(self, flight: _Flight) -> None:
        if not flight.killed and flight.reply is None:
            flight.since = time.monotonic()
            flight.due = flight.since + flight.timeout_s

    def _patience(self) -> float | None:
        with self._lock:
            due = min((flight.due for flight in self._flights if flight.due is not None), default=None)
        return None if due is None else max(0.0, due - time.monotonic())

    def _end_overdue(self) -> None:
        now = time.monotonic()
        with self._lock:
            overdue = [flight for flight in self._flights if flight.due is not None and flight.due <= now]
        for flight in overdue:
            if flight.killed:
                self._doubt(flight, flight.timed_out())
            else:
                self._kill(flight)
                flight.killed, flight.due = True, now + _LONGEST_KILL_S

    def _land(self, flight: _Flight, done: "Future[bytes]") -> None:
        """Answer for a call that Ray is done with."""
        if flight not in self._flights and flight not in self._in_doubt:
            return
        error = done.exception()
        if error is None:
            replies: list[UnitReply | None] = []
            for place, about in separated(done.result()):
                if isinstance(about, UnitLog):
                    flight.tickets[place].relay(about)
                else:
                    replies.append(about)
            self._finish(flight, replies)
        elif self._is_loss(error) or flight.reply is not None:
            return
        elif flight.killed:
            self._doubt(flight, flight.timed_out())
        else:
            self._doubt(flight, crashed(cluster.one_line(error), time.monotonic() - flight.since))

    def _is_connected(self) -> bool:
        """Tell whether Ray may be called: without a connection it would start a cluster of its own."""
        return self._lost is None and bool(self._ray.is_initialized())

    def _is_loss(self, error: BaseException) -> bool:
        """Tell whether Ray itself says with *error* that the connection is over; if so, end it."""
        # The first comes from `ray://` alone: what is raised within a unit comes as its reply.
        over = (ConnectionError, self._ray.exceptions.LocalRayletDiedError)
        if isinstance(error, over):
            self._connection.lose(cluster.one_line(error))
        return self._lost is not None

    def _doubt(self, flight: _Flight, reply: UnitReply) -> None:
        """Let go of a call; *reply* is what Ray says of it, not the unit, and needs the cluster's answer."""
        flight.reply = reply
        flight.stands_at = time.monotonic() + (_CRASH_STANDS_AFTER_S if reply.status == "crashed" else 0.0)
        with self._lock:
            if flight not in self._flights:
                return
            self._flights.discard(flight)
            self._in_doubt.add(flight)
            self._let_go(flight)
        self._connection.ask_now()
        self._start_waiting()

    def _let_stand(self, asked: float) -> None:
        with self._lock:
            confirmed = [flight for flight in self._in_doubt if flight.stands_at <= asked]
        for flight in confirmed:
            assert flight.reply is not None  # for the type checker
            self._finish(flight, [flight.reply])

    def _finish(self, flight: _Flight, replies: Sequence[UnitReply | None]) -> None:
        """End the calls of a flight; of several of which one has ended the worker, each is run again, alone."""
        with self._lock:
            if flight in self._flights:
                self._flights.discard(flight)
                self._let_go(flight)
            elif flight in self._in_doubt:
                self._in_doubt.discard(flight)
            else:
                return
        if len(replies) == len(flight.tickets):
            self._start_waiting()
            for ticket, reply in zip(flight.tickets, replies, strict=True):
                if ticket.future.done():
                    continue  # it could not be noted that it was about to begin
                if reply is not None and not reply.alone:
                    ticket.future.set_result(reply)
                    continue
                # It has not begun, or it is to be tried without the others of its batch.
                ticket.is_suspect = reply is not None
                self._backlog.put_back(ticket)
        else:
            for ticket in flight.tickets:
                ticket.is_suspect = True
                self._backlog.put_back(ticket)
            self._start_waiting()
        if flight.start is not None and flight.reply is not None and self._is_connected():
            # It may have died before it started, and the actor would wait for that for ever.
            self._ray.cancel(flight.start)

    def _let_go(self, flight: _Flight) -> None:
        for ticket in flight.tickets:
            self._backlog.finish(ticket)

    def _references(self, calls: list[UnitCall]) -> dict[str, Any]:
        """Return where Ray has the values that reach each worker once, by their keys."""
        values = [value for call in calls if call.supplied for _, value in call.supplied.shared if value.path]
        for value in values:
            if value.key not in self._shared:
                numpy = importlib.import_module(
                    "numpy"
                )  # comes with Ray; its arrays are not copied by workers
                self._shared[value.key] = self._ray.put(numpy.frombuffer(value.read(), "uint8"))
        return {value.key: self._shared[value.key] for value in values}

    def _kill(self, flight: _Flight) -> None:
        if flight.task is None or not self._is_connected():
            return
        try:
            self._ray.cancel(flight.task, force=True)
        except Exception:
            _logger.exception("Ray could not be told to kill unit %r.", flight.tickets[0].call.unit_key)

    def _clear_up(self) -> None:
        """Kill what runs, end its futures, and let go of Ray; where the cluster is gone, that has been done."""
        if self._lost is not None:
            return
        with self._lock:
            flights = list(self._flights)
        for flight in flights:
            self._kill(flight)
        try:
            tasks = [flight.task for flight in flights if flight.task is not None]
            if tasks and self._is_connected():
                self._ray.wait(tasks, num_returns=len(tasks), timeout=_LONGEST_KILL_S)
            if self._starts is not None and self._is_connected():
                self._ray.kill(self._starts)
        except Exception:
            _logger.exception("Ray could not be asked whether all units of a closed pool have ended.")
        try:
            self._connection.leave(self)
        finally:
            with self._lock:
                left = self._flights | self._in_doubt
                self._flights, self._in_doubt = set(), set()
            for ticket in (ticket for flight in left for ticket in flight.tickets):
                ticket.cancel()
