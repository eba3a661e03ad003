"""What comes back from a worker, as bytes: replies and log records, read without running code."""

import json
import struct
from collections.abc import Iterator, Sequence
from typing import Any

from project_fanout.engine.model import UnitError
from project_fanout.engine.pools.calls import Again, UnitLog, UnitReply
from project_fanout.engine.values import bundle, unbundle

_LENGTH = struct.Struct("<Q")
# A shorter result stands in the head itself: to read a second piece of JSON takes as long as the first.
_SHORT_TEXT = 4096
_read = json.JSONDecoder().raw_decode


def reply_to_bytes(number: int, about: UnitReply | UnitLog | None) -> bytes:
    """Return what a worker says of call *number*: its reply, a log record, or None for a call that has not begun."""
    values, text = b"", None
    content: Any = None
    if isinstance(about, UnitLog):
        content = [about.record_key, about.unit_key, about.logger, about.level, about.message]
    elif about is not None:
        error = (
            None if about.error is None else [about.error.type, about.error.message, about.error.traceback]
        )
        keys = None if about.fanout is None else [key for key, _ in about.fanout]
        if isinstance(about.encoded, str) and len(about.encoded) <= _SHORT_TEXT:
            text = about.encoded
        figures = [about.seconds, about.cpu_seconds, about.peak_mb, about.worker]
        content = [
            about.status,
            figures,
            keys,
            error,
            about.final,
            about.again,
            about.alone,
            about.worker_ends,
            text,
        ]
        if about.fanout is not None:
            values = bundle([payload for _, payload in about.fanout])
        elif about.encoded is not None and text is None:
            values = bundle([about.encoded])
    head = json.dumps([number, isinstance(about, UnitLog), content]).encode("ascii")
    return b"".join((_LENGTH.pack(len(head)), head, values))


def reply_of_bytes(body: bytes) -> tuple[int, UnitReply | UnitLog | None]:
    """Return what `reply_to_bytes` was given.

    Raises:
        ValueError, DamagedValueError: that is no such message.
    """
    end = _LENGTH.size + _LENGTH.unpack_from(body)[0]
    number, is_log, content = _read(str(body[_LENGTH.size : end], "ascii"))[0]
    if content is None:
        return number, None
    if is_log:
        return number, UnitLog(*content)
    status, (seconds, cpu_seconds, peak_mb, worker), keys, error, final, again, alone, worker_ends, text = (
        content
    )
    values = unbundle(memoryview(body)[end:]) if end < len(body) else (text,)
    return number, UnitReply(
        status,
        seconds,
        encoded=values[0] if keys is None else None,
        fanout=None if keys is None else tuple(zip(keys, values, strict=True)),
        error=None if error is None else UnitError(*error),
        cpu_seconds=cpu_seconds,
        peak_mb=peak_mb,
        worker=worker,
        final=final,
        again=None if again is None else Again(*again),
        alone=alone,
        worker_ends=worker_ends,
    )


def joined(messages: Sequence[bytes]) -> bytes:
    """Return several messages as one."""
    return b"".join(_LENGTH.pack(len(message)) + message for message in messages)


def separated(body: bytes) -> Iterator[tuple[int, UnitReply | UnitLog | None]]:
    """Yield what the messages of `joined` say."""
    at = 0
    while at < len(body):
        start = at + _LENGTH.size
        at = start + _LENGTH.unpack_from(body, at)[0]
        yield reply_of_bytes(body[start:at])
