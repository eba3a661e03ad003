"""The ledger's nouns: whose outcomes, one outcome, and what there is of them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from project_fanout.engine.errors import LedgerError
from project_fanout.engine.model import Status, UnitError


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
    """What became of one unit in one stage.

    Args:
        scope: the lineage, asset and partition that it belongs to.
        run_id: the run that computed it.
        record_key: the record that the unit belongs to.
        stage: the stage's name.
        stage_index: the stage's place, 0 for the first.
        unit_key: the unit's key.
        fingerprint: of what it was computed from, see `unit_fingerprint`.
        code_version: the asset's code version, "" without one.
        status: succeeded | failed | timed_out | crashed.
        attempts: how often it was started.
        seconds: time in the worker, all attempts together.
        ended_at: when it ended, in seconds since 1970 (UTC).
        result_json: the stage's result as JSON text, when it returned an ordinary one.
        fanout: key and payload (JSON text) of each unit, when it returned a `Fanout`.
        error: why it did not succeed.
    """

    scope: LedgerScope
    run_id: str
    record_key: str
    stage: str
    stage_index: int
    unit_key: str
    fingerprint: str
    code_version: str
    status: Status
    attempts: int
    seconds: float
    ended_at: float
    result_json: str | None = None
    fanout: tuple[tuple[str, str], ...] | None = None
    error: UnitError | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch("[0-9a-f]{64}", self.fingerprint):
            raise LedgerError(f"{self.fingerprint!r} is not a fingerprint: make it with unit_fingerprint().")

    @property
    def succeeded(self) -> bool:
        return self.status == "succeeded"


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
