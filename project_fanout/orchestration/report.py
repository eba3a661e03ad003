"""Outcomes as people read them: the asset's table, its metadata, and the message of a failed run."""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg
import pandas as pd

from project_fanout.engine.model import STATUSES, RecordOutcome, UnitOutcome
from project_fanout.engine.record_state import RecordState
from project_fanout.orchestration.markdown_table import markdown_rows

#: The columns that every fan-out asset has; a stage's result adds its own.
COLUMNS = ("record_key", "unit_key", "stage", "status", "attempts", "seconds", "error")
_NAMED_FAILURES = 20
_SLOWEST = 5


def outcome_frame(records: Sequence[RecordOutcome]) -> pd.DataFrame:
    """Return one row per outcome, in record and unit order: `COLUMNS`, then the results' fields.

    A result that is a dict gives a column per field; any other goes to the column `result`. A field
    that is named like one of `COLUMNS` becomes `result_<name>`, with more of them where there is such a
    field already.
    """
    outcomes = [unit for record in records for unit in record.units]
    results = [_fields(outcome) for outcome in outcomes]
    fields = dict.fromkeys(name for result in results for name in result)
    columns: dict[str, pd.Series[Any]] = {
        "record_key": _texts(each.record_key for each in outcomes),
        "unit_key": _texts(each.unit_key for each in outcomes),
        "stage": _texts(each.stage for each in outcomes),
        "status": _texts(each.status for each in outcomes),
        "attempts": pd.Series([each.attempts for each in outcomes], dtype="int64"),
        "seconds": pd.Series([each.seconds for each in outcomes], dtype="float64"),
        "error": _texts(None if each.error is None else str(each.error) for each in outcomes),
    }
    for name in fields:
        column = name
        while column in COLUMNS or (column != name and column in fields):
            column = f"result_{column}"
        columns[column] = _values([result.get(name) for result in results])
    frame: pd.DataFrame = pd.DataFrame(columns)
    return frame


def _fields(outcome: UnitOutcome) -> dict[str, Any]:
    if not outcome.succeeded:
        return {}
    return outcome.result if isinstance(outcome.result, dict) else {"result": outcome.result}


def _texts(values: Iterable[str | None]) -> "pd.Series[Any]":
    column: pd.Series[Any] = pd.Series(list(values), dtype="object")
    return column


def _values(values: list[Any]) -> "pd.Series[Any]":
    """Return a column of results, the same under pandas 2 and 3; None where there is none, NaN among numbers."""
    # Beside a None or a float pandas makes floats of integers, which above 2**53 are other numbers, and
    # from 2**1024 on none at all.
    large = any(isinstance(each, int) and abs(each) > 2**53 for each in values)
    exact = large and not all(isinstance(each, int) for each in values)
    column: pd.Series[Any] = pd.Series(values, dtype="object" if exact else None)
    # pandas 3 has a type for text, in which None becomes NaN.
    return _texts(values) if isinstance(column.dtype, pd.StringDtype) else column


def step_metadata(
    before: Sequence[RecordState], after: Sequence[RecordState], *, is_last: bool
) -> dict[str, Any]:
    """Return the metadata of a step: its records, its units, and what became of those.

    Args:
        before: its records as it has got them.
        after: the same as it has left them.
        is_last: whether no stage follows.
    """
    known = {
        (unit.record_key, unit.stage, unit.unit_key) for record in before for unit in record.outcome.units
    }
    ended = [
        RecordOutcome(
            record.record_key,
            tuple(
                unit
                for unit in record.outcome.units
                if (unit.record_key, unit.stage, unit.unit_key) not in known
            ),
        )
        for record in after
    ]
    metadata = counts_metadata(ended)
    metadata["unit_seconds"] = round(_seconds(after) - _seconds(before), 3)
    if reused := sum(record.reused for record in after) - sum(record.reused for record in before):
        metadata["reused"] = reused
    if failed := [unit for record in ended for unit in record.failed]:
        metadata["failures"] = failures_table(failed)
    if not is_last:
        # What has gone on is no outcome yet.
        del metadata["succeeded"]
        metadata["units"] = sum(len(record.waiting) for record in before)
        metadata["units_for_next_stage"] = sum(len(record.waiting) for record in after)
    return metadata


