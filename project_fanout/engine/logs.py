"""Relay what a unit writes through `logging`."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from project_fanout.engine.calls import UnitCall, UnitLog

_MAX_MESSAGE_CHARS = 1 << 16

_root = logging.getLogger()
_level_lock = threading.Lock()
_levels: list[int] = []
_level_before = logging.NOTSET


@contextmanager
def relayed_logs(
    call: UnitCall, level: int, deliver: Callable[[UnitLog], None], *, only_this_thread: bool = False
) -> Iterator[None]:
    """Give *deliver* each record of *level* and up that is logged meanwhile, as a `UnitLog` of *call*.

    Afterwards the root logger has the handlers and the level that it had before.
    """
    relay = _Relay(call, level, deliver, threading.get_ident() if only_this_thread else None)
    _lower_root_level(level)
    _root.addHandler(relay)
    try:
        yield
    finally:
        _root.removeHandler(relay)
        _restore_root_level(level)
        relay.close()


class _Relay(logging.Handler):
    def __init__(
        self, call: UnitCall, level: int, deliver: Callable[[UnitLog], None], thread: int | None
    ) -> None:
        super().__init__(level)
        self._call = call
        self._deliver = deliver
        self._thread = thread
        self._delivering = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        # What *deliver* itself logs in this thread would come back here without end.
        if getattr(self._delivering, "now", False) or self._thread not in (None, threading.get_ident()):
            return
        self._delivering.now = True
        try:
            message = self.format(record)
            if len(message) > _MAX_MESSAGE_CHARS:
                message = f"{message[:_MAX_MESSAGE_CHARS]}... ({len(message):,} characters)"
            log = UnitLog(
                self._call.record_key, self._call.unit_key, str(record.name), record.levelno, message
            )
            self._deliver(log)
        except Exception:  # what every logging handler does
            self.handleError(record)
        finally:
            self._delivering.now = False


def _lower_root_level(level: int) -> None:
    global _level_before
    with _level_lock:
        if not _levels:
            _level_before = _root.level
        _levels.append(level)
        _set_root_level(min(_level_before, *_levels))


def _restore_root_level(level: int) -> None:
    with _level_lock:
        _levels.remove(level)
        _set_root_level(min(_level_before, *_levels) if _levels else _level_before)


def _set_root_level(level: int) -> None:
    # setLevel empties the cache of every logger of the process, so it is called for a change only.
    if _root.level != level:
        _root.setLevel(level)
