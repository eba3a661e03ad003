"""A thread that writes batches, so that those who hand it rows need not wait for the disk."""

import atexit
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, TypeVar

from project_fanout.engine.errors import LedgerError

_T = TypeVar("_T")

# Group commit: the first item is written at once, and what comes meanwhile with the next batch. Between two batches
# there is a pause of so many times what the last one took, so that writing takes a fifth of the time at most. A commit
# uses 0.5 ms of CPU: 20 of them a second are nothing, and a hundred were 4 % of a run with units of 20 ms.
_PAUSES = 4
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 0.2
_LARGEST_BATCH = 1000
# After a nudge there may be nothing to write, or soon nothing any more.
_NUDGE_S = 0.25


@dataclass(eq=False)
class BatchWriter(Generic[_T]):
    """Takes items from many threads and gives them to *write* in batches, in the order in which they came.

    Args:
        write: writes a batch as a whole or raises `LedgerError`; called in the writer's own thread, one
            batch after the other. After a `nudge` the batch may be empty.
        size: about how much memory an item takes, in bytes.
        is_outcome: whether an item is one that the message of a failed flush counts.
        max_items: most items that wait; who brings more is held up.
        max_bytes: most bytes that wait; a single larger item is taken when nothing else waits.
    """

    write: Callable[[Sequence[_T]], None]
    size: Callable[[_T], int]
    is_outcome: Callable[[_T], bool] = lambda _: True
    max_items: int = 10_000
    max_bytes: int = 64 * 2**20
    _waiting: deque[tuple[_T, int]] = field(default_factory=deque, init=False)
    _bytes: int = field(default=0, init=False)
    _written: int = field(default=0, init=False)
    _changed: threading.Condition = field(default_factory=threading.Condition, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)
    _failure: LedgerError | None = field(default=None, init=False)
    _hurry: int = field(default=0, init=False)
    _nudged: bool = field(default=False, init=False)
    # Whether the thread has to be told of the first item, or has not been started.
    _is_idle: bool = field(default=True, init=False)
    _closed: bool = field(default=False, init=False)

    def put(self, item: _T) -> None:
        """Take *item*; waits only while too many others do.

        Raises:
            LedgerError: an earlier batch could not be written, or the writer is closed; *item* is not taken.
        """
        size = self.size(item)
        # Most items are small: their number bounds them. Many threads bring some, and one that lost its turn with a
        # lock in hand would hold up all others.
        if self._takes_at_once(size):
            self._waiting.append((item, 0))
            if self._is_idle or len(self._waiting) == _LARGEST_BATCH:
                self._wake()
            return
        with self._changed:
            self._changed.wait_for(lambda: self._failure or self._closed or self._has_room(size))
            if self._failure:
                raise LedgerError(str(self._failure)) from self._failure
            if self._closed:
                raise LedgerError("The ledger has been closed.")
            self._waiting.append((item, size))
            self._bytes += size
            self._wake()

    def _takes_at_once(self, size: int) -> bool:
        return (
            size <= self.max_bytes / self.max_items
            and len(self._waiting) < self.max_items
            and not self._failure
            and not self._closed
        )

    def _wake(self) -> None:
        with self._changed:
            if self._thread is None:
                self._start()
            self._changed.notify_all()

    def nudge(self) -> None:
        """Have *write* called within some tenths of a second, whether or not there is anything to write."""
        if self._nudged:
            return
        self._nudged = True
        if self._is_idle and not self._closed:
            self._wake()

    def waiting(self) -> list[_T]:
        """Return what is not known to be written yet."""
        with self._changed:
            return [item for item, _ in tuple(self._waiting)]

    def flush(self) -> None:
        """Return when everything that was put before is written. After a failure, try once more.

        Raises:
            LedgerError: it could not be written; it stays, so that another flush can write it.
        """
        with self._changed:
            self._failure = None
            self._hurry += 1
            # What comes meanwhile need not be waited for.
            wanted = self._written + len(self._waiting)
            if self._waiting and self._thread is None:
                self._start()
            self._changed.notify_all()
            try:
                self._changed.wait_for(lambda: self._failure or self._written >= wanted)
            finally:
                self._hurry -= 1
            if self._failure:
                raise LedgerError(
                    f"{self._failure} {sum(map(self.is_outcome, self.waiting()))} outcomes are not in it."
                ) from self._failure

    def close(self) -> None:
        """Flush and end the thread; safe to call twice.

        Raises:
            LedgerError: what was put before could not be written.
        """
        try:
            self.flush()
        finally:
            with self._changed:
                self._closed = True
                self._changed.notify_all()
                thread, self._thread = self._thread, None
            if thread is not None:
                thread.join()
                atexit.unregister(self.close)

    def _has_room(self, size: int) -> bool:
        if not self._waiting:
            return True
        return len(self._waiting) < self.max_items and self._bytes + size <= self.max_bytes

    def _start(self) -> None:
        # A daemon, so that a forgotten close() cannot keep the process alive; then atexit writes the rest.
        self._thread = threading.Thread(target=self._run, name="fanout-ledger", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def _run(self) -> None:
        while (batch := self._gather()) is not None:
            began = time.monotonic()
            failure = self._try(batch)
            self._settle(0 if failure else len(batch), failure)
            self._pause(_PAUSES * (time.monotonic() - began))

    def _try(self, batch: Sequence[_T]) -> LedgerError | None:
        try:
            self.write(batch)
        except LedgerError as error:
            return error
        except Exception as error:  # noqa: BLE001  # whatever it is, those who wait must hear of it
            return LedgerError(f"The ledger could not be written: {error!r}.")
        return None

    def _gather(self) -> list[_T] | None:
        """Return the next batch as soon as there is any, None when there will be no more."""
        with self._changed:
            # Before the look at what waits, as those who bring something look at it afterwards.
            self._is_idle = True
            self._changed.wait_for(
                lambda: self._closed or ((self._waiting or self._nudged) and not self._failure)
            )
            if not self._waiting:
                self._changed.wait_for(lambda: self._closed or self._hurry or self._waiting, timeout=_NUDGE_S)
            self._is_idle = False
            if self._failure or (self._closed and not self._waiting):
                return None
            self._nudged = False
            return [item for item, _ in islice(tuple(self._waiting), _LARGEST_BATCH)]

    def _pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or self._hurry or len(self._waiting) >= _LARGEST_BATCH,
                timeout=min(max(seconds, _SHORTEST_PAUSE_S), _LONGEST_PAUSE_S),
            )

    def _settle(self, written: int, failure: LedgerError | None) -> None:
        with self._changed:
            for _ in range(written):
                self._bytes -= self._waiting.popleft()[1]
            self._written += written
            self._failure = failure
            self._changed.notify_all()
