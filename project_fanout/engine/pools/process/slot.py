"""One slot of a `ProcessPool`: a thread, and the worker process that it looks after."""

import logging
import math
import socket
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from project_fanout.engine.errors import SetupError
from project_fanout.engine.model import UnitError
from project_fanout.engine.pools.attempt.deadline import LONGEST_CANCEL_S, timed_out
from project_fanout.engine.pools.attempt.failure import with_memory_limit
from project_fanout.engine.pools.backlog import Backlog
from project_fanout.engine.pools.calls import UnitCall, UnitLog, UnitReply
from project_fanout.engine.pools.process.environment import WORKER
from project_fanout.engine.pools.process.in_hand import InHand
from project_fanout.engine.pools.process.wire import HandOver
from project_fanout.engine.pools.process.worker_process import Reaper, WorkerProcess, described_exit
from project_fanout.engine.pools.settings import places_of
from project_fanout.engine.pools.ticket import Budget, Ticket, crashed

_logger = logging.getLogger(__name__)

# A worker whose units are shorter than this gets its next calls while it still works: the way there and
# back takes 0.2 ms, but up to 5 ms per system call when another thread of this process is busy with Python.
_SHORT_UNIT_S = 0.1
# It gets so much work ahead, in so many calls at most; in fewer at first, because one unit tells little of others.
_AHEAD_S = 0.06
_FIRST_AHEAD, _MOST_AHEAD = 8, 64
# Of a worker that has work ahead the replies are taken together: each time this thread wakes up costs as much as a
# short unit. None waits for longer.
_LONGEST_NAP_S = 0.01
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
# What a worker has set up it may close; after that it is killed.
_LONGEST_CLOSING_S = 5.0
# What surely fits into the socket's buffer, so that handing it to a busy worker does not block.
_AHEAD_BYTES = 1 << 15
# The units of a batch are handed to the pool one after the other: so long one that is not full waits for more.
_BATCH_FILLS_S = 0.01
# The clock is looked at for each of so many calls after every message, and for more of them now and then.
_FEW = 16


