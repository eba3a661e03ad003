"""`Progress`: a record on its way through the stages."""

import hashlib
import json
from dataclasses import dataclass

from project_fanout.engine.errors import InvalidRecordError
from project_fanout.engine.model import Record, RecordOutcome, Unit, UnitOutcome
from project_fanout.engine.plan import Plan
from project_fanout.engine.values import to_json


@dataclass(frozen=True, slots=True)
class Progress:
    """A record on its way through the stages.

    Args:
        record_key: the record's key.
        leaves: in row order, the units that the next stage takes and the outcomes of those that
            have ended. A unit that is left after the last stage was not handed out (`fail_fast`).
        plan: the record's own stages, params and policy, None for those of the asset.
        run_id: the run that took it this far, "" before the first stage.
        ended: how many of its units have ended so far, in all stages.
        seconds: time of those in workers, all attempts together.
        reused: how many of those were not run because an earlier run's outcome is known.
        origin: a digest of the record as it was found: of its units and, if it has a plan, of that.
    """

    record_key: str
    leaves: tuple[Unit | UnitOutcome, ...]
    plan: Plan | None = None
    run_id: str = ""
    ended: int = 0
    seconds: float = 0.0
    reused: int = 0
    origin: str = ""

    @classmethod
    def of(cls, record: Record) -> "Progress":
        """Return a record before its first stage.

        Raises:
            InvalidRecordError: a unit's payload is not JSON.
        """
        return cls(record.key, tuple(record.units), record.plan, origin=_origin_of(record))

    @property
    def succeeded(self) -> bool:
        """Whether every unit has ended with success."""
        return all(isinstance(leaf, UnitOutcome) and leaf.succeeded for leaf in self.leaves)

    @property
    def waiting(self) -> tuple[Unit, ...]:
        """The units that the next stage takes."""
        return tuple(leaf for leaf in self.leaves if isinstance(leaf, Unit))

    @property
    def outcome(self) -> RecordOutcome:
        """What is known of the record: its units that have ended."""
        return RecordOutcome(
            self.record_key, tuple(leaf for leaf in self.leaves if isinstance(leaf, UnitOutcome))
        )


def _origin_of(record: Record) -> str:
    stages = [(each.stage.reference, each.params_json) for each in record.plan.stages] if record.plan else []
    units = [(unit.key, _payload_json(record, unit)) for unit in record.units]
    return hashlib.sha256(json.dumps([units, stages]).encode()).hexdigest()


def _payload_json(record: Record, unit: Unit) -> str:
    try:
        return to_json(unit.payload, "payload")
    except TypeError as error:
        raise InvalidRecordError(f"Unit {unit.key!r} of record {record.key!r}: {error}") from None
