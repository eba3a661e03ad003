"""One slot of a `ProcessPool`: a thread, and the worker process that it looks after."""

import logging
import math
import time
from collections import deque
from typing import Any

from project_fanout.engine.pools.backlog import Backlog
from project_fanout.engine.pools.calls import UnitLog, UnitReply
from project_fanout.engine.pools.execute import with_memory_limit
from project_fanout.engine.pools.process.worker_process import Reaper, WorkerProcess, described_exit
from project_fanout.engine.pools.ticket import Ticket, crashed

_logger = logging.getLogger(__name__)

# A worker whose units are shorter than this gets its next calls while it still works: the way there and
# back takes 0.2 ms, but up to 5 ms per system call when another thread of this process is busy with Python.
_SHORT_UNIT_S = 0.1
# It gets so much work ahead, in so many calls at most.
_AHEAD_S = 0.06
_MOST_AHEAD = 8
# A call that has waited behind another for longer is taken back, for any worker to run.
_LONGEST_WAIT_BEHIND_S = 0.25
# How often a closed pool or, where its socket does not tell, a dead worker is noticed at the latest.
_LOOK_EVERY_S = 0.25
# A worker that has not come up, or has not begun with its call, after so long is replaced by another one.
_LONGEST_START_S = 60.0
_LONGEST_PICKUP_S = 10.0
# A call is crashed for good after so many workers died before they could start it.
_MOST_RETURNS = 3
# A process that ends closes its files first: so long it has for the rest, so that its status is its own.
_LAST_MOMENT_S = 0.2
# What surely fits into the socket's buffer, so that handing it to a busy worker does not block.
_AHEAD_BYTES = 1 << 15


