"""Relay what a unit writes through `logging`."""

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

from project_fanout.engine.pools.calls import UnitCall, UnitLog

_MAX_MESSAGE_CHARS = 1 << 16

_root = logging.getLogger()
_lock = threading.Lock()
_level_before = logging.NOTSET


def relayed_logs(
    call: UnitCall, level: int, deliver: Callable[[UnitLog], None], *, only_this_thread: bool = False
) -> AbstractContextManager[object]:
    """Give *deliver* each record of *level* and up that is logged meanwhile, as a `UnitLog` of *call*.

    Afterwards the root logger has the handlers and the level that it had before.
    """
    return _Relay(call, level, deliver, threading.get_ident() if only_this_thread else None)


class _Relay(logging.Handler):
    def __init__(
        self, call: UnitCall, level: int, deliver: Callable[[UnitLog], None], thread: int | None
    ) -> None:
        super().__init__(level)
        self._call = call
        self._deliver = deliver
        self._thread = thread
        self._delivering = threading.local()

    # Not a generator with @contextmanager: that adds frames of its own to the traceback of a unit's error.
    def __enter__(self) -> None:
        _begin(self)

    def __exit__(self, *_: object) -> None:
        _end(self)
        self.close()

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


class _Switchboard(logging.Handler):
    """Hands each record to every relay that is active: the one handler that the root logger gets for them.

    A handler per relay would lose records. `logging` walks the root's list of handlers while another
    thread's unit ends and takes its own off that list, and the walk then passes over the one behind it.
    """

    def __init__(self) -> None:
        super().__init__()
        # Replaced and never changed, so that a walk over it that has begun sees all of it.
        self.relays: tuple[_Relay, ...] = ()

    def handle(self, record: logging.LogRecord) -> bool:
        """Hand *record* on without this handler's own lock: units of different threads need not wait."""
        for relay in self.relays:
            if record.levelno >= relay.level:
                relay.handle(record)
        return True


_switchboard = _Switchboard()


def _begin(relay: _Relay) -> None:
    global _level_before
    with _lock:
        if not _switchboard.relays:
            _level_before = _root.level
            _root.addHandler(_switchboard)
        _switchboard.relays = (*_switchboard.relays, relay)
        _set_root_level()


def _end(relay: _Relay) -> None:
    with _lock:
        _switchboard.relays = tuple(each for each in _switchboard.relays if each is not relay)
        _set_root_level()
        if not _switchboard.relays:
            _root.removeHandler(_switchboard)


def _set_root_level() -> None:
    level = min([_level_before, *(relay.level for relay in _switchboard.relays)])
    # setLevel empties the cache of every logger of the process, so it is called for a change only.
    if _root.level != level:
        _root.setLevel(level)
