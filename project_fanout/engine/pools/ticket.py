"""`Ticket`: a call in the hands of a pool."""

import logging
import os
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field

from project_fanout.engine.errors import PoolClosedError
from project_fanout.engine.model import UnitError
from project_fanout.engine.pools.calls import UnitCall, UnitLog, UnitReply

Budget = tuple[str, "int | None"]

_logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Ticket:
    """A call, the future that its submitter holds, and how it fares in the pool.

    Args:
        call: what to run.
        on_log: gets the unit's log records, None if nobody wants them.
        future: ends with the reply.
        place: its place in the order of submission.
        number: its number with the worker that holds it.
        handed_at: when it was given to that worker, on the monotonic clock.
        claimed: whether the future has been told that its call is in work.
        returned: how often a worker died before it started the call.
    """

    call: UnitCall
    on_log: Callable[[UnitLog], None] | None = None
    future: "Future[UnitReply]" = field(default_factory=Future)
    place: int = 0
    number: int = 0
    handed_at: float = 0.0
    claimed: bool = False
    returned: int = 0
    budget: Budget = field(init=False)

    def __post_init__(self) -> None:
        self.budget = (self.call.budget, self.call.max_in_flight)

    @property
    def size(self) -> int:
        """About how many bytes the call takes on its way."""
        return len(self.call.payload_json) + len(self.call.params)

    def claim(self) -> bool:
        """Mark the future as running; return False if it has been cancelled."""
        if not self.claimed:
            self.claimed = self.future.set_running_or_notify_cancel()
        return self.claimed

    def relay(self, log: UnitLog) -> None:
        """Hand on a log record of the unit."""
        if self.on_log is None:
            return
        try:
            self.on_log(log)
        except Exception:
            # The pool serves other runs, too: whoever wants the log must not end it.
            _logger.exception(
                "A log record of unit %r of record %r was not accepted.", log.unit_key, log.record_key
            )

    def cancel(self) -> None:
        """End the future of a call that no reply will come to: its `result()` raises CancelledError."""
        # One that runs, or has once been handed to a worker, cannot be cancelled any more.
        if not self.future.cancel() and not self.future.done():
            self.future.set_exception(CancelledError())

    def fail(self, error: Exception) -> None:
        """End the future of a call that no reply will come to with *error*."""
        if self.claim():
            self.future.set_exception(error)

    def timed_out(self, seconds: float) -> UnitReply:
        """Return the reply to a call that was killed at its deadline."""
        message = f"it was still running at its deadline of {self.call.timeout_s:g} s and has been killed"
        return UnitReply("timed_out", seconds, error=UnitError("TimeoutError", message))


def crashed(problem: str, seconds: float = 0.0) -> UnitReply:
    """Return the reply to a call whose worker has died."""
    return UnitReply("crashed", seconds, error=UnitError("WorkerCrashed", problem))


def check_owner(owner: int, call: UnitCall) -> None:
    """Refuse *call* in another process than *owner*, the pool's own: its threads and sockets are not there.

    Raises:
        PoolClosedError: this is another process.
    """
    if os.getpid() != owner:
        raise PoolClosedError(
            f"Unit {call.unit_key!r} was handed to the pool of process {owner} in process {os.getpid()}, which "
            "was forked from it: make a pool in the process that uses it."
        )