class WorkerSlot:
    """Takes calls from the pool, has its worker run them, and answers for every one of them.

    The worker is started with the first call and replaced, after its death, with the next one.

    Args:
        backlog: the pool's calls.
        reaper: kills the worker if this process dies.
        settings: what the worker's `main` expects.
    """

    def __init__(self, backlog: Backlog, reaper: Reaper, settings: dict[str, Any]) -> None:
        self._backlog = backlog
        self._reaper = reaper
        self._settings = settings
        self._worker: WorkerProcess | None = None
        # In the worker's hands, in order: the call in work and those that are to follow it.
        self._tickets: deque[Ticket] = deque()
        self._last_unit_s = math.inf

    @property
    def pid(self) -> int | None:
        """Process id of the worker, None while there is none."""
        worker = self._worker
        return worker.pid if worker is not None else None

    def run(self) -> None:
        """Serve the pool until it is closed."""
        while self._tickets or self._take():
            try:
                if self._tickets[0].number == 0:
                    self._send([self._tickets[0]])
                if self._tickets and self._last_unit_s < _SHORT_UNIT_S:
                    self._take_ahead()
                self._wait()
            except EOFError:
                self._end_worker(problem=self._why_alive())
            except Exception as error:
                # A thread of the pool that ended here would take a worker's place with it, unseen.
                _logger.exception("A worker of the pool is replaced because of an unexpected error.")
                self._end_worker(problem=f"{type(error).__name__}: {error}")
        self._end_worker()

    def _take(self) -> bool:
        ticket = self._backlog.wait()
        if ticket is not None:
            self._tickets.append(ticket)
        return ticket is not None

    def _take_ahead(self) -> None:
        # Refilled by the handful: one message, and one turn of the interpreter's lock, for several calls.
        wanted = min(_MOST_AHEAD, math.ceil(_AHEAD_S / max(self._last_unit_s, 0.001)))
        ahead = len(self._tickets) - 1
        if 2 * ahead > wanted:
            return
        tickets = self._backlog.take_behind(self._tickets[-1], wanted - ahead, _AHEAD_BYTES)
        if tickets:
            self._tickets.extend(tickets)
            self._send(tickets)

    def _send(self, tickets: list[Ticket]) -> None:
        if self._worker is None:
            self._last_unit_s = math.inf
            self._worker = WorkerProcess(self._reaper, self._settings)
        now = time.monotonic()
        for ticket in tickets:
            ticket.number, ticket.handed_at = self._worker.next_number(), now
        calls = [(ticket.number, ticket.call, ticket.on_log is not None) for ticket in tickets]
        sent = self._worker.hand(calls, _LOOK_EVERY_S)
        while not sent:
            self._check_clock()
            if self._worker is None:
                return
            sent = self._worker.hand_rest(_LOOK_EVERY_S)

    def _wait(self) -> None:
        """Wait for the next thing to happen to the worker and see to it."""
        if self._worker is not None and self._tickets:
            self._handle(self._worker.receive(self._patience(self._worker)))
            self._check_clock()

    def _handle(self, message: tuple[int, UnitReply | UnitLog | None] | None) -> None:
        # A call that was taken back is answered too; mostly it is not in hand any more.
        if message is None or not self._tickets or message[0] != self._tickets[0].number:
            return
        about = message[1]
        if isinstance(about, UnitLog):
            self._tickets[0].relay(about)
        elif about is None:
            ticket = self._finish()
            self._backlog.put_back(ticket, counted=False)
        else:
            self._last_unit_s = about.seconds
            self._end(about)
            if about.status == "crashed":
                # It ends itself now, through no fault of the calls that were to follow.
                self._put_all_back()
                self._end_worker()

    def _check_clock(self) -> None:
        """Look at the clock: end what is over its deadline, take back what waits behind a long unit."""
        if self._backlog.closed:
            self._end_worker()
        if self._worker is None or not self._tickets:
            return
        now = time.monotonic()
        if now > self._deadline(self._worker):
            # Only while the next call has not been started: if it has, the reply to this one is here.
            if self._take_back(self._worker):
                self._end_worker(overdue=self._tickets[0])
        elif len(self._tickets) > 1 and now > self._counts_from(self._worker) + _LONGEST_WAIT_BEHIND_S:
            self._last_unit_s = math.inf
            self._take_back(self._worker)

    def _take_back(self, worker: WorkerProcess) -> bool:
        """Take the calls behind the current one back; return False if the worker has already started one."""
        while len(self._tickets) > 1:
            if not worker.marks.recall(self._tickets[-1].number):
                return False
            self._backlog.put_back(self._tickets.pop(), counted=False)
        return True

    def _end_worker(self, overdue: Ticket | None = None, problem: str = "") -> None:
        """Kill the worker if it lives, and answer for the calls that it had.

        Args:
            overdue: the call that it is killed for.
            problem: what has gone wrong, if it is not the worker's own death.
        """
        worker, self._worker = self._worker, None
        started, since = 0, 0.0
        if worker is not None:
            status = worker.kill()
            self._drain(worker)
            started, since = worker.marks.started, worker.marks.counts_from
            worker.close()
        in_unit = bool(self._tickets) and 0 < self._tickets[0].number <= started
        if worker is not None and not problem:
            exit_text = f"worker {worker.pid} died: {described_exit(status, in_unit=in_unit)}"
            problem = with_memory_limit(exit_text, self._settings["memory_limit_mb"])
        if in_unit:
            ticket, seconds = self._tickets[0], max(0.0, time.monotonic() - since)
            if self._backlog.closed:
                self._end(None)
            elif ticket is overdue:
                self._end(ticket.timed_out(seconds))
            else:
                self._end(crashed(problem, seconds))
        elif self._tickets:
            self._tickets[0].returned += 1
            if self._tickets[0].returned == _MOST_RETURNS:
                message = (
                    f"{_MOST_RETURNS} workers in turn failed before they could start it; the last: {problem}"
                )
                self._end(crashed(message))
        self._put_all_back()

    def _why_alive(self) -> str:
        """Say why the worker whose socket has ended has to be killed, "" if it is ending by itself."""
        if self._worker is None or self._worker.ends_within(_LAST_MOMENT_S):
            return ""
        return f"worker {self._worker.pid} closed its connection to the pool, and has been killed for that"

    def _put_all_back(self) -> None:
        while self._tickets:
            if self._backlog.closed:
                self._end(None)
            else:
                ticket = self._tickets.pop()
                self._backlog.put_back(ticket, counted=not self._tickets)

    def _drain(self, worker: WorkerProcess) -> None:
        # It may have replied in the moment in which it was killed.
        try:
            while (message := worker.receive(0)) is not None:
                self._handle(message)
        except (EOFError, ValueError):
            pass

    def _end(self, reply: UnitReply | None) -> None:
        """End the first call in hand with *reply*, or as cancelled."""
        ticket = self._finish()
        if reply is None:
            ticket.cancel()
        else:
            ticket.future.set_result(reply)

    def _finish(self) -> Ticket:
        """Take the first call out of hand; the next one is in work now."""
        ticket = self._tickets.popleft()
        self._backlog.finish(ticket, self._tickets[0] if self._tickets else None)
        return ticket

    def _counts_from(self, worker: WorkerProcess) -> float:
        """Return the time from which the deadline of the first call in hand counts."""
        if not self._tickets:
            return math.inf
        current = self._tickets[0]
        if current.number and worker.marks.started == current.number:
            return worker.marks.counts_from
        return current.handed_at + (_LONGEST_PICKUP_S if worker.marks.ready else _LONGEST_START_S)

    def _deadline(self, worker: WorkerProcess) -> float:
        timeout_s = self._tickets[0].call.timeout_s
        if worker.marks.started == self._tickets[0].number and timeout_s is None:
            return math.inf
        return self._counts_from(worker) + (timeout_s or 0.0)

    def _patience(self, worker: WorkerProcess) -> float:
        return (
            min(_LOOK_EVERY_S, self._deadline(worker) - time.monotonic()) if self._tickets else _LOOK_EVERY_S
        )
