"""What travels between the runner and a pool: one call per attempt of a unit, one reply back."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from project_fanout.common import quickly_pickled
from project_fanout.engine.model import Ended
from project_fanout.engine.rate import Rate
from project_fanout.engine.values import Encoded, ValueStore

if TYPE_CHECKING:
    from project_fanout.engine.pools.supplied import Supplied


@quickly_pickled
@dataclass(frozen=True, slots=True)
class UnitCall:
    """One attempt of one unit.

    Args:
        stage: where a worker finds the stage function, as "package.module:function".
        record_key: the record that the unit belongs to.
        unit_key: the unit's key.
        payload: the unit's payload, encoded, so that every pool hands the stage the same value and none can
            change the record.
        params: the stage's keyword arguments, a pickled dict: one bytes object for all units of a stage. They
            travel from the run to its own workers alone, and as the objects that they are.
        supplied: those that reach a worker once, or are made in it, None for none.
        import_root: folder that the run has the stage's module from, "" if that is not known.
        timeout_s: seconds until the attempt is killed, None for no deadline.
        budget: name of the asset that the unit belongs to, for *max_in_flight*.
        max_in_flight: most units of that budget in work at once, None for as many as there are workers.
        store: where the worker puts a large result, None for no such place.
        is_async: whether the stage is a coroutine function.
        batch_size: most units that a batch stage gets at once, None for a stage that gets one unit.
    """

    stage: str
    record_key: str
    unit_key: str
    payload: Encoded
    params: bytes
    supplied: "Supplied | None" = None
    import_root: str = ""
    timeout_s: float | None = None
    budget: str = ""
    max_in_flight: int | None = None
    store: ValueStore | None = None
    is_async: bool = False
    batch_size: int | None = None

    def goes_with(self, other: "UnitCall") -> bool:
        """Tell whether the two may be in one batch."""
        return (
            self.stage == other.stage
            and self.params == other.params
            and self.supplied == other.supplied
            and self.timeout_s == other.timeout_s
            and self.budget == other.budget
        )


class Again(NamedTuple):
    """What a unit asks for that raised `RetryAfter`, or Dagster's `RetryRequested`: another attempt, not its last.

    Args:
        seconds: when, from now.
        most: how often at most.
        is_attempt: whether this one counts as an attempt.
    """

    seconds: float
    most: int
    is_attempt: bool = False


@dataclass(frozen=True, slots=True)
class UnitReply(Ended):
    """What became of one attempt.

    Args:
        final: whether another attempt would end the same way; see `FinalError`.
        again: what the unit asks for; see `RetryAfter`.
        alone: whether it says so of a whole batch, whose units are to be tried one by one: no outcome yet.
        worker_ends: whether the worker ends with it, through no fault of the other calls that it holds.
    """

    final: bool = False
    again: Again | None = None
    alone: bool = False
    worker_ends: bool = False


@dataclass(frozen=True, slots=True)
class UnitLog:
    """One record that a unit wrote through `logging`, on its way to the run's log."""

    record_key: str
    unit_key: str
    logger: str
    level: int
    message: str


class UnitPool(Protocol):
    """Where units run."""

    def places(self, call: UnitCall) -> int:
        """Return how many units like that of *call* run at once."""

    def submit(
        self,
        call: UnitCall,
        on_log: Callable[[UnitLog], None] | None = None,
        rate: Rate | None = None,
        on_begin: Callable[[], None] | None = None,
    ) -> "Future[UnitReply]":
        """Start *call* as soon as a worker and its budget are free, and *rate* allows it.

        The future ends with a reply whatever becomes of the unit, or with a `PoolLostError` if it is the
        cluster that is gone. A cancelled future's call is not started. *on_log* is called from another
        thread for each log record of the unit, before the future ends. *on_begin* is called once, from any
        thread, before the call is handed to a worker; what it raises ends the future.

        Raises:
            PoolClosedError: the pool has been closed.
            PoolLostError: the cluster on which it runs units is gone.
        """

    def close(self) -> None:
        """Kill what runs and wait until no worker is left; calls without a reply end as cancelled futures."""
