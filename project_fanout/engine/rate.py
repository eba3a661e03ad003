"""`Rate`: when the next of many starts may be, at so many a second."""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

# Starts lie further apart than the rate says, by so much that what comes 15 ms late, and 15 ms more on its way to a
# server, still is within the rate: in any second of 1.03 at 50 a second there are 50 starts at most.
_WIDER = 1.03
# What comes later than this must not start: it would meet those behind it. At a slow rate these are further away.
_LATEST_S = 0.015
_LATEST_INTERVALS = 0.02
# Places are reserved for so long ahead: 10 transactions a second where processes share the rate, however high it is.
_AHEAD_S = 0.1
# A place further ahead than this many others take comes from before the clock was set back.
_LONGEST_QUEUE = 1000

#: Reserves so many places, so many seconds apart, and returns the time of the first.
Reserve = Callable[[float, int], float]


class Start(NamedTuple):
    """When something may start: not before *at*, and not after *before*. Times are as `time.time` has them."""

    at: float
    before: float


class Rate:
    """At most *per_second* starts a second, at even distances; safe to use from many threads.

    Args:
        per_second: more than 0.
        reserve: reserves places where others share them, None for a rate of this object alone.
    """

    def __init__(self, per_second: float, reserve: Reserve | None = None) -> None:
        #: Seconds from one start to the next.
        self.interval = _WIDER / per_second
        self._latest_s = max(_LATEST_S, _LATEST_INTERVALS * self.interval)
        self._reserve = reserve or self._reserve_here
        self._lock = threading.Lock()
        self._free_at = 0.0
        self._mine: deque[Start] = deque()

    def next_start(self) -> Start:
        """Take the next place; it may lie in the future.

        Raises:
            LedgerError: those who share the rate cannot be asked.
        """
        with self._lock:
            now = time.time()
            while self._mine and self._mine[0].before < now:
                self._mine.popleft()  # nobody wanted it then
            if not self._mine:
                count = max(1, int(_AHEAD_S / self.interval))
                first = self._reserve(self.interval, count)
                for at in (first + place * self.interval for place in range(count)):
                    self._mine.append(Start(at, at + self._latest_s))
            return self._mine.popleft()

    def wait(self) -> None:
        """Take the next place and wait for its time."""
        while True:
            start = self.next_start()
            # Nothing happens meanwhile, and this thread has no other work.
            time.sleep(max(0.0, start.at - time.time()))
            if time.time() <= start.before:
                return

    def _reserve_here(self, interval: float, count: int) -> float:
        first = next_place(self._free_at, time.time(), interval)
        self._free_at = first + count * interval
        return first


def next_place(free_at: float, now: float, interval: float) -> float:
    """Return the time of the next place of a rate that was free from *free_at* on."""
    return free_at if now < free_at <= now + _LONGEST_QUEUE * interval + _AHEAD_S else now
