"""What a unit prints: whole lines, each with the record and the unit that it comes from."""

import contextvars
import io
import sys
import threading
import time
from typing import Any

from project_fanout.engine.pools.attempt.attempt import Attempt, Next
from project_fanout.engine.pools.calls import UnitReply

# A progress bar draws itself anew ten times a second: of these one line is kept in so many seconds, and the last.
_PROGRESS_EVERY_S = 30.0

_lock = threading.RLock()
_printers: set["_Printer"] = set()
_current: contextvars.ContextVar["_Printer | None"] = contextvars.ContextVar("printer", default=None)


async def label_prints(attempt: Attempt, call_next: Next) -> list[UnitReply]:
    """Ring: let each line that is printed meanwhile say whose it is."""
    printer = _Printer(f"[record {attempt.call.record_key!r}, unit {attempt.call.unit_key!r}] ")
    token = _current.set(printer)
    with _lock:
        _printers.add(printer)
    try:
        return await call_next(attempt)
    finally:
        _current.reset(token)
        with _lock:
            _printers.discard(printer)
            printer.end()


def label_standard_streams() -> None:
    """Put `LabelledStream`s in the place of this process's standard output and error."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None:  # closed, as `2>&-` does
            setattr(sys, name, LabelledStream(stream))


class LabelledStream(io.TextIOBase):
    """A text stream that writes whole lines to *stream*, each with whose it is. Its bytes go past all this.

    Args:
        stream: standard output or error.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]  # typeshed has an attribute, Python does not
        """Its encoding."""
        return str(self._stream.encoding)

    @property
    def errors(self) -> str:  # type: ignore[override]  # typeshed has an attribute, Python does not
        """How it takes what cannot be encoded."""
        return str(self._stream.errors)

    @property
    def buffer(self) -> Any:
        """Where bytes are written."""
        return self._stream.buffer

    def write(self, text: str) -> int:
        """Write *text*: what is not a whole line yet, when it is one or its unit ends."""
        with _lock:
            printer = _current.get() or (next(iter(_printers)) if len(_printers) == 1 else None)
            if printer is None:
                self._stream.write(text)
            else:
                printer.write(self._stream, text)
        return len(text)

    def flush(self) -> None:
        """Flush what has been written of it."""
        self._stream.flush()

    def fileno(self) -> int:
        """Return the file that C code writes to."""
        return int(self._stream.fileno())

    def isatty(self) -> bool:
        """Return that nobody sits in front of it."""
        return False

    def writable(self) -> bool:
        """Return that it can be written."""
        return True


class _Printer:
    def __init__(self, label: str) -> None:
        self._label = label
        self._begun: dict[int, tuple[Any, str]] = {}
        self._shown_at = time.monotonic()

    def write(self, stream: Any, text: str) -> None:
        *lines, rest = (self._begun.pop(id(stream), (stream, ""))[1] + text).split("\n")
        for line in lines:
            self._show(stream, line)
        if "\r" in rest:
            # A carriage return begins the line anew: what stood there is overwritten.
            if time.monotonic() - self._shown_at > _PROGRESS_EVERY_S:
                self._show(stream, rest)
            rest = _last_state(rest)
        if rest:
            self._begun[id(stream)] = (stream, rest)

    def end(self) -> None:
        for stream, text in self._begun.values():
            self._show(stream, text)
        self._begun.clear()

    def _show(self, stream: Any, line: str) -> None:
        self._shown_at = time.monotonic()
        stream.write(f"{self._label}{_last_state(line)}\n")
        stream.flush()


def _last_state(line: str) -> str:
    """Return what a terminal would show of *line*."""
    return line.rstrip("\r").rpartition("\r")[2]
