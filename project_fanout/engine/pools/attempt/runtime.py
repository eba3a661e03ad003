"""`Runtime`: runs attempts in one process, each within the same rings."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any

from project_fanout.engine.pools.attempt.attempt import Attempt, load, surrounded
from project_fanout.engine.pools.attempt.call_stage import MAX_RESULT_BYTES, call_stage, divide_failed
from project_fanout.engine.pools.attempt.deadline import begin, keep_deadline
from project_fanout.engine.pools.attempt.failure import answer
from project_fanout.engine.pools.attempt.logs import relay_logs
from project_fanout.engine.pools.attempt.measure import measure, note_figures
from project_fanout.engine.pools.attempt.prints import label_prints
from project_fanout.engine.pools.attempt.set_ups import SetUps
from project_fanout.engine.pools.attempt.start_times import keep_start
from project_fanout.engine.pools.calls import UnitReply

if TYPE_CHECKING:
    from project_fanout.engine.pools.attempt.coroutines import LoopThread


class Runtime:
    """What a process keeps from one attempt to the next, and the rings around each.

    Args:
        set_ups: the values that resources give to stages.
        max_result_bytes: longest result, encoded, that is not refused where the call has no value store.
        log_level: log records of this level and up are relayed.
        own_context_only: relay no records of threads that a unit starts.
        memory_limit_mb: limit that this process has been given, in MiB, None without one.
        worker: which worker of its pool this process is, "" for none.
    """

    def __init__(
        self,
        set_ups: SetUps,
        *,
        max_result_bytes: int = MAX_RESULT_BYTES,
        log_level: int,
        own_context_only: bool = False,
        memory_limit_mb: int | None = None,
        worker: str = "",
    ) -> None:
        self._set_ups = set_ups
        self._lock = threading.Lock()
        self._loop: LoopThread | None = None
        # What is added around an attempt is a ring, and has its place here.
        self._run = surrounded(
            partial(call_stage, max_result_bytes=max_result_bytes),
            [
                divide_failed,
                partial(note_figures, worker=worker),
                partial(answer, memory_limit_mb=memory_limit_mb),
                load,
                set_ups.provide,
                keep_start,
                label_prints,
                partial(relay_logs, level=log_level, own_context_only=own_context_only),
                begin,
                keep_deadline,
                measure,
            ],
        )

    @property
    def loop(self) -> "LoopThread":
        """The event loop of coroutine stages; started when it is first asked for."""
        with self._lock:
            if self._loop is None:
                from project_fanout.engine.pools.attempt.coroutines import LoopThread  # noqa: PLC0415  # asyncio: 30 ms

                self._loop = LoopThread()
            return self._loop

    def run(self, attempt: Attempt) -> list[UnitReply]:
        """Run *attempt* and return the reply to each of its calls, whatever is raised; none if it came too late."""
        if attempt.call.is_async:
            return self.start(attempt).result()
        replies: list[UnitReply] = _without_waiting(self._run(attempt))
        return replies

    def start(self, attempt: Attempt) -> "Future[list[UnitReply]]":
        """Begin *attempt*, of a coroutine stage, and return the future of its replies."""
        coroutine: Any = self._run(attempt)
        return self.loop.start(coroutine, attempt)

    def close(self, say: Callable[[str], None]) -> None:
        """Cancel the coroutines that run and close what has been set up; *say* is told what goes wrong."""
        loop = self._loop
        # Asked for late: most processes have no loop, and need none to close what is no coroutine.
        for problem in self._set_ups.close(lambda awaitable: self.loop.run(awaitable)):  # noqa: PLW0108
            say(problem)
        if loop is not None:
            loop.close()


def _without_waiting(coroutine: Any) -> Any:
    """Return what *coroutine* returns: a synchronous stage's rings await nothing that is not there."""
    try:
        coroutine.send(None)
    except StopIteration as ended:
        return ended.value
    raise RuntimeError("a synchronous stage has waited for an event loop")
