"""The calls that wait for a worker, in the order in which they came, within their budgets."""

import threading
from collections import Counter, deque

from project_fanout.engine.errors import PoolClosedError, PoolLostError
from project_fanout.engine.pools.ticket import Budget, Ticket


class Backlog:
    """First in, first out, except that a budget with all its places taken is passed over; safe from any thread.

    There is one queue per budget and limit, and few of these, so every operation takes the same short
    time however many calls wait.

    Args:
        workers: how many units the pool runs at once.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._changed = threading.Condition()
        self._queues: dict[Budget, deque[Ticket]] = {}
        self._in_flight: Counter[str] = Counter()
        self._submitted = 0
        self._waiting = 0
        self._idle = 0
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
            return self._idle < self._waiting

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

    def take(self) -> Ticket | None:
        """Return the first ticket whose call may start now and count it as in flight, None if there is none."""
        with self._changed:
            return None if self.closed else self._take_claimed()

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
                if self._queues[budget][0].size > max_bytes:
                    break
                ticket = self._pop(budget)
                if ticket.claim():
                    tickets.append(ticket)
                    last, max_bytes = ticket, max_bytes - ticket.size
        return tickets

    def put_back(self, ticket: Ticket, *, counted: bool) -> None:
        """Put a ticket whose call was not started back in its place; *counted*: as in flight."""
        ticket.number = 0
        with self._changed:
            if counted:
                self._release(ticket)
            if not self.closed:
                queue = self._queues.setdefault(ticket.budget, deque())
                later = []
                while queue and queue[0].place < ticket.place:
                    later.append(queue.popleft())
                queue.appendleft(ticket)
                queue.extendleft(reversed(later))
                self._waiting += 1
                self._changed.notify()
                return
        ticket.cancel()

    def finish(self, ticket: Ticket, following: Ticket | None = None) -> None:
        """Count *ticket* as no longer in flight, and *following*, which takes its place on its worker, as in flight."""
        with self._changed:
            self._release(ticket)
            if following is not None:
                self._in_flight[following.call.budget] += 1
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
        for ticket in sorted(waiting, key=lambda ticket: ticket.place):
            if lost is None:
                ticket.cancel()
            else:
                ticket.fail(PoolLostError(lost))

    def _take_claimed(self) -> Ticket | None:
        while (budget := self._first(None)) is not None:
            ticket = self._pop(budget)
            if ticket.claim():
                self._in_flight[ticket.call.budget] += 1
                return ticket
        return None

    def _release(self, ticket: Ticket) -> None:
        self._in_flight[ticket.call.budget] -= 1
        if not self._in_flight[ticket.call.budget]:
            del self._in_flight[ticket.call.budget]

    def _first(self, open_anyway: Budget | None) -> Budget | None:
        """Return the budget whose first ticket is the oldest of those that may start."""
        may_start = [
            budget
            for budget in self._queues
            if budget[1] is None or budget == open_anyway or self._in_flight[budget[0]] < budget[1]
        ]
        return min(may_start, key=lambda budget: self._queues[budget][0].place, default=None)

    def _pop(self, budget: Budget) -> Ticket:
        queue = self._queues[budget]
        ticket = queue.popleft()
        if not queue:
            del self._queues[budget]
        self._waiting -= 1
        return ticket
