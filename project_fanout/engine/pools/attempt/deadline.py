"""From when the deadline of an attempt counts, and how a coroutine is cancelled at it."""

from project_fanout.engine.model import UnitError
from project_fanout.engine.pools.attempt.attempt import Attempt, Next
from project_fanout.engine.pools.calls import UnitReply

#: A worker cancels its coroutines itself, and ends if one goes on. One that does not even do that is killed.
LONGEST_CANCEL_S = 6.0
# A timer that fires so late tells that others have held the event loop up: that time is given back.
_HELD_UP_S = 0.25


async def begin(attempt: Attempt, call_next: Next) -> list[UnitReply]:
    """Ring: stage and set-ups are there, from here on the time is the unit's."""
    attempt.begun = True
    attempt.on_loaded()
    return await call_next(attempt)


async def keep_deadline(attempt: Attempt, call_next: Next) -> list[UnitReply]:
    """Ring: cancel a coroutine at its deadline. What is no coroutine is ended from outside, with its process."""
    if not attempt.call.is_async or attempt.timeout_s is None:
        return await call_next(attempt)
    deadline = attempt.deadline = Deadline(attempt.timeout_s)
    try:
        replies = await call_next(attempt)
    except BaseException:  # what it is cancelled with, or what its own clearing up has made of that
        if deadline.passed_at is None:
            raise
    finally:
        deadline.stop()
    if deadline.passed_at is None:
        return replies
    return [timed_out(attempt.timeout_s, "cancelled") for _ in attempt.calls]


def timed_out(timeout_s: float, fate: str, seconds: float = 0.0) -> UnitReply:
    """Return the reply to a call at its deadline of *timeout_s*, whose unit has been *fate*."""
    message = f"it was still running at its deadline of {timeout_s:g} s and has been {fate}"
    return UnitReply("timed_out", seconds, error=UnitError("TimeoutError", message))


class Deadline:
    """Cancels the task in which it is made.

    Args:
        timeout_s: when, from now.
    """

    def __init__(self, timeout_s: float) -> None:
        import asyncio  # noqa: PLC0415  # 30 ms, for coroutines alone

        #: When it was reached, on the monotonic clock, None if it has not been.
        self.passed_at: float | None = None
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._arm(timeout_s)

    def stop(self) -> None:
        """Let it pass without consequences."""
        self._timer.cancel()

    def _arm(self, seconds: float) -> None:
        #: When it is reached, unless the loop is held up, on the monotonic clock.
        self.due = self._loop.time() + seconds
        self._timer = self._loop.call_at(self.due, self._fire)

    def _fire(self) -> None:
        late = self._loop.time() - self.due
        if late > _HELD_UP_S:
            self._arm(late)
            return
        self.passed_at = self._loop.time()
        if self._task is not None:
            self._task.cancel()
