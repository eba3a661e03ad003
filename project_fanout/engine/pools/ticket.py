"""`Ticket`: a call in the hands of a pool."""

import logging
import os
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field

from project_fanout.engine.errors import PoolClosedError
from project_fanout.engine.model import UnitError
from project_fanout.engine.pools.calls import UnitCall, UnitLog, UnitReply
from project_fanout.engine.rate import Rate, Start
from project_fanout.engine.values import encoded_size

#: Name, most at once, and whether the calls are coroutines: of these a worker takes many.
Budget = tuple[str, "int | None", bool]

_logger = logging.getLogger(__name__)

# Asked for with each call, and not of the kernel: in a sandbox that takes 2 us.
_process_id = os.getpid()


def _note_process() -> None:
    global _process_id  # there is one for each process
    _process_id = os.getpid()


os.register_at_fork(after_in_child=_note_process)


@dataclass(slots=True, eq=False)
class Ticket:
    """A call, the future that its submitter holds, and how it fares in the pool.

    Args:
        call: what to run.
        on_log: gets the unit's log records, None if nobody wants them.
        rate: says when it may start, None for at once.
        on_begin: called before it is handed to a worker, None if nobody wants to know.
        future: ends with the reply.
        place: its place in the order of submission.
        number: its number with the worker that holds it.
        handed_at: when it was given to that worker, on the monotonic clock.
        start: when it is to start, None for at once.
        batch: how many tickets are in work with it as one batch, itself included.
        is_first: whether it is the first of its batch, or a batch by itself.
        is_suspect: whether it may have ended a worker that others were in, or made a batch fail, and so is run alone.
        is_ahead: whether it waits in the worker behind another call.
        claimed: whether the future has been told that its call is in work.
        counted: whether it takes a place in its budget; of a batch only the first does.
        returned: how often a worker died before it started the call.
    """

    call: UnitCall
    on_log: Callable[[UnitLog], None] | None = None
    rate: Rate | None = None
    on_begin: Callable[[], None] | None = None
    future: "Future[UnitReply]" = field(default_factory=Future)
    place: int = 0
    number: int = 0
    handed_at: float = 0.0
    start: Start | None = None
    batch: int = 1
    is_first: bool = True
    is_suspect: bool = False
    is_ahead: bool = False
    claimed: bool = False
    counted: bool = False
    returned: int = 0
    budget: Budget = field(init=False)

    def __post_init__(self) -> None:
        self.budget = (self.call.budget, self.call.max_in_flight, self.call.is_async)

    @property
    def size(self) -> int:
        """About how many bytes the call takes on its way."""
        return encoded_size(self.call.payload) + len(self.call.params)

    def claim(self) -> bool:
        """Mark the future as running; return False if it has been cancelled."""
        if not self.claimed:
            self.claimed = self.future.set_running_or_notify_cancel()
        return self.claimed

    def begin(self) -> bool:
        """Tell, once, that the call is about to be handed to a worker; return False if that has ended its future."""
        on_begin, self.on_begin = self.on_begin, None
        if on_begin is not None:
            try:
                on_begin()
            except Exception as error:  # noqa: BLE001  # whatever it is, the submitter gets it
                self.fail(error)
                return False
        return True

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

    @property
    def timeout_s(self) -> float | None:
        """Seconds until its deadline: a batch has those of all its units."""
        return None if self.call.timeout_s is None else self.call.timeout_s * self.batch

    def fail(self, error: Exception) -> None:
        """End the future of a call that no reply will come to with *error*."""
        if self.claim():
            self.future.set_exception(error)


def crashed(problem: str, seconds: float = 0.0) -> UnitReply:
    """Return the reply to a call whose worker has died."""
    return UnitReply("crashed", seconds, error=UnitError("WorkerCrashed", problem))


def check_owner(owner: int, call: UnitCall) -> None:
    """Refuse *call* in another process than *owner*, the pool's own: its threads and sockets are not there.

    Raises:
        PoolClosedError: this is another process.
    """
    if _process_id != owner:
        raise PoolClosedError(
            f"Unit {call.unit_key!r} was handed to the pool of process {owner} in process {_process_id}, which "
            "was forked from it: make a pool in the process that uses it."
        )