class WorkerSlot:
    """Takes calls from the pool, has its worker run them, and answers for every one of them.

    The worker is started with the first call and replaced, after its death, with the next one. Who is charged with
    that is known where one call was in work. Of several, none is: they are run again in halves, and each half that
    ends its worker in halves again, until a call has done it alone.

    Args:
        backlog: the pool's calls.
        reaper: kills the worker if this process dies.
        settings: what the worker's `main` expects.
        environment: the worker's environment variables, besides those of this process.
    """

    def __init__(
        self, backlog: Backlog, reaper: Reaper, settings: dict[str, Any], environment: Mapping[str, str]
    ) -> None:
        self._backlog = backlog
        self._reaper = reaper
        self._settings = settings
        self._environment = environment
        self._worker: WorkerProcess | None = None
        self._in_hand = InHand()
        # Calls of which one, nobody knows which, has ended a worker; each list is run without any other call.
        self._suspects: deque[list[Ticket]] = deque()
        self._is_testing = False
        self._takes_coroutines = False
        self._last_unit_s = math.inf
        # What the latest units were of, and how many of that in a row were short.
        self._latest: tuple[str, bytes] = ("", b"")
        self._short_units = 0
        self._units = 0
        self._look_at = 0.0
        self._wake, self._waker = socket.socketpair()
        for end in (self._wake, self._waker):
            end.setblocking(False)  # noqa: FBT003  # takes no keyword

    @property
    def pid(self) -> int | None:
        """Process id of the worker, None while there is none."""
        worker = self._worker
        return worker.pid if worker is not None else None

    def run(self) -> None:
        """Serve the pool until it is closed."""
        while (groups := [] if self._in_hand else self._take_first()) is not None:
            try:
                if groups:
                    self._send(groups)
                if self._may_take_more:
                    # Before the look at what there is: what comes after it wakes this thread.
                    self._backlog.tell_when_more(self._ring)
                self._take_more()
                self._wait()
            except EOFError:
                self._end_worker(problem=self._why_alive())
            except Exception as error:
                # A thread of the pool that ended here would take a worker's place with it, unseen.
                _logger.exception("A worker of the pool is replaced because of an unexpected error.")
                self._end_worker(problem=f"{type(error).__name__}: {error}")
        self._retire_worker()
        self._wake.close()
        self._waker.close()

    # Taking calls, and handing them over.

    def _take_first(self) -> list[list[Ticket]] | None:
        """Wait for calls for a worker that has none, each list to be run as one; None if the pool is closed."""
        self._is_testing = bool(self._suspects) and not self._backlog.closed
        if self._is_testing:
            group = self._suspects.popleft()
        elif (ticket := self._backlog.wait()) is not None:
            group = [ticket]
        else:
            for ticket in (ticket for group in self._suspects for ticket in group):
                ticket.cancel()
            return None
        if self._is_worn_out:
            self._retire_worker()
        batch = [ticket for ticket in group if ticket.call.batch_size is not None]
        singles = [[ticket] for ticket in group if ticket.call.batch_size is None]
        return [self._filled(batch), *singles] if batch else singles

    def _take_more(self) -> None:
        """Give the worker further calls, where it has room for any."""
        if self._is_testing:
            return
        if self._worker is not None and self._is_worn_out:
            self._take_back(self._worker)
            return
        groups: list[list[Ticket]] = []
        while (
            self._in_hand and (ticket := self._backlog.take(partial(self._has_room_for, groups))) is not None
        ):
            groups.append(self._filled([ticket]))
        if groups:
            # One message for all of them, as for what is taken ahead.
            self._send(groups)
        if self._in_hand and self._last_unit_s < _SHORT_UNIT_S:
            last = self._in_hand.last
            if last.call.batch_size is None and not last.call.is_async:
                self._take_ahead(last)

    def _take_ahead(self, last: Ticket) -> None:
        # Refilled by the handful: one message, and one turn of the interpreter's lock, for several calls.
        most = min(_MOST_AHEAD, max(_FIRST_AHEAD, self._short_units))
        wanted = min(most, math.ceil(_AHEAD_S / max(self._last_unit_s, 0.001)))
        ahead = self._in_hand.count_ahead
        if 2 * ahead > wanted:
            return
        tickets = self._backlog.take_behind(last, wanted - ahead, _AHEAD_BYTES)
        for ticket in tickets:
            ticket.is_ahead = True
        if tickets:
            self._send([[ticket] for ticket in tickets])

    def _filled(self, batch: list[Ticket]) -> list[Ticket]:
        """Return *batch* with as many further units as its stage takes, if they are to be had at once."""
        size = batch[0].call.batch_size
        if size is None or self._is_testing or batch[0].is_suspect:
            return batch
        for wait_s in (0.0, _BATCH_FILLS_S):
            if wait_s and len(batch) < size:
                time.sleep(wait_s)
            batch += self._backlog.take_batch(batch[0], size - len(batch))
        return batch

    def _has_room_for(self, taken: list[list[Ticket]], budget: Budget) -> bool:
        """Tell whether the worker has room for a call of *budget* beside those in hand and those *taken*."""
        wants_async = budget[2]
        if wants_async and not self._takes_coroutines and self._in_hand:
            return False  # the worker's one thread runs a unit, and hears of nothing else meanwhile
        most = places_of(self._settings["units_per_worker"], is_async=wants_async)
        at_work = self._in_hand.at_work(is_async=wants_async)
        if at_work + len(taken) < most:
            return True
        return at_work + sum(group[0].call.is_async == wants_async for group in taken) < most

    @property
    def _may_take_more(self) -> bool:
        """Whether the worker may have room for another call while it works."""
        return not self._is_testing and (
            self._takes_coroutines or places_of(self._settings["units_per_worker"], is_async=False) > 1
        )

    @property
    def _is_worn_out(self) -> bool:
        """Whether the worker is to be replaced before it gets another call."""
        most_units, most_mb = self._settings["recycle_after_units"], self._settings["recycle_above_mb"]
        if self._worker is None:
            return False
        return (most_units is not None and self._units >= most_units) or (
            most_mb is not None and self._worker.memory_mb() > most_mb
        )

    def _send(self, groups: list[list[Ticket]]) -> None:
        """Hand each of *groups* to the worker to be run as one."""
        groups = [begun for group in groups if (begun := [ticket for ticket in group if self._begin(ticket)])]
        if not groups:
            return
        if self._worker is None:
            self._last_unit_s, self._units = math.inf, 0
            self._takes_coroutines = False
            self._in_hand.begin_with_new_worker()
        now, hand_overs = time.monotonic(), []
        for tickets in groups:
            for place, ticket in enumerate(tickets):
                ticket.handed_at, ticket.batch, ticket.is_first = now, len(tickets), place == 0
                self._in_hand.add(ticket)
            numbers = tuple(ticket.number for ticket in tickets)
            calls = tuple(ticket.call for ticket in tickets)
            hand_overs.append(HandOver(numbers, calls, tickets[0].on_log is not None, tickets[0].start))
            self._takes_coroutines = self._takes_coroutines or tickets[0].call.is_async
            self._units += len(tickets)
            if tickets[0].timeout_s is not None:
                self._look_at = min(self._look_at, now + tickets[0].timeout_s)
        if self._worker is None:
            self._worker = WorkerProcess(self._reaper, self._settings, self._environment)
        sent = self._worker.hand(hand_overs, _LOOK_EVERY_S)
        while not sent:
            self._check_clock()
            if self._worker is None:
                return
            sent = self._worker.hand_rest(_LOOK_EVERY_S)

    def _begin(self, ticket: Ticket) -> bool:
        if ticket.begin():
            return True
        self._backlog.finish(ticket)
        return False

    # Waiting for what comes back.

    def _ring(self) -> None:
        """Wake this slot's thread; from any thread."""
        with suppress(OSError):  # full: it is about to wake up
            self._waker.send(b"!")

    def _wait(self) -> None:
        """Wait for the next thing to happen to the worker and see to it."""
        if self._worker is None or not self._in_hand:
            return
        self._let_replies_gather()
        message = self._worker.receive(self._patience(), self._wake if self._may_take_more else None)
        if self._may_take_more:
            with suppress(BlockingIOError):
                self._wake.recv(1 << 12)
        self._handle(message)
        # Of many units at once many end at once: the places of all of them are filled together.
        while self._worker is not None and self._worker.has_said_more:
            self._handle(self._worker.receive(0))
        self._check_clock()

    def _let_replies_gather(self) -> None:
        ahead = self._in_hand.count_ahead
        if ahead > 2 and self._last_unit_s < _LONGEST_NAP_S / 2:
            time.sleep(min(_LONGEST_NAP_S, ahead / 2 * self._last_unit_s))

    def _handle(self, message: tuple[int, UnitReply | UnitLog | None] | None) -> None:
        # A call that was taken back is answered too; mostly it is not in hand any more.
        ticket = None if message is None else self._in_hand.get(message[0])
        if message is None or ticket is None:
            return
        about = message[1]
        if isinstance(about, UnitLog):
            ticket.relay(about)
        elif about is None:
            self._finish(ticket)
            self._backlog.put_back(ticket)
        elif about.alone:
            ticket.is_suspect = True
            self._finish(ticket)
            self._backlog.put_back(ticket)
        else:
            self._note_length(ticket.call, about.seconds)
            self._finish(ticket)
            ticket.future.set_result(about)
            if about.worker_ends:
                self._put_all_back()
                self._end_worker()

    def _note_length(self, call: UnitCall, seconds: float) -> None:
        self._last_unit_s = seconds
        latest = (call.stage, call.params)
        is_alike = latest == self._latest and seconds < _SHORT_UNIT_S
        self._latest, self._short_units = latest, self._short_units + 1 if is_alike else 0

    def _patience(self) -> float:
        return max(0.0, min(_LOOK_EVERY_S, self._look_at - time.monotonic()))

    def _check_clock(self) -> None:
        """Look at the clock: end what is over its deadline, take back what waits behind a long unit."""
        if self._backlog.closed:
            self._retire_worker()
        worker, now = self._worker, time.monotonic()
        if worker is None or not self._in_hand:
            return
        # Of a few calls each may matter now. Of hundreds, which are coroutines, the worker keeps the deadlines.
        if now < self._look_at and len(self._in_hand) > _FEW:
            return
        dues = [(self._due(ticket, worker), ticket.number) for ticket in self._in_hand if not ticket.is_ahead]
        due, number = min(dues, default=(math.inf, 0))
        self._look_at = min(due, now + _LOOK_EVERY_S)
        if now > due:
            # Only while the next call has not been started: if it has, the reply to this one is here.
            if self._take_back(worker):
                self._end_worker(overdue=self._in_hand.get(number))
        elif self._has_waited_behind(worker, now):
            self._last_unit_s = math.inf
            self._take_back(worker)

    def _due(self, ticket: Ticket, worker: WorkerProcess) -> float:
        """Return when something has to be done about a call that is in work, or about to be."""
        if not worker.marks.started(ticket.number):
            return ticket.handed_at + (_LONGEST_PICKUP_S if worker.marks.ready else _LONGEST_START_S)
        counts_from = worker.marks.counts_from(ticket.number)
        if not worker.marks.loaded(ticket.number):
            return counts_from
        if ticket.timeout_s is None:
            return math.inf
        return counts_from + ticket.timeout_s + (LONGEST_CANCEL_S if ticket.call.is_async else 0.0)

    def _has_waited_behind(self, worker: WorkerProcess, now: float) -> bool:
        """Tell whether calls wait in the worker behind one that has turned out to be long."""
        if not self._in_hand.ahead:
            return False
        first = next(iter(self._in_hand))
        since = worker.marks.counts_from(first.number) if worker.marks.started(first.number) else math.inf
        return now > since + _LONGEST_WAIT_BEHIND_S

    def _take_back(self, worker: WorkerProcess) -> bool:
        """Take back the calls that wait in the worker; return False if it has already started one of them."""
        for ticket in reversed(self._in_hand.ahead):
            if not worker.marks.recall(ticket.number):
                return False
            self._put_back(ticket)
        return True

    # The end of a worker, and who answers for it.

    def _end_worker(self, overdue: Ticket | None = None, problem: str = "") -> None:
        """Kill the worker if it lives, and answer for the calls that it had.

        Args:
            overdue: the call that it is killed for.
            problem: what has gone wrong, if it is not the worker's own death.
        """
        worker, self._worker = self._worker, None
        started: list[Ticket] = []
        since: dict[int, float] = {}
        loaded: set[int] = set()
        if worker is not None:
            status = worker.kill()
            self._drain(worker)
            started = [ticket for ticket in self._in_hand if worker.marks.started(ticket.number)]
            since = {ticket.number: worker.marks.counts_from(ticket.number) for ticket in started}
            loaded = {ticket.number for ticket in started if worker.marks.loaded(ticket.number)}
            worker.close()
            if not problem:
                exit_text = f"worker {worker.pid} died: {described_exit(status, in_unit=bool(started))}"
                problem = with_memory_limit(exit_text, self._settings["memory_limit_mb"])
        guilty = self._guilty(started, overdue)
        if self._backlog.closed:
            pass
        elif len(guilty) == 1 and guilty[0] in self._in_hand:
            ticket = guilty[0]
            seconds = max(0.0, time.monotonic() - since[ticket.number])
            self._finish(ticket)
            if ticket is not overdue:
                reply = crashed(problem, seconds)
            elif ticket.number in loaded:
                reply = timed_out(ticket.timeout_s or 0.0, "killed", seconds)
            else:
                reply = self._set_up_too_long()
            ticket.future.set_result(replace(reply, worker=self._environment[WORKER]))
        elif guilty:
            half = (len(guilty) + 1) // 2
            for group in (guilty[:half], guilty[half:]):
                self._suspects.append(group)
            for ticket in guilty:
                if ticket in self._in_hand:
                    self._in_hand.remove(ticket)
        elif self._in_hand:
            self._note_return(next(iter(self._in_hand)), problem)
        self._put_all_back()

    def _guilty(self, started: list[Ticket], overdue: Ticket | None) -> list[Ticket]:
        """Return the calls of which one has ended the worker."""
        if overdue is None or overdue not in started:
            return started
        if overdue.call.is_async:
            # Its worker has not even ended itself: whatever keeps it from that may be another coroutine's.
            return [ticket for ticket in started if ticket.call.is_async]
        if overdue.batch > 1:
            # All calls of a batch have been started, and handed over, together.
            return [each for each in started if each.batch > 1 and each.handed_at == overdue.handed_at]
        return [overdue]

    def _note_return(self, ticket: Ticket, problem: str) -> None:
        """Note that a worker has died before it could start *ticket*, which ends it after some times."""
        ticket.returned += 1
        if ticket.returned == _MOST_RETURNS:
            self._finish(ticket)
            message = (
                f"{_MOST_RETURNS} workers in turn failed before they could start it; the last: {problem}"
            )
            ticket.future.set_result(crashed(message))

    def _set_up_too_long(self) -> UnitReply:
        seconds = self._settings["setup_timeout_s"]
        message = (
            f"importing its stage's module, or setting up what it needs, took longer than {seconds:g} s; "
            "its worker has been killed (setup_timeout_s of the pool)"
        )
        return UnitReply("failed", 0.0, error=UnitError(SetupError.__name__, message))

    def _retire_worker(self) -> None:
        """End a worker that is wanted no longer, in good order where it has something to close."""
        if self._worker is not None and self._worker.marks.set_ups:
            self._worker.ask_to_end()
            self._worker.ends_within(_LONGEST_CLOSING_S)
        self._end_worker()

    def _why_alive(self) -> str:
        """Say why the worker whose socket has ended has to be killed, "" if it is ending by itself."""
        if self._worker is None or self._worker.ends_within(_LAST_MOMENT_S):
            return ""
        return f"worker {self._worker.pid} closed its connection to the pool, and has been killed for that"

    def _put_all_back(self) -> None:
        for ticket in list(self._in_hand):
            self._put_back(ticket)

    def _put_back(self, ticket: Ticket) -> None:
        self._in_hand.remove(ticket)
        self._backlog.put_back(ticket)

    def _drain(self, worker: WorkerProcess) -> None:
        # It may have replied in the moment in which it was killed.
        try:
            while (message := worker.receive(0)) is not None:
                self._handle(message)
        except (EOFError, ValueError):
            pass

    def _finish(self, ticket: Ticket) -> None:
        """Take a call out of hand; one that has waited behind it is in work now."""
        self._in_hand.remove(ticket)
        following = self._in_hand.start_next() if ticket.is_first and not ticket.call.is_async else None
        self._backlog.finish(ticket, following)
