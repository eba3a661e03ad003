"""Relay what a unit writes through `logging`."""

import contextvars
import logging
import sys
import threading
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from types import TracebackType

from project_fanout.engine.pools.attempt.attempt import Attempt, Next
from project_fanout.engine.pools.calls import UnitCall, UnitLog, UnitReply

_MAX_MESSAGE_CHARS = 1 << 16

_root = logging.getLogger()
_lock = threading.Lock()
_level_before = logging.NOTSET


async def relay_logs(
    attempt: Attempt, call_next: Next, *, level: int = logging.INFO, own_context_only: bool = False
) -> list[UnitReply]:
    """Ring: give the attempt's `on_log` what the stage logs; see `relayed_logs`."""
    if attempt.on_log is None:
        return await call_next(attempt)
    with relayed_logs(attempt.call, level, attempt.on_log, own_context_only=own_context_only):
        return await call_next(attempt)


class relayed_logs:  # noqa: N801  # a context manager: as a generator it would add frames to a unit's traceback
    """Give *deliver* each record of *level* and up that the unit of *call* logs meanwhile, as a `UnitLog`.

    Its own are those logged in the context (`contextvars`) of the block: also by what it awaits, and by
    `asyncio.to_thread`. A record of no context, as of a thread that it has started, is taken for its own where no
    other unit is at work in the process, unless *own_context_only*. Other people's libraries, that is what is
    installed and not in a folder of one's own, are relayed from WARNING on, unless *level* is DEBUG.

    Afterwards the root logger has the handlers and the level that it had before.
    """

    def __init__(
        self,
        call: UnitCall,
        level: int,
        deliver: Callable[[UnitLog], None],
        *,
        own_context_only: bool = False,
    ) -> None:
        self._relay = _Relay(call, level, deliver, own_context_only)

    def __enter__(self) -> None:
        self._token = _current.set(self._relay)
        _begin(self._relay)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _end(self._relay)
        _current.reset(self._token)


class _Relay:
    """Where the records of one unit go. No handler of its own: `logging` keeps a list of all of those."""

    def __init__(
        self, call: UnitCall, level: int, deliver: Callable[[UnitLog], None], own_context_only: bool
    ) -> None:
        self.level = level
        self.own_context_only = own_context_only
        self._call = call
        self._deliver = deliver
        self._delivering = threading.local()

    def emit(self, record: logging.LogRecord, text: Callable[[logging.LogRecord], str]) -> None:
        """Deliver *record*, whose message is *text* of it."""
        # What *deliver* itself logs in this thread would come back here without end.
        if getattr(self._delivering, "now", False):
            return
        self._delivering.now = True
        try:
            message = text(record)
            if len(message) > _MAX_MESSAGE_CHARS:
                message = f"{message[:_MAX_MESSAGE_CHARS]}... ({len(message):,} characters)"
            log = UnitLog(
                self._call.record_key, self._call.unit_key, str(record.name), record.levelno, message
            )
            self._deliver(log)
        finally:
            self._delivering.now = False


_current: contextvars.ContextVar[_Relay | None] = contextvars.ContextVar("relay", default=None)


class _Switchboard(logging.Handler):
    """Hands each record to the relay of the unit that has logged it: the one handler that the root logger gets.

    A handler per relay would lose records. `logging` walks the root's list of handlers while another
    thread's unit ends and takes its own off that list, and the walk then passes over the one behind it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._relays: set[_Relay] = set()
        self._levels: Counter[int] = Counter()
        # The one that there is, None if there are more or none: read without the lock.
        self._only: _Relay | None = None

    def __len__(self) -> int:
        return len(self._relays)

    @property
    def least_level(self) -> int:
        """The least level that a relay wants; there is one at least."""
        return min(self._levels)

    def add(self, relay: _Relay) -> None:
        """Hand records to *relay*, too."""
        self._relays.add(relay)
        self._levels[relay.level] += 1
        self._only = relay if len(self._relays) == 1 else None

    def remove(self, relay: _Relay) -> None:
        """Hand *relay* no more."""
        self._relays.discard(relay)
        self._levels[relay.level] -= 1
        if not self._levels[relay.level]:
            del self._levels[relay.level]
        self._only = next(iter(self._relays)) if len(self._relays) == 1 else None

    def handle(self, record: logging.LogRecord) -> bool:
        """Hand *record* on without this handler's own lock: units of different threads need not wait."""
        relay, only = _current.get(), self._only
        if relay is None and only is not None and not only.own_context_only:
            relay = only
        if relay is not None and relay in self._relays and record.levelno >= _least(relay.level, record.name):
            try:
                relay.emit(record, self.format)
            except Exception:  # what every logging handler does
                self.handleError(record)
        return True


_switchboard = _Switchboard()


def _least(level: int, logger: str) -> int:
    """Return the least level at which what *logger* says is relayed."""
    if level <= logging.DEBUG or level >= logging.WARNING:
        return level
    return logging.WARNING if _is_of_a_library(logger.partition(".")[0]) else level


@lru_cache(maxsize=1024)
def _is_of_a_library(package: str) -> bool:
    # httpx tells each request at INFO, with the tokens in its URL.
    file = getattr(sys.modules.get(package), "__file__", None) or ""
    return "site-packages" in file or "dist-packages" in file or package in sys.stdlib_module_names


def _begin(relay: _Relay) -> None:
    global _level_before
    with _lock:
        if not len(_switchboard):
            _level_before = _root.level
            _root.addHandler(_switchboard)
        _switchboard.add(relay)
        _set_root_level(min(_level_before, _switchboard.least_level))


def _end(relay: _Relay) -> None:
    with _lock:
        _switchboard.remove(relay)
        if len(_switchboard):
            _set_root_level(min(_level_before, _switchboard.least_level))
        else:
            _set_root_level(_level_before)
            _root.removeHandler(_switchboard)


def _set_root_level(level: int) -> None:
    # setLevel empties the cache of every logger of the process, so it is called for a change only.
    if _root.level != level:
        _root.setLevel(level)
