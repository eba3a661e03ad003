"""The ledger's nouns: whose outcomes, one outcome, and what there is of them."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from project_fanout.engine.errors import LedgerError
from project_fanout.engine.model import Status, UnitOutcome


@dataclass(frozen=True, slots=True)
class LedgerScope:
    """Whose outcomes: units are found again only within the same scope.

    Args:
        lineage: id of the root run; a run and all its re-executions share it.
        asset: the asset's key as text.
        partition: the partition's key, "" for an asset without partitions.
    """

    lineage: str
    asset: str
    partition: str = ""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """An outcome as the ledger keeps it: whose, and what it was computed from.

    Args:
        scope: the lineage, asset and partition that it belongs to.
        run_id: the run that computed it.
        code_version: the asset's code version, "" without one.
        fingerprint: of what it was computed from, see `unit_fingerprint`.
        outcome: what became of the unit.
        input: how its payload begins, for people to read; None where that is not known.
    """

    scope: LedgerScope
    run_id: str
    code_version: str
    fingerprint: str
    outcome: UnitOutcome
    input: str | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch("[0-9a-f]{64}", self.fingerprint):
            raise LedgerError(f"{self.fingerprint!r} is not a fingerprint: make it with unit_fingerprint().")


@dataclass(frozen=True, slots=True)
class InWork:
    """A unit that a run is about to begin with; its outcome ends the note.

    Args:
        scope: the lineage, asset and partition that it belongs to.
        run_id: the run.
        stage_index: the stage's place.
        record_key, unit_key: the unit.
        died: in how many earlier runs of the lineage it was in work when they died.
    """

    scope: LedgerScope
    run_id: str
    stage_index: int
    record_key: str
    unit_key: str
    died: int = 0


RunState = Literal["running", "succeeded", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunNews:
    """What has changed with a run; what is None has not.

    Args:
        run_id: the run.
        scope: its lineage, and the asset and partition that it makes.
        at: when, in seconds since 1970 (UTC).
        stages: names of the stages.
        places: how many units it can run at once.
        records, units: how many it has found.
        found_all: whether these are all.
        ended_at: when its collect step ended.
        state: whether the asset has been materialized.
        error: why not.
    """

    run_id: str
    scope: LedgerScope
    at: float = field(default_factory=time.time)
    stages: tuple[str, ...] = ()
    places: int | None = None
    records: int | None = None
    units: int | None = None
    found_all: bool | None = None
    ended_at: float | None = None
    state: RunState | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunNote:
    """What the ledger knows of a run; see `RunNews`.

    Args:
        began_at: when it was first heard of, in seconds since 1970 (UTC).
        seen_at: when it was last heard of, outcomes of units apart.
    """

    run_id: str
    scope: LedgerScope
    began_at: float
    seen_at: float
    ended_at: float | None
    state: RunState
    error: str | None
    places: int
    stages: tuple[str, ...]
    records: int
    units: int
    found_all: bool


class Taken(NamedTuple):
    """Results of a record's units that were taken from another lineage.

    Args:
        record_key: the record.
        from_lineage: the lineage that has computed them.
        from_run_id: the run of it.
        units: how many.
    """

    record_key: str
    from_lineage: str
    from_run_id: str
    units: int


@dataclass(frozen=True, slots=True)
class LedgerSummary:
    """What the ledger holds of one scope.

    Args:
        scope: lineage, asset and partition.
        units: number of outcomes by status.
        first_at: when the first of them ended, in seconds since 1970 (UTC).
        last_at: when the last of them ended.
        size_bytes: length of their results, fan-outs and errors.
    """

    scope: LedgerScope
    units: Mapping[str, int]
    first_at: float
    last_at: float
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Pruned:
    """What `Ledger.prune` removed: number of scopes, and of outcomes in them."""

    scopes: int
    outcomes: int


@dataclass(frozen=True, slots=True)
class LedgerFilter:
    """Which outcomes are meant; a field that is None does not choose.

    Args:
        lineage: root run id.
        asset: asset key.
        partition: partition key.
        record_key: record key.
        status: succeeded | failed | timed_out | crashed.
    """

    lineage: str | None = None
    asset: str | None = None
    partition: str | None = None
    record_key: str | None = None
    status: Status | None = None
