"""`ReadAhead`: an iterator whose consumer hears when nothing comes."""

import contextvars
import queue
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from project_fanout.engine.closing import Closing

_T = TypeVar("_T")

# Few: a payload may be large, and each item that is ahead is in memory.
_MOST_AHEAD = 16
_LOOK_EVERY_S = 0.1
_LONGEST_CLOSE_S = 2.0


@dataclass(frozen=True, slots=True)
class _End:
    error: BaseException | None


class ReadAhead(Closing, Generic[_T]):
    """Takes the items of a generator in a thread of its own, a few ahead of its consumer.

    Iterating yields each item, and None where for a tenth of a second none came. What the generator raises is raised
    here. It sees the context variables of the thread that made this, and ends in its own thread, also when this is
    closed before its end; one that does not react is left behind.

    Args:
        items: a generator that has not been started: what it opens, say a database's connection, it may only use in
            the thread in which it has opened it.
    """

    def __init__(self, items: Generator[_T, None, None]) -> None:
        self._items = items
        self._queue: queue.Queue[_T | _End] = queue.Queue(_MOST_AHEAD)
        self._closed = threading.Event()
        self._thread = threading.Thread(
            target=contextvars.copy_context().run,
            args=(self._read,),
            name="project_fanout records",
            daemon=True,
        )

    def __iter__(self) -> Iterator[_T | None]:
        self._thread.start()
        while True:
            try:
                item = self._queue.get(timeout=_LOOK_EVERY_S)
            except queue.Empty:
                yield None
                continue
            if not isinstance(item, _End):
                yield item
            elif item.error is None:
                return
            else:
                raise item.error

    def close(self) -> None:
        """Close the generator, if it has been started."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join(_LONGEST_CLOSE_S)

    def _read(self) -> None:
        error: BaseException | None = None
        try:
            for item in self._items:
                if not self._put(item):
                    break
        except BaseException as raised:  # noqa: BLE001  # it is raised in the consumer
            error = raised
        finally:
            self._items.close()
        self._put(_End(error))

    def _put(self, item: _T | _End) -> bool:
        while not self._closed.is_set():
            try:
                self._queue.put(item, timeout=_LOOK_EVERY_S)
            except queue.Full:
                continue
            return True
        return False
