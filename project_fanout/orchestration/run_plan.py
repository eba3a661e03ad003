"""What a run of a fan-out would do: found without running a unit."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, case, func, select

from project_fanout.engine.errors import FanoutError
from project_fanout.engine.fingerprint import unit_fingerprint
from project_fanout.engine.found_records import checked_records
from project_fanout.engine.ledger import Ledger
from project_fanout.engine.ledger.schema import OUTCOMES, digest
from project_fanout.engine.plan import PlannedStage
from project_fanout.engine.record_state import RecordState
from project_fanout.engine.step_batches import in_batches
from project_fanout.engine.tally import Tally
from project_fanout.orchestration.intermediates import ManifestEntry
from project_fanout.orchestration.keys import MappingKeys
from project_fanout.orchestration.ops import FanoutOps
from project_fanout.orchestration.run_config import RunSettings


class NoPlanError(FanoutError):
    """A run cannot be planned; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A mapped step.

    Args:
        mapping_key: its mapping key.
        records: the keys of its records.
        units: how many units of the first stage it has.
        reused: how many of these would not be run.
    """

    mapping_key: str
    records: tuple[str, ...]
    units: int
    reused: int


@dataclass(frozen=True, slots=True)
class Earlier:
    """What a unit of the first stage took in an earlier run, with all that has come of it in later stages.

    Args:
        run_id: the run.
        seconds: time in workers.
        peak_mb: most memory of a worker, in MiB, None where that is not known.
    """

    run_id: str
    seconds: float
    peak_mb: float | None


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What a run would do.

    Args:
        asset: the asset's key as text.
        settings: its params and policy.
        steps: the mapped steps, in the order of the records.
        reasons: why units would be run, and how many for each reason.
        earlier: what its units took in an earlier run, None if there is none.
    """

    asset: str
    settings: RunSettings
    steps: tuple[PlannedStep, ...]
    reasons: Mapping[str, int]
    earlier: Earlier | None

    @property
    def records(self) -> int:
        return sum(len(step.records) for step in self.steps)

    @property
    def units(self) -> int:
        return sum(step.units for step in self.steps)

    @property
    def reused(self) -> int:
        return sum(step.reused for step in self.steps)


def plan_run(
    ops: FanoutOps,
    config: Mapping[str, Any],
    ins: Mapping[str, Any],
    ledger: Ledger | None,
    partition: str = "",
) -> RunPlan:
    """Find the records of a run, as its trigger would, and say what would become of them.

    Args:
        ops: of the asset.
        config: the asset's run config: params and policy.
        ins: the upstream assets that the records function takes.
        ledger: with what earlier runs have computed, None for none.
        partition: the partition, "" for an asset without.

    Raises:
        RunConfigError: *config* is not acceptable.
        InvalidRecordError, TooManyRecordsError: the records are not.
        LedgerError: the ledger cannot be read.
    """
    if not ops.stages:
        raise NoPlanError(
            f"The records of {ops.key.to_user_string()} bring their own stages; only a run can tell."
        )
    settings = ops.run_config.read(config, anew=True)
    found = checked_records(
        ops.find_records(settings, ins, [partition] if partition else []), settings.policy
    )
    stage = ops.run_config.params.plan(ops.stages[0], settings.params)
    known = _Known.of(ops, ledger, settings, partition)
    mapping_keys, steps, reasons = MappingKeys(), [], Counter[str]()
    for batch in in_batches(map(RecordState.of, found), settings.policy.records_per_step, Tally()):
        entry = ManifestEntry.of(batch, mapping_keys)
        verdicts = known.verdicts(stage, batch)
        reasons.update(reason for reason in verdicts if reason)
        steps.append(PlannedStep(entry.mapping_key, entry.record_keys, entry.units, verdicts.count("")))
    asset = ops.key.to_user_string()
    earlier = None if ledger is None else ledger.read(lambda connection: _earlier(connection, asset))
    return RunPlan(asset, settings, tuple(steps), dict(reasons), earlier)