def log_step(context: dg.OpExecutionContext, metadata: Mapping[str, Any]) -> None:
    """Say in the run's log what of a step's metadata is not as everybody expects it."""
    lost = sum(metadata.get(status, 0) for status in STATUSES if status != "succeeded")
    if lost:
        context.log.warning("%s of %s units ended without success.", lost, metadata["units"])
    if reused := metadata.get("reused"):
        context.log.info("%s units were not run: an earlier run's outcome is known.", reused)


def _seconds(records: Iterable[RecordState]) -> float:
    return sum(record.seconds for record in records)


def counts_metadata(records: Sequence[RecordOutcome]) -> dict[str, Any]:
    """Return how many records and units there are, and how many of these ended in which way."""
    outcomes = [unit for record in records for unit in record.units]
    by_status = Counter(each.status for each in outcomes)
    return {
        "records": len(records),
        "units": len(outcomes),
        # `failed` also where it is 0: the UI plots it over the runs, and would join those with failures.
        **{each: by_status[each] for each in STATUSES if by_status[each] or each in ("succeeded", "failed")},
    }


def asset_metadata(records: Sequence[RecordState]) -> dict[str, Any]:
    """Return the asset's metadata: counts, how long units took, the slowest, and what did not succeed.

    All but `units_of_all_stages`, `reused` and `unit_seconds` is told of the rows of the asset's table: of the
    last stage, and of the units that an earlier one has lost.
    """
    ended = [record.outcome for record in records]
    outcomes = [unit for record in ended for unit in record.units]
    metadata = counts_metadata(ended)
    if (of_all_stages := sum(record.ended for record in records)) > len(outcomes):
        metadata["units_of_all_stages"] = of_all_stages
    metadata["unit_seconds"] = round(_seconds(records), 3)
    if reused := sum(record.reused for record in records):
        metadata["reused"] = reused
    if hollow := sum(not record.leaves for record in records):
        metadata["records_without_units"] = hollow
    retried = sum(each.attempts > 1 for each in outcomes)
    if retried:
        metadata["retried"] = retried
    if outcomes:
        seconds = sorted(each.seconds for each in outcomes)
        metadata["seconds_p50"] = round(statistics.median(seconds), 4)
        metadata["seconds_p95"] = round(seconds[math.ceil(0.95 * len(seconds)) - 1], 4)
        slowest = sorted(outcomes, key=lambda each: -each.seconds)[:_SLOWEST]
        metadata["slowest"] = _table(slowest, ["record_key", "unit_key", "stage", "seconds", "attempts"])
    if failed := [each for each in outcomes if not each.succeeded]:
        metadata["failures"] = failures_table(failed)
    return metadata


def failures_table(failed: Sequence[UnitOutcome]) -> dg.MarkdownMetadataValue:
    """Return the first failures as a Markdown table."""
    return _table(
        failed[:_NAMED_FAILURES], ["record_key", "unit_key", "stage", "status", "attempts", "error"]
    )


def _table(outcomes: Sequence[UnitOutcome], columns: list[str]) -> dg.MarkdownMetadataValue:
    return markdown_rows(columns, ([getattr(each, column) for column in columns] for each in outcomes))


def failures_text(failed: Sequence[UnitOutcome], total: int, max_failed_ratio: float) -> str:
    """Return the message of a run that fails: the counts, then record, unit and error of the first 20."""
    lines = [
        (
            f"{len(failed)} of {total} units ended without success ({len(failed) / total:.1%}, "
            f"max_failed_ratio allows {max_failed_ratio:.1%}):"
        ),
    ]
    lines += [
        f"- record {each.record_key!r}, unit {each.unit_key!r}, stage {each.stage}: {each.status} after "
        f"{each.attempts} {'attempt' if each.attempts == 1 else 'attempts'}: {each.error}"
        for each in failed[:_NAMED_FAILURES]
    ]
    if len(failed) > _NAMED_FAILURES:
        lines.append(f"- and {len(failed) - _NAMED_FAILURES} more.")
    return "\n".join(lines)
