"""A page of memory that a pool and one worker share: which call has been started, and since when."""

import mmap
import os
import tempfile
import threading
import time

_READY, _STARTED, _COUNTS_FROM, _RECALLED = range(4)
#: Most calls that one worker may hold: so many can be taken back at once.
MOST_CALLS = 16
_BYTES = mmap.PAGESIZE


class StartMarks:
    """Tells exactly, and even after the worker's death, which call it has started.

    A call that a worker holds but has not started can so be taken back: it is never run twice and its
    unit loses no attempt. Calls are told by their number, 1, 2, 3... in the order of hand-over.

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
        if hasattr(os, "memfd_create"):
            fd = os.memfd_create("project_fanout start marks")
        else:
            with tempfile.TemporaryFile() as file:
                fd = os.dup(file.fileno())
        os.ftruncate(fd, _BYTES)
        return fd

    @property
    def ready(self) -> bool:
        """Whether the worker has come up."""
        return bool(self._slots[_READY])

    @property
    def started(self) -> int:
        """Number of the last call that the worker started, 0 before the first."""
        return int(self._slots[_STARTED])

    @property
    def counts_from(self) -> float:
        """Time on the monotonic clock from which the deadline of the started call counts."""
        return self._slots[_COUNTS_FROM]

    def come_up(self) -> None:
        """Worker: say that it is ready for calls."""
        self._slots[_READY] = 1

    def start(self, number: int, grace_s: float) -> bool:
        """Worker: claim call *number*; return False if it has been taken back and must not be run.

        Its deadline counts from *grace_s* seconds ahead, until `count_from_now`.
        """
        self._slots[_COUNTS_FROM] = time.monotonic() + grace_s
        self._slots[_STARTED] = number
        self._order()
        return self._slots[_RECALLED + number % MOST_CALLS] != number

    def count_from_now(self) -> None:
        """Worker: let the deadline of the started call count from this moment."""
        self._slots[_COUNTS_FROM] = time.monotonic()

    def recall(self, number: int) -> bool:
        """Pool: take call *number* back; return False if the worker has claimed it.

        Each side writes its own slot before it reads the other's, so at least one of the two sees the
        other's claim: True here means that `start` of that call will return False. Both may see it, so
        False here does not mean that `start` has returned True: the worker's answer tells.
        """
        self._slots[_RECALLED + number % MOST_CALLS] = number
        self._order()
        return self._slots[_STARTED] < number

    def close(self) -> None:
        self._slots.release()
        self._page.close()

    def _order(self) -> None:
        # Taking a lock is a memory barrier: the write above is seen before the read below is made.
        with self._fence:
            pass
