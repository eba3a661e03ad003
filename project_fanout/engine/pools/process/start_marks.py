"""A page of memory that a pool and one worker share: which call has been started, and since when."""

import mmap
import os
import threading
import time

from project_fanout.engine.pools.memory_file import memory_file

#: Most calls that one worker may hold at once, those that wait in it included.
MOST_CALLS = 2048
_READY, _SET_UPS = range(2)
# For each call that a worker holds, a place in each of these: its number, where that says something of it.
_STARTED, _LOADED, _RECALLED, _COUNTS_FROM = (8 + MOST_CALLS * part for part in range(4))
_BYTES = 8 * (8 + 4 * MOST_CALLS)


class StartMarks:
    """Tells exactly, and even after the worker's death, which calls it has started.

    A call that a worker holds but has not started can so be taken back: it is never run twice and its
    unit loses no attempt. Calls are told by their number, 1, 2, 3...; two that a worker holds at once
    differ by less than `MOST_CALLS`.

    Args:
        fd: the file behind the page, from `create_file`; stays open.
    """

    def __init__(self, fd: int) -> None:
        self._page = mmap.mmap(fd, _BYTES)
        self._slots = memoryview(self._page).cast("d")
        self._fence = threading.Lock()

    @staticmethod
    def create_file() -> int:
        """Return the descriptor of a new file for one worker; it has no name and vanishes when closed."""
        with memory_file("project_fanout start marks") as file:
            fd = os.dup(file.fileno())
        os.ftruncate(fd, _BYTES)
        return fd

    @property
    def ready(self) -> bool:
        """Whether the worker has come up."""
        return bool(self._slots[_READY])

    @property
    def set_ups(self) -> int:
        """How many values the worker has to close before it ends."""
        return int(self._slots[_SET_UPS])

    @set_ups.setter
    def set_ups(self, count: int) -> None:
        self._slots[_SET_UPS] = count

    def come_up(self) -> None:
        """Worker: say that it is ready for calls."""
        self._slots[_READY] = 1

    def start(self, number: int, grace_s: float) -> bool:
        """Worker: claim call *number*; return False if it has been taken back and must not be run.

        Its deadline counts from *grace_s* seconds ahead, until `count_from_now`.
        """
        place = number % MOST_CALLS
        self._slots[_COUNTS_FROM + place] = time.monotonic() + grace_s
        self._slots[_STARTED + place] = number
        self._order()
        return self._slots[_RECALLED + place] != number

    def count_from_now(self, number: int) -> None:
        """Worker: stage and set-ups of call *number* are there; let its deadline count from this moment."""
        place = number % MOST_CALLS
        # In this order: a call whose time is over and that is not loaded is taken for one that never will be.
        self._slots[_LOADED + place] = number
        self._order()
        self._slots[_COUNTS_FROM + place] = time.monotonic()

    def started(self, number: int) -> bool:
        """Pool: tell whether the worker has started call *number*."""
        return self._slots[_STARTED + number % MOST_CALLS] == number

    def loaded(self, number: int) -> bool:
        """Pool: tell whether the stage itself runs."""
        return self._slots[_LOADED + number % MOST_CALLS] == number

    def counts_from(self, number: int) -> float:
        """Pool: return the time on the monotonic clock from which the deadline of a started call counts."""
        return self._slots[_COUNTS_FROM + number % MOST_CALLS]

    def recall(self, number: int) -> bool:
        """Pool: take call *number* back; return False if the worker has claimed it.

        Each side writes its own mark before it reads the other's, so at least one of the two sees the
        other's claim: True here means that `start` of that call will return False. Both may see it, so
        False here does not mean that `start` has returned True: the worker's answer tells.
        """
        place = number % MOST_CALLS
        self._slots[_RECALLED + place] = number
        self._order()
        return self._slots[_STARTED + place] != number

    def close(self) -> None:
        self._slots.release()
        self._page.close()

    def _order(self) -> None:
        # Taking a lock is a memory barrier: the write above is seen before the read below is made.
        with self._fence:
            pass
