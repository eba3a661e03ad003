"""What travels between the runner and a pool: one call per attempt of a unit, one reply back."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from project_fanout.engine.model import Ended

#: Importing a stage's module is not the unit's own work, but must not last for ever either.
IMPORT_GRACE_S = 60.0


@dataclass(frozen=True, slots=True)
class UnitCall:
    """One attempt of one unit.

    Args:
        stage: where a worker finds the stage function, as "package.module:function".
        record_key: the record that the unit belongs to.
        unit_key: the unit's key.
        payload_json: the unit's payload as JSON text, so that every pool hands the stage the same
            value and none can change the record.
        params: the stage's keyword arguments, a pickled dict: one bytes object for all units of a stage.
        import_root: folder to import the stage's module from if it is not on the worker's path.
        timeout_s: seconds until the attempt is killed, None for no deadline.
        budget: name of the asset that the unit belongs to, for *max_in_flight*.
        max_in_flight: most units of that budget in work at once, None for as many as there are workers.
    """

    stage: str
    record_key: str
    unit_key: str
    payload_json: str
    params: bytes
    import_root: str = ""
    timeout_s: float | None = None
    budget: str = ""
    max_in_flight: int | None = None


@dataclass(frozen=True, slots=True)
class UnitReply(Ended):
    """What became of one attempt.

    Args:
        final: whether another attempt would end the same way; see `FinalError`.
    """

    final: bool = False


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

    @property
    def workers(self) -> int:
        """How many units run at once."""

    def submit(self, call: UnitCall, on_log: Callable[[UnitLog], None] | None = None) -> "Future[UnitReply]":
        """Start *call* as soon as a worker and its budget are free.

        The future ends with a reply whatever becomes of the unit, or with a `PoolLostError` if it is the
        cluster that is gone. A cancelled future's call is not started. *on_log* is called from another
        thread for each log record of the unit, before the future ends.

        Raises:
            PoolClosedError: the pool has been closed.
            PoolLostError: the cluster on which it runs units is gone.
        """

    def close(self) -> None:
        """Kill what runs and wait until no worker is left; calls without a reply end as cancelled futures."""
