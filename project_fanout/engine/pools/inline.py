"""The pool that is no pool: units run where they are submitted."""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from project_fanout.engine.closing import Closing
from project_fanout.engine.errors import PoolClosedError
from project_fanout.engine.model import UnitError
from project_fanout.engine.pools.attempt.attempt import Attempt
from project_fanout.engine.pools.attempt.call_stage import MAX_RESULT_BYTES
from project_fanout.engine.pools.attempt.runtime import Runtime
from project_fanout.engine.pools.attempt.set_ups import SetUps
from project_fanout.engine.pools.calls import UnitCall, UnitLog, UnitReply
from project_fanout.engine.rate import Rate

_logger = logging.getLogger(__name__)


class InlinePool(Closing):
    """Runs each unit in the thread that submits it, with the same outcome as in a `ProcessPool`.

    For tests, for debugging, and for units too short to be worth the way to another process. What it
    cannot do is to outlive a unit that ends the process, or to stop one: a unit over its deadline is
    timed_out when it returns. An interrupt of the main thread (Ctrl-C) interrupts *submit*. Several
    threads that submit at once run their units at once.

    Args:
        max_result_bytes: longest result of a unit in bytes, encoded, where the call has no value store.
        log_level: units' log records of this level and up reach *on_log*. Records of threads that a unit
            starts do not.
    """

    def __init__(self, *, max_result_bytes: int = MAX_RESULT_BYTES, log_level: int = logging.INFO) -> None:
        # What a unit logs in other threads, of which there may be many here, is not known to be the unit's.
        self._runtime = Runtime(
            SetUps(), max_result_bytes=max_result_bytes, log_level=log_level, own_context_only=True
        )
        self._closed = False
        self._changed = threading.Condition()
        self._in_work: Counter[str] = Counter()

    def places(self, call: UnitCall) -> int:
        """Return how many units run at once: one for each thread that submits, or one batch."""
        return call.batch_size or 1

    def submit(
        self,
        call: UnitCall,
        on_log: Callable[[UnitLog], None] | None = None,
        rate: Rate | None = None,
        on_begin: Callable[[], None] | None = None,
    ) -> "Future[UnitReply]":
        """Run *call*, when *rate* allows it, and return a future that has ended; see `UnitPool.submit`.

        Raises:
            PoolClosedError: the pool has been closed.
        """
        future: Future[UnitReply] = Future()
        future.set_running_or_notify_cancel()
        with self._turn(call):
            if on_begin is not None:
                on_begin()
            future.set_result(self._reply(call, on_log, rate))
        return future

    def close(self) -> None:
        """Refuse further calls and those that wait for their turn; those in work go on.

        What has been set up for stages is closed.
        """
        with self._changed:
            was_closed, self._closed = self._closed, True
            self._changed.notify_all()
        if not was_closed:
            self._runtime.close(_logger.warning)

    @contextmanager
    def _turn(self, call: UnitCall) -> Iterator[None]:
        """Wait until the budget of *call* has room, and take a place in it for the length of the block."""

        def may_begin() -> bool:
            return (
                self._closed or call.max_in_flight is None or self._in_work[call.budget] < call.max_in_flight
            )

        with self._changed:
            self._changed.wait_for(may_begin)
            if self._closed:
                raise PoolClosedError(
                    f"Unit {call.unit_key!r} was handed to a pool that has been closed: submit inside the "
                    "pool's `with` block, or make a new pool."
                )
            self._in_work[call.budget] += 1
        try:
            yield
        finally:
            with self._changed:
                self._in_work[call.budget] -= 1
                self._changed.notify_all()

    def _reply(
        self, call: UnitCall, on_log: Callable[[UnitLog], None] | None, rate: Rate | None
    ) -> UnitReply:
        # Signals reach the main thread only: in any other it is the unit that raised.
        in_main_thread = threading.current_thread() is threading.main_thread()
        replies: list[UnitReply] = []
        while not replies:
            start = rate.next_start() if rate is not None else None
            attempt = Attempt([call], on_log=on_log, start=start, is_interruptible=in_main_thread)
            replies = self._runtime.run(attempt)
        (reply,) = replies
        if reply.status == "timed_out" or call.timeout_s is None or reply.seconds <= call.timeout_s:
            return reply
        message = (
            f"it returned after {reply.seconds:.3g} s, past its deadline of {call.timeout_s:g} s; "
            "an inline pool cannot stop a unit"
        )
        return UnitReply("timed_out", reply.seconds, error=UnitError("TimeoutError", message))
