"""`InHand`: the calls that a worker has been given and has not answered."""

from collections.abc import Iterator

from project_fanout.engine.pools.process.start_marks import MOST_CALLS
from project_fanout.engine.pools.ticket import Ticket


class InHand:
    """Tickets by the number that they have with the worker, in the order of hand-over; nothing here walks them all."""

    def __init__(self) -> None:
        self._tickets: dict[int, Ticket] = {}
        self._ahead: dict[int, Ticket] = {}
        self._at_work = {False: 0, True: 0}
        self._places: set[int] = set()
        self._numbers = 0

    def __len__(self) -> int:
        return len(self._tickets)

    def __iter__(self) -> Iterator[Ticket]:
        return iter(self._tickets.values())

    def __contains__(self, ticket: Ticket) -> bool:
        return self._tickets.get(ticket.number) is ticket

    @property
    def ahead(self) -> list[Ticket]:
        """Those that wait in the worker behind another one."""
        return list(self._ahead.values())

    @property
    def count_ahead(self) -> int:
        """How many these are."""
        return len(self._ahead)

    @property
    def last(self) -> Ticket:
        """The one that was handed over last."""
        return next(reversed(self._tickets.values()))

    def get(self, number: int) -> Ticket | None:
        """Return the ticket of that number, None if it is not in hand any more."""
        return self._tickets.get(number)

    def at_work(self, *, is_async: bool) -> int:
        """Return how many coroutines, or how many functions, are at work; a batch counts as one."""
        return self._at_work[is_async]

    def begin_with_new_worker(self) -> None:
        """Number from 1 on: the marks of a new worker know no call yet."""
        self._numbers = 0

    def add(self, ticket: Ticket) -> None:
        """Take a ticket, and give it a number: 1, 2, 3..., without those whose place in the marks another one has."""
        self._numbers += 1
        while self._numbers % MOST_CALLS in self._places:
            self._numbers += 1
        ticket.number = self._numbers
        self._places.add(ticket.number % MOST_CALLS)
        self._tickets[ticket.number] = ticket
        if ticket.is_ahead:
            self._ahead[ticket.number] = ticket
        else:
            self._at_work[ticket.call.is_async] += ticket.is_first

    def remove(self, ticket: Ticket) -> None:
        """Let go of a ticket."""
        del self._tickets[ticket.number]
        self._places.discard(ticket.number % MOST_CALLS)
        if self._ahead.pop(ticket.number, None) is None:
            self._at_work[ticket.call.is_async] -= ticket.is_first

    def start_next(self) -> Ticket | None:
        """Note that the first of those that wait behind another one is at work now, and return it."""
        ticket = next(iter(self._ahead.values()), None)
        if ticket is not None:
            del self._ahead[ticket.number]
            ticket.is_ahead = False
            self._at_work[ticket.call.is_async] += ticket.is_first
        return ticket
