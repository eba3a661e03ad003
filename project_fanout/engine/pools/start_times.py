"""`StartTimes`: has the next start of each rate at hand, so that nobody who hands out calls waits for a database."""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable

from project_fanout.engine.rate import Rate, Start

#: So long before its time a call may be handed to a worker, which then waits for it.
LEAD_S = 0.02
# Nothing is asked for, or due: how long the thread sleeps at most.
_IDLE_S = 60.0


class StartTimes:
    """Start times of rates, asked for by a thread of its own, which begins with the first rate.

    Args:
        on_due: called when a start that somebody has waited for is at hand.
        on_error: called with a rate that has none, and why.
        lead_s: how long before its time a start is at hand.
    """

    def __init__(
        self,
        on_due: Callable[[], None],
        on_error: Callable[[Rate, Exception], None],
        lead_s: float = LEAD_S,
    ) -> None:
        self._on_due = on_due
        self._on_error = on_error
        self._lead_s = lead_s
        self._changed = threading.Condition()
        self._times: defaultdict[Rate, deque[Start]] = defaultdict(deque)
        self._wanted: set[Rate] = set()
        self._thread: threading.Thread | None = None
        self._closed = False

    def is_at_hand(self, rate: Rate) -> bool:
        """Tell whether a call of *rate* may be handed out now; if not, `on_due` will tell when."""
        with self._changed:
            times, now = self._times[rate], time.time()
            while times and times[0].before < now:
                times.popleft()  # nobody was there for it
            if times and times[0].at <= now + self._lead_s:
                return True
            if rate not in self._wanted:
                self._wanted.add(rate)
                self._changed.notify()
                if self._thread is None and not self._closed:
                    self._thread = threading.Thread(
                        target=self._serve, name="project_fanout rates", daemon=True
                    )
                    self._thread.start()
            return False

    def take(self, rate: Rate) -> Start:
        """Return the start that is at hand."""
        with self._changed:
            return self._times[rate].popleft()

    def close(self) -> None:
        """Let the thread end."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _serve(self) -> None:
        while True:
            with self._changed:
                if self._closed:
                    return
                now = time.time()
                empty = [rate for rate in self._wanted if not self._times[rate]]
                due = {rate for rate in self._wanted if rate not in empty and self._is_due(rate, now)}
                self._wanted -= due
                if not empty and not due:
                    next_due = min(
                        (self._times[rate][0].at - self._lead_s - now for rate in self._wanted),
                        default=_IDLE_S,
                    )
                    self._changed.wait(min(max(next_due, 0.001), _IDLE_S))
                    continue
            if due:
                self._on_due()
            for rate in empty:
                self._refill(rate)

    def _is_due(self, rate: Rate, now: float) -> bool:
        return self._times[rate][0].at <= now + self._lead_s

    def _refill(self, rate: Rate) -> None:
        """Have the starts of the next moments at hand, one at least."""
        try:
            # No more of a slow one: others share it.
            for _ in range(max(1, int(self._lead_s / rate.interval))):
                start = rate.next_start()
                with self._changed:
                    self._times[rate].append(start)
        except Exception as error:  # noqa: BLE001  # whatever it is, nobody else learns of it
            with self._changed:
                self._wanted.discard(rate)
            self._on_error(rate, error)
