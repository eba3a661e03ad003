"""Outcomes as people read them: the asset's table, its metadata, and the message of a failed run."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg
import numpy as np

from project_fanout.engine.model import STATUSES, Status, UnitOutcome
from project_fanout.engine.record_state import RecordState
from project_fanout.orchestration.fan_in import FanIn
from project_fanout.orchestration.markdown_table import markdown_rows

_NAMED_FAILURES = 20


def step_metadata(
    before: Sequence[RecordState],
    after: Sequence[RecordState],
    ended: Sequence[UnitOutcome],
    *,
    is_last: bool,
) -> dict[str, Any]:
    """Return the metadata of a step: its records, its units, and what became of those.

    Args:
        before: its records as it has got them.
        after: the same as it has left them.
        ended: the outcomes that are new, see `new_outcomes`.
        is_last: whether no stage follows.
    """
    metadata = counts_metadata(len(after), Counter(unit.status for unit in ended))
    metadata["unit_seconds"] = round(_seconds(after) - _seconds(before), 3)
    if reused := sum(record.reused for record in after) - sum(record.reused for record in before):
        metadata["reused"] = reused
    if failed := [unit for unit in ended if not unit.succeeded]:
        metadata["failures"] = failures_table(failed)
    if not is_last:
        # What has gone on is no outcome yet.
        del metadata["succeeded"]
        metadata["units"] = sum(len(record.waiting) for record in before)
        metadata["units_for_next_stage"] = sum(len(record.waiting) for record in after)
    return metadata


def log_step(
    context: dg.OpExecutionContext, ended: Iterable[UnitOutcome], metadata: Mapping[str, Any]
) -> None:
    """Say in the run's log what of a step is not as everybody expects it: which units failed and why, what was reused.

    Args:
        context: of the step.
        ended: its outcomes, see `new_outcomes`.
        metadata: of the step, see `step_metadata`.
    """
    if failed := [unit for unit in ended if not unit.succeeded]:
        lines = [
            f"{len(failed)} of {metadata['units']} units ended without success:",
            *_failure_lines(failed),
        ]
        context.log.warning("\n".join(lines))
    if reused := metadata.get("reused"):
        context.log.info("%s units were not run: an earlier run's outcome is known.", reused)


def new_outcomes(before: Sequence[RecordState], after: Sequence[RecordState]) -> list[UnitOutcome]:
    """Return the outcomes that *after* has and *before* has not."""
    known = {
        (unit.record_key, unit.stage, unit.unit_key) for record in before for unit in record.outcome.units
    }
    return [
        unit
        for record in after
        for unit in record.outcome.units
        if not known or (unit.record_key, unit.stage, unit.unit_key) not in known
    ]


def _seconds(records: Iterable[RecordState]) -> float:
    return sum(record.seconds for record in records)


def counts_metadata(records: int, by_status: Mapping[Status, int]) -> dict[str, Any]:
    """Return how many records and units there are, and how many of these ended in which way."""
    return {
        "records": records,
        "units": sum(by_status.values()),
        # `failed` also where it is 0: the UI plots it over the runs, and would join those with failures.
        **{
            each: by_status.get(each, 0)
            for each in STATUSES
            if by_status.get(each) or each in ("succeeded", "failed")
        },
    }


def asset_metadata(fan_in: FanIn) -> dict[str, Any]:
    """Return the asset's metadata: counts, how long units took, the slowest, and what did not succeed.

    All but `units_of_all_stages`, `reused` and `unit_seconds` is told of the rows of the asset's table: of the
    last stage, and of the units that an earlier one has lost.
    """
    metadata = counts_metadata(*fan_in.counts)
    if (of_all_stages := fan_in.total("ended")) > fan_in.units:
        metadata["units_of_all_stages"] = of_all_stages
    metadata["unit_seconds"] = round(fan_in.unit_seconds, 3)
    if reused := fan_in.total("reused"):
        metadata["reused"] = reused
    if hollow := fan_in.hollow:
        metadata["records_without_units"] = len(hollow)
    if retried := fan_in.total("retried"):
        metadata["retried"] = retried
    if fan_in.units:
        seconds = fan_in.seconds
        metadata["seconds_p50"] = round(float(np.median(seconds)), 4)
        metadata["seconds_p95"] = round(float(seconds[math.ceil(0.95 * len(seconds)) - 1]), 4)
        columns = ["record_key", "unit_key", "stage", "seconds", "cpu_seconds", "peak_mb", "attempts"]
        metadata["slowest"] = _table(fan_in.slowest, columns)
        if (peak_mb := fan_in.peak_mb) is not None:
            metadata["peak_mb"] = round(peak_mb, 1)
    if fan_in.failed:
        metadata["failures"] = failures_table(fan_in.failed)
    return metadata


def failures_table(failed: Sequence[UnitOutcome]) -> dg.MarkdownMetadataValue:
    """Return the failures as a Markdown table: a row for those that are alike, of 20 rows at most."""
    columns = ["units", "record_key", "unit_key", "stage", "status", "attempts", "error"]
    rows = (
        [
            len(alike),
            _first_of(each.record_key for each in alike),
            _first_of(each.unit_key for each in alike),
            alike[0].stage,
            alike[0].status,
            alike[0].attempts,
            alike[0].error,
        ]
        for alike in _alike(failed)[:_NAMED_FAILURES]
    )
    return markdown_rows(columns, rows)


def _first_of(keys: Iterable[str]) -> str:
    """Return the first key, and how many others there are."""
    first, *others = dict.fromkeys(keys)
    return f"{first} and {len(others)} more" if others else first


def _table(outcomes: Sequence[UnitOutcome], columns: list[str]) -> dg.MarkdownMetadataValue:
    return markdown_rows(columns, ([getattr(each, column) for column in columns] for each in outcomes))


def failures_text(failed: Sequence[UnitOutcome], total: int, max_failed_ratio: float) -> str:
    """Return the message of a run that fails: the counts, then record, unit and error of the first 20."""
    counts = (
        f"{len(failed)} of {total} units ended without success ({len(failed) / total:.1%}, "
        f"max_failed_ratio allows {max_failed_ratio:.1%}):"
    )
    return "\n".join([counts, *_failure_lines(failed)])


def _failure_lines(failed: Sequence[UnitOutcome]) -> list[str]:
    """Return record, unit and error of the first 20, the error once for those that are alike."""
    lines = []
    named = 0
    for alike in _alike(failed):
        if named >= _NAMED_FAILURES:
            lines.append(f"- and {len(failed) - named} more.")
            break
        first = alike[0]
        how = f"{first.status} after {first.attempts} {'attempt' if first.attempts == 1 else 'attempts'}"
        shown = [
            f"record {each.record_key!r}, unit {each.unit_key!r}" for each in alike[: _NAMED_FAILURES - named]
        ]
        if len(alike) == 1:
            lines.append(f"- {shown[0]}, stage {first.stage}: {how}: {first.error}")
        else:
            more = f"; and {len(alike) - len(shown)} more" if len(alike) > len(shown) else ""
            lines.append(f"- {len(alike)} units of stage {first.stage}, each {how}: {first.error}")
            lines.append(f"  They are {'; '.join(shown)}{more}.")
        named += len(alike)
    return lines


def _alike(failed: Sequence[UnitOutcome]) -> list[list[UnitOutcome]]:
    """Return the failures, those with the same stage, end and error together, in the order of the first of each."""
    groups: dict[tuple[str, str, int, str], list[UnitOutcome]] = {}
    for each in failed:
        groups.setdefault((each.stage, each.status, each.attempts, str(each.error)), []).append(each)
    return list(groups.values())
