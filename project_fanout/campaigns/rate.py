"""A rate limit that all workers and runs on this machine share, through one small locked file."""

import fcntl
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path

from project_fanout.campaigns.folders import private_folder

# A time further ahead than this many messages take comes from before the clock was set back.
_LONGEST_QUEUE = 1000
_TIME = struct.Struct("d")


class RateLimit:
    """Lets callers through at most *per_second* times a second, evenly, whoever they are.

    Args:
        file: holds the time of the next free place; everybody who names the same file shares the limit.
        per_second: more than 0.
        clock, wait: for tests.
    """

    def __init__(
        self,
        file: Path,
        per_second: float,
        *,
        clock: Callable[[], float] = time.time,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        private_folder(file.parent)
        self._fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._interval = 1 / per_second
        self._clock = clock
        self._wait = wait

    def acquire(self) -> None:
        """Take the next free place and wait for its time."""
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            now = self._clock()
            stored = os.pread(self._fd, _TIME.size, 0)
            free = _TIME.unpack(stored)[0] if len(stored) == _TIME.size else now
            mine = free if now < free <= now + _LONGEST_QUEUE * self._interval else now
            os.pwrite(self._fd, _TIME.pack(mine + self._interval), 0)
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)
        if mine > now:
            self._wait(mine - now)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)
