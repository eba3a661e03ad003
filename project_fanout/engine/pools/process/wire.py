"""Whole messages over a stream socket between a pool and one of its workers."""

import math
import socket
import struct
from contextlib import suppress
from select import select
from typing import NamedTuple

from project_fanout.engine.pools.calls import UnitCall
from project_fanout.engine.rate import Start

_LENGTH = struct.Struct("!Q")
_TIMEVAL = struct.Struct("@ll")
_CHUNK = 1 << 18
# The default is 208 KiB on Linux but 8 KiB on macOS, where handing a worker its next call would block.
BUFFER_BYTES = 1 << 18


class HandOver(NamedTuple):
    """What a worker is given to run as one: a call, or those of a batch.

    Args:
        numbers: the numbers of the calls with this worker.
        calls: the calls.
        wants_logs: whether their logs are wanted.
        start: when they are to start, None for at once.
    """

    numbers: tuple[int, ...]
    calls: tuple[UnitCall, ...]
    wants_logs: bool
    start: Start | None


class Channel:
    """Messages in both directions, bytes that are each preceded by their length.

    A message that has arrived in part is no message yet: *receive* still times out, so a worker that is
    stopped or killed while it sends cannot make the other side wait for ever. The time limits are the
    kernel's own (SO_RCVTIMEO, SO_SNDTIMEO): one call into the kernel per message means giving up the
    interpreter's lock once, and taking it back costs up to 5 ms in a process that is busy with Python.

    Args:
        end: one end of a socket pair; closed with the channel.
        max_bytes: longest message that is accepted, None for any.
    """

    def __init__(self, end: socket.socket, max_bytes: int | None = None) -> None:
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            end.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
        self._socket = end
        self._max_bytes = max_bytes
        self._received = bytearray()
        self._limits: dict[int, float | None] = {}
        self._to_send = memoryview(b"")

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive_unless(self, wake: socket.socket, timeout_s: float) -> bytes | None:
        """Return the next message, None if it is not complete within *timeout_s*, or when *wake* can be read.

        Raises:
            EOFError, ValueError: as for `receive`.
        """
        if self._end_of_message() is None:
            ready, _, _ = select([self._socket, wake], [], [], max(0.0, timeout_s))
            if self._socket not in ready:
                return None
        return self.receive(0.0)

    def receive(self, timeout_s: float | None = None) -> bytes | None:
        """Return the next message, None if it is not complete within *timeout_s* (None: no limit).

        Raises:
            EOFError: the other side is gone and all that it sent has been received.
            ValueError: what arrives is longer than any message.
        """
        while (end := self._end_of_message()) is None:
            self._limit(socket.SO_RCVTIMEO, timeout_s)
            try:
                chunk = self._socket.recv(_CHUNK)
            except BlockingIOError:
                return None
            except OSError as error:
                raise EOFError(str(error)) from None
            if not chunk:
                raise EOFError("the other side is gone")
            self._received += chunk
            if timeout_s is not None and len(chunk) == _CHUNK and self._end_of_message() is None:
                # A long message in flight: let the caller look at the clock between two chunks.
                return None
        body = bytes(memoryview(self._received)[_LENGTH.size : end])
        del self._received[:end]
        return body

    @property
    def has_message(self) -> bool:
        """Whether a whole message has been read from the socket already."""
        return self._end_of_message() is not None

    def send(self, body: bytes, timeout_s: float | None = None) -> bool:
        """Send a message; return whether all of it is on its way within *timeout_s* (None: no limit).

        After a False, `send_rest` goes on with it.

        Raises:
            EOFError: the other side is gone.
        """
        self._to_send = memoryview(_LENGTH.pack(len(body)) + body)
        return self.send_rest(timeout_s)

    def send_rest(self, timeout_s: float | None = None) -> bool:
        """Go on with a message that *send* could not send whole."""
        while self._to_send:
            self._limit(socket.SO_SNDTIMEO, timeout_s)
            try:
                self._to_send = self._to_send[self._socket.send(self._to_send) :]
            except BlockingIOError:
                return False
            except OSError as error:
                raise EOFError(str(error)) from None
        return True

    def end_input(self) -> None:
        """Take nothing more: `receive` raises EOFError from now on."""
        with suppress(OSError):  # the other side is gone
            self._socket.shutdown(socket.SHUT_RD)

    def end_output(self) -> None:
        """Send nothing more: `receive` of the other side raises EOFError once it has received what was sent."""
        with suppress(OSError):  # the other side is gone
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._socket.close()

    def _end_of_message(self) -> int | None:
        if len(self._received) < _LENGTH.size:
            return None
        length: int = _LENGTH.unpack_from(self._received)[0]
        if self._max_bytes is not None and length > self._max_bytes:
            raise ValueError(
                f"a message of {length:,} bytes was announced, at most {self._max_bytes:,} are accepted"
            )
        end = _LENGTH.size + length
        return end if len(self._received) >= end else None

    def _limit(self, option: int, timeout_s: float | None) -> None:
        # One that is a little shorter will do: nobody minds to look again, and to set it costs as much as to receive.
        before = self._limits.get(option, math.inf)
        if before == timeout_s or (before and timeout_s and timeout_s / 2 <= before <= timeout_s):
            return
        self._limits[option] = timeout_s
        # 0 would mean no limit at all, so the shortest wait is 1 ms.
        seconds, fraction = divmod(max(timeout_s, 0.001), 1) if timeout_s is not None else (0, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, option, _TIMEVAL.pack(int(seconds), int(fraction * 1e6)))
