"""The ledger's nouns: whose outcomes, one outcome, and what there is of them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

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
    """

    scope: LedgerScope
    run_id: str
    code_version: str
    fingerprint: str
    outcome: UnitOutcome

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