@dataclass(frozen=True, slots=True)
class _Known:
    """What earlier runs have made of the units, as far as a new run would take it.

    Args:
        ops: of the asset.
        ledger: None where nothing is to be taken.
        why_none: why not.
        partition: the partition.
        versions: of each unit that has succeeded before, by record and unit id, fingerprint and code version.
    """

    ops: FanoutOps
    ledger: Ledger | None
    why_none: str
    partition: str
    versions: Mapping[tuple[str, str], tuple[str, str]]

    @classmethod
    def of(cls, ops: FanoutOps, ledger: Ledger | None, settings: RunSettings, partition: str) -> "_Known":
        reuse = settings.policy.reuse
        if reuse != "always":
            why = (
                "`reuse` is lineage: a new run computes every unit"
                if reuse == "lineage"
                else "`reuse` is never"
            )
            return cls(ops, None, why, partition, {})
        if ledger is None:
            return cls(ops, None, "there is no ledger", partition, {})
        if not ops.stages[0].reusable:
            return cls(ops, None, "its stage is `never_reused`", partition, {})
        asset = ops.key.to_user_string()
        versions = ledger.read(lambda connection: _versions(connection, asset, partition))
        return cls(ops, ledger, "", partition, versions)

    def verdicts(self, stage: PlannedStage, batch: Iterable[RecordState]) -> list[str]:
        """Return for each unit why it would be run, "" for one that would not."""
        units = [(record.record_key, unit) for record in batch for unit in record.waiting]
        if self.ledger is None:
            return [self.why_none] * len(units)
        reference = stage.stage.reference
        fingerprints = [
            unit_fingerprint(reference, unit.key, unit.payload, stage.params_json) for _, unit in units
        ]
        version = self.ops.code_version
        found = self.ledger.successes_anywhere(
            self.ops.key.to_user_string(), 0, fingerprints, code_version=version, partition=self.partition
        )
        verdicts = []
        for (record_key, unit), fingerprint in zip(units, fingerprints, strict=True):
            entry = found.get(fingerprint)
            if entry is None:
                verdicts.append(self._why_not(record_key, unit.key, fingerprint))
            elif not all(value.is_there for value in entry.outcome.stored):
                verdicts.append("its result has been removed from the value store")
            elif not stage.stage.may_reuse(entry.outcome):
                verdicts.append("what its result names is not there any more, or has changed")
            else:
                verdicts.append("")
        return verdicts

    def _why_not(self, record_key: str, unit_key: str, fingerprint: str) -> str:
        known = self.versions.get((digest(record_key), digest(unit_key)))
        if known is None:
            return "no earlier run has computed it"
        if known[0] == fingerprint:
            return f"it was computed with code version {known[1] or 'none'!r}"
        return "its payload or params have changed"


def _versions(connection: Connection, asset: str, partition: str) -> dict[tuple[str, str], tuple[str, str]]:
    table = OUTCOMES.c
    query = (
        select(table.record_id, table.unit_id, table.fingerprint, table.code_version)
        .where(
            table.asset == asset,
            table.partition_key == partition,
            table.stage_index == 0,
            table.status == "succeeded",
        )
        .order_by(table.ended_at)
    )
    return {(row[0], row[1]): (row[2], row[3]) for row in connection.execute(query)}


def _earlier(connection: Connection, asset: str) -> Earlier | None:
    """Return what units took in the latest run of *asset* that has run any."""
    table = OUTCOMES.c
    latest = select(table.run_id).where(table.asset == asset).order_by(table.ended_at.desc()).limit(1)
    if (run_id := connection.scalar(latest)) is None:
        return None
    first = func.sum(case((table.stage_index == 0, 1), else_=0))
    query = select(func.sum(table.seconds), first, func.max(table.peak_mb)).where(
        table.asset == asset, table.run_id == run_id
    )
    seconds, units, peak_mb = connection.execute(query).one()
    return Earlier(run_id, seconds / units, peak_mb) if units else None
