"""`RecordState`: a record on its way through the stages."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from project_fanout.common import LATER, quickly_pickled
from project_fanout.engine.errors import InvalidRecordError, UnsupportedValueError
from project_fanout.engine.model import Record, RecordOutcome, Unit, UnitOutcome
from project_fanout.engine.plan import Plan
from project_fanout.engine.values import Encoded, ValueStore, encode, identity


@quickly_pickled
@dataclass(frozen=True, slots=True)
class EncodedUnit:
    """A unit on its way: encoded once, where it is found or returned, and decoded in the worker.

    Args:
        key: the unit's key.
        payload: its payload, encoded.
    """

    key: str
    payload: Encoded


@quickly_pickled
@dataclass(frozen=True, slots=True)
class RecordState:
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
        cpu_seconds: CPU time of those units of which it is known.
        timed_seconds: time of these in workers.
    """

    record_key: str
    leaves: tuple[EncodedUnit | UnitOutcome, ...]
    plan: Plan | None = None
    run_id: str = ""
    ended: int = 0
    seconds: float = 0.0
    reused: int = 0
    origin: str = ""
    cpu_seconds: float = field(default=0.0, metadata=LATER)
    timed_seconds: float = field(default=0.0, metadata=LATER)

    @classmethod
    def of(cls, record: Record, store: ValueStore | None = None) -> "RecordState":
        """Return a record before its first stage, its large payloads in *store*.

        Raises:
            InvalidRecordError: a unit's payload cannot travel.
        """
        units = tuple(EncodedUnit(unit.key, _payload(record, unit, store)) for unit in record.units)
        return cls(record.key, units, record.plan, origin=_origin_of(units, record.plan))

    @property
    def succeeded(self) -> bool:
        """Whether every unit has ended with success."""
        return all(isinstance(leaf, UnitOutcome) and leaf.succeeded for leaf in self.leaves)

    @property
    def waiting(self) -> tuple[EncodedUnit, ...]:
        """The units that the next stage takes."""
        return tuple(leaf for leaf in self.leaves if isinstance(leaf, EncodedUnit))

    @property
    def outcome(self) -> RecordOutcome:
        """What is known of the record: its units that have ended."""
        return RecordOutcome(
            self.record_key, tuple(leaf for leaf in self.leaves if isinstance(leaf, UnitOutcome))
        )


def _origin_of(units: Sequence[EncodedUnit], plan: Plan | None) -> str:
    stages = [(planned.stage.reference, planned.params_json) for planned in plan.stages] if plan else []
    found = [(unit.key, identity(unit.payload)) for unit in units]
    return hashlib.sha256(json.dumps([found, stages]).encode()).hexdigest()


def _payload(record: Record, unit: Unit, store: ValueStore | None) -> Encoded:
    try:
        return encode(unit.payload, "payload", store)
    except UnsupportedValueError as error:
        raise InvalidRecordError(f"Unit {unit.key!r} of record {record.key!r}: {error}") from None
