"""How far a fan-out is, as a line of text every few seconds."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass

from project_fanout.common import duration_text

# A line every 5 s at first, then one for each 1 % of the time that has gone by, and one a minute at least: some 300 in
# an hour and 1,700 in a day.
_FIRST_S, _SHARE, _LONGEST_S = 5.0, 100, 60.0
# The rate is that of the last lines, so many.
_OF_LAST_LINES = 12


@dataclass
class StepProgress:
    """What one step has to do, and how far it is; written by the step's own thread.

    Attributes:
        units: how many it has.
        is_first: whether they are of the first stage.
        reused: how many of them need not run.
        ended: how many have ended, those included.
        failed: how many of those without success.
        in_pool: those that the pool has.
        places: how many of the latter can run at once.
    """

    units: int
    is_first: bool
    reused: int = 0
    ended: int = 0
    failed: int = 0
    in_pool: Sized = ()
    places: int = 0

    def end(self, *, succeeded: bool) -> None:
        """Count a unit that has ended for good."""
        self.ended += 1
        self.failed += not succeeded

    def reuse(self, units: int) -> None:
        """Count *units* that need not run."""
        self.reused += units
        self.ended += units


class Progress:
    """The steps of one fan-out in this process, and when to say how far they are; safe to use from many threads.

    Args:
        clock: seconds, as `time.monotonic` gives them.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._open: list[StepProgress] = []
        self._gone = {is_first: StepProgress(0, is_first) for is_first in (True, False)}
        self._found = 0
        self._total: int | None = None
        self._began: float | None = None
        self._due = math.inf
        self._samples: deque[tuple[float, int]] = deque(maxlen=_OF_LAST_LINES)

    def find(self, units: int) -> None:
        """Note that the trigger has found records with so many *units* up to now."""
        self._found = units

    def expect(self, total: int) -> None:
        """Say how many units there are in all, once that is known."""
        self._total = total

    @contextmanager
    def step(self, units: int, *, is_first: bool) -> Iterator[StepProgress]:
        """Show a step of so many *units* while the block runs; one that raises counts for nothing.

        Args:
            units: how many it takes.
            is_first: whether it is of the first stage, whose units the trigger has found.
        """
        step = StepProgress(units, is_first)
        with self._lock:
            self._open.append(step)
            if self._began is None:
                self._began = self._clock()
                self._due = self._began + _FIRST_S
                self._samples.append((self._began, 0))
        try:
            yield step
        except BaseException:
            with self._lock:
                self._open.remove(step)
            raise
        with self._lock:
            self._open.remove(step)
            gone = self._gone[is_first]
            gone.units += step.units
            gone.reused += step.reused
            gone.ended += step.ended
            gone.failed += step.failed

    @property
    def seconds_to_next(self) -> float:
        """How long until the next line is due."""
        return max(0.0, self._due - self._clock())

    def next_line(self) -> str | None:
        """Return the line that is due, for one caller; None where none is."""
        if self._clock() < self._due:
            return None
        with self._lock:
            now = self._clock()
            if self._began is None or now < self._due:
                return None
            self._due = now + min(max(_FIRST_S, (now - self._began) / _SHARE), _LONGEST_S)
            return self._line(now)

    def _line(self, now: float) -> str:
        steps = [*self._gone.values(), *self._open]
        begun = sum(step.units for step in steps if step.is_first)
        known = max(begun, self._found) + sum(step.units for step in steps if not step.is_first)
        ended = sum(step.ended for step in steps)
        in_pool = sum(len(step.in_pool) for step in self._open)
        running = min(in_pool, max((step.places for step in self._open), default=0))
        reused = sum(step.reused for step in steps)
        rate = self._rate(now, ended - reused)
        return progress_line(
            done=ended,
            known=known,
            is_all=self._total is not None,
            reused=reused,
            failed=sum(step.failed for step in steps),
            running=running,
            rate=rate,
        )

    def _rate(self, now: float, worked: int) -> float:
        since, before = self._samples[0]
        self._samples.append((now, worked))
        return (worked - before) / (now - since) if now > since else 0.0


def progress_line(
    *, done: int, known: int, is_all: bool, reused: int, failed: int, running: int, rate: float
) -> str:
    """Return in one line how far a fan-out is.

    Args:
        done: units that have ended.
        known: units that there are, as far as is known.
        is_all: whether these are all.
        reused, failed: how many of *done* were not run, or ended without success.
        running: how many are in work.
        rate: how many end a second, 0 where that is not known.
    """
    words = [
        f"{done:,} of {known:,} units done" + (f" ({done / known:.0%})" if is_all and known else " so far")
    ]
    if reused:
        words.append(f"{reused:,} of them reused")
    words += [f"{failed:,} failed", f"{running:,} running", f"{max(0, known - done - running):,} waiting"]
    text = ", ".join(words)
    if rate > 0:
        text += f"; {rate:.3g} a second"
        if is_all:
            text += f", {duration_text(max(0, known - done) / rate)} left"
    return f"{text}."
