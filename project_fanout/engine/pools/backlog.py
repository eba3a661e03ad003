"""The calls that wait for a worker, in the order in which they came, within their budgets."""

import threading
from collections import Counter, deque
from collections.abc import Callable

from project_fanout.engine.errors import PoolClosedError, PoolLostError
from project_fanout.engine.pools.start_times import LEAD_S, StartTimes
from project_fanout.engine.pools.ticket import Budget, Ticket
from project_fanout.engine.rate import Rate


class Backlog:
    """First in, first out, except that what may not start yet is passed over; safe from any thread.

    That is a budget with all its places taken, or with a rate whose next start is not at hand.

    There is one queue per budget and limit, and few of these, so every operation takes the same short
    time however many calls wait.

    Args:
        workers: how many units the pool runs at once.
        lead_s: how long before its start a call with a rate is handed out.
    """

    def __init__(self, workers: int, lead_s: float = LEAD_S) -> None:
        self._workers = workers
        self._changed = threading.Condition()
        self._queues: dict[Budget, deque[Ticket]] = {}
        self._in_flight: Counter[str] = Counter()
        self._submitted = 0
        self._waiting = 0
        self._idle = 0
        self._with_room: set[Callable[[], None]] = set()
        self._start_times = StartTimes(self._tell_all, self._fail_all, lead_s)
        self.closed = False
        self._lost: str | None = None

    def __len__(self) -> int:
        return self._waiting

    def append(self, ticket: Ticket) -> bool:
        """Put a new ticket last; return whether more tickets wait than workers that are idle.

        Raises:
            PoolClosedError: the pool has been closed.
            PoolLostError: it has lost its workers for good.
        """
        with self._changed:
            if self._lost is not None:
                raise PoolLostError(self._lost)
            if self.closed:
                raise PoolClosedError(
                    f"Unit {ticket.call.unit_key!r} was handed to a pool that has been closed: submit inside "
                    "the pool's `with` block, or make a new pool."
                )
            self._submitted += 1
            ticket.place = self._submitted
            self._queues.setdefault(ticket.budget, deque()).append(ticket)
            self._waiting += 1
            self._changed.notify()
            enough = self._idle >= self._waiting
            wakers = () if enough else self._wakers()
        for wake in wakers:
            wake()
        return not enough

    def tell_when_more(self, wake: Callable[[], None]) -> None:
        """Have *wake* called, once, when a ticket comes that nobody idle is there for."""
        with self._changed:
            self._with_room.add(wake)

    def wait(self) -> Ticket | None:
        """Wait for a ticket whose call may start now and return it as `take` does, None once the pool is closed."""
        with self._changed:
            while not self.closed:
                if (ticket := self._take_claimed()) is not None:
                    return ticket
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
            return None

    def take(self, accepts: Callable[[Budget], bool] = lambda _: True) -> Ticket | None:
        """Return the first ticket whose call may start now and count it as in flight, None if there is none.

        Args:
            accepts: whether the caller has room for tickets of a budget.
        """
        with self._changed:
            return None if self.closed else self._take_claimed(accepts)

    def take_batch(self, first: Ticket, count: int) -> list[Ticket]:
        """Return up to *count* tickets that may be in one batch with *first*, from anywhere in its queue.

        They take no place in the budget: a batch is in flight as one.
        """
        batch: list[Ticket] = []
        with self._changed:
            queue = self._queues.get(first.budget, deque())
            passed_over: list[Ticket] = []
            while queue and len(batch) < count:
                ticket = queue.popleft()
                if ticket.is_suspect or not ticket.call.goes_with(first.call):
                    passed_over.append(ticket)
                    continue
                self._waiting -= 1
                if ticket.claim():
                    batch.append(ticket)
            queue.extendleft(reversed(passed_over))
            if not queue:
                self._queues.pop(first.budget, None)
        return batch

    def take_behind(self, last: Ticket, count: int, max_bytes: int) -> list[Ticket]:
        """Return up to *count* tickets to be run after *last* on the same worker, none unless plenty wait.

        They are not counted as in flight until `finish`. They are those that would be taken next anyway, so
        nothing is overtaken; they have no limit or take the place of *last* in the same budget; and they
        are not larger than *max_bytes* together.
        """
        tickets: list[Ticket] = []
        with self._changed:
            # The rest must keep the other workers busy as long as these keep this one.
            while len(tickets) < count and self._waiting > self._workers * (len(tickets) + 1):
                budget = self._first(last.budget)
                if budget is None or (budget[1] is not None and budget != last.budget):
                    break
                if self._queues[budget][0].rate is not None:
                    break
                if self._queues[budget][0].size > max_bytes:
                    break
                ticket = self._pop(budget)
                if ticket.claim():
                    tickets.append(ticket)
                    last, max_bytes = ticket, max_bytes - ticket.size
        return tickets

    def put_back(self, ticket: Ticket) -> None:
        """Put a ticket whose call was not started, or is to be started again, back in its place."""
        ticket.number, ticket.batch, ticket.is_ahead, ticket.start = 0, 1, False, None
        with self._changed:
            self._release(ticket)
            closed = self.closed
            if not closed:
                self._insert(ticket)
                self._changed.notify()
            wakers = self._wakers()
        if closed:
            ticket.cancel()
        for wake in wakers:
            wake()

    def finish(self, ticket: Ticket, following: Ticket | None = None) -> None:
        """Count *ticket* as no longer in flight, and *following*, which takes its place on its worker, as in flight."""
        with self._changed:
            self._release(ticket)
            if following is not None and not following.counted:
                self._count(following)
            if ticket.call.max_in_flight is not None and self._waiting:
                self._changed.notify()

    def close(self, lost: str | None = None) -> None:
        """Cancel what waits; from now on nothing is accepted or handed out.

        Args:
            lost: says that the pool has lost its workers, and why: what waits fails with a `PoolLostError`.
        """
        with self._changed:
            self.closed, self._lost = True, lost or self._lost
            waiting = [ticket for queue in self._queues.values() for ticket in queue]
            self._queues.clear()
            self._waiting = 0
            self._changed.notify_all()
            wakers = self._wakers()
        self._start_times.close()
        for wake in wakers:
            wake()
        for ticket in sorted(waiting, key=lambda ticket: ticket.place):
            if lost is None:
                ticket.cancel()
            else:
                ticket.fail(PoolLostError(lost))

    def _take_claimed(self, accepts: Callable[[Budget], bool] = lambda _: True) -> Ticket | None:
        while (budget := self._first(None, accepts)) is not None:
            ticket = self._pop(budget)
            if ticket.claim():
                self._count(ticket)
                if ticket.rate is not None:
                    ticket.start = self._start_times.take(ticket.rate)
                return ticket
        return None

    def _tell_all(self) -> None:
        """Let everybody look again: something may start that might not."""
        with self._changed:
            self._changed.notify_all()
            wakers = self._wakers()
        for wake in wakers:
            wake()

    def _fail_all(self, rate: Rate, error: Exception) -> None:
        """End what waits for a start that is not to be had."""
        with self._changed:
            failed = [ticket for queue in self._queues.values() for ticket in queue if ticket.rate is rate]
            for ticket in failed:
                self._queues[ticket.budget].remove(ticket)
                if not self._queues[ticket.budget]:
                    del self._queues[ticket.budget]
            self._waiting -= len(failed)
        for ticket in failed:
            ticket.fail(error)
        self._tell_all()

    def _insert(self, ticket: Ticket) -> None:
        queue = self._queues.setdefault(ticket.budget, deque())
        later = []
        while queue and queue[0].place < ticket.place:
            later.append(queue.popleft())
        queue.appendleft(ticket)
        queue.extendleft(reversed(later))
        self._waiting += 1

    def _wakers(self) -> tuple[Callable[[], None], ...]:
        wakers = tuple(self._with_room)
        self._with_room.clear()
        return wakers

    def _count(self, ticket: Ticket) -> None:
        ticket.counted = True
        self._in_flight[ticket.call.budget] += 1

    def _release(self, ticket: Ticket) -> None:
        if not ticket.counted:
            return
        ticket.counted = False
        self._in_flight[ticket.call.budget] -= 1
        if not self._in_flight[ticket.call.budget]:
            del self._in_flight[ticket.call.budget]

    def _first(
        self, open_anyway: Budget | None, accepts: Callable[[Budget], bool] = lambda _: True
    ) -> Budget | None:
        """Return the budget whose first ticket is the oldest of those that may start."""
        may_start = [
            budget
            for budget in self._queues
            if (budget[1] is None or budget == open_anyway or self._in_flight[budget[0]] < budget[1])
            and accepts(budget)
            and ((rate := self._queues[budget][0].rate) is None or self._start_times.is_at_hand(rate))
        ]
        return min(may_start, key=lambda budget: self._queues[budget][0].place, default=None)

    def _pop(self, budget: Budget) -> Ticket:
        queue = self._queues[budget]
        ticket = queue.popleft()
        if not queue:
            del self._queues[budget]
        self._waiting -= 1
        return ticket
