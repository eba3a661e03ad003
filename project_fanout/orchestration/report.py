"""Outcomes as people read them: the asset's table, its metadata, and the message of a failed run."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd

from project_fanout.common import one_line
from project_fanout.engine.model import STATUSES, Status, UnitOutcome
from project_fanout.engine.record_state import RecordState
from project_fanout.orchestration.fan_in import FanIn, Repaired
from project_fanout.orchestration.markdown_table import as_markdown, markdown_rows
from project_fanout.orchestration.plots import LONGEST_SHOWN, distribution, timeline
from project_fanout.orchestration.table import COLUMNS
from project_fanout.orchestration.usage import Usage

_NAMED_FAILURES = 20
# Characters of a key and of an error in a table: more do not fit beside each other on an asset's page that is 1440
# pixels wide.
_LONGEST_KEY, _LONGEST_ERROR = 28, 120
# Causes of failures that the check names.
_CAUSES = 5
_SAMPLE_ROWS, _SAMPLE_COLUMNS, _MOST_COLUMNS = 5, 8, 200


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


def asset_metadata(fan_in: FanIn, work: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the asset's metadata: counts, times, how busy the workers were, the slowest, and what did not succeed.

    The counts and the times of single units are told of the rows of the asset's table: of the last stage, and of the
    units that an earlier one has lost. `units_of_all_stages`, `reused`, sums of seconds, the workers' share of the
    time and the slowest records are told of all stages.

    Args:
        fan_in: what became of the records.
        work: what it says of the workers, and where the report is.
    """
    of_all_stages = fan_in.total("ended")
    metadata: dict[str, Any] = {
        **counts_metadata(*fan_in.counts),
        "units_of_all_stages": of_all_stages if of_all_stages > fan_in.units else None,
        "reused": fan_in.total("reused") or None,
        "retried": fan_in.total("retried") or None,
        "repaired_records": _repaired_table(fan_in.repaired) if fan_in.repaired else None,
        "records_without_units": len(fan_in.hollow) or None,
        "unit_seconds": round(fan_in.unit_seconds, 3),
        "cpu_seconds": _rounded(fan_in.cpu_seconds),
        "waiting_share": _rounded(fan_in.waiting_share),
        "peak_mb": _rounded(fan_in.peak_mb, 1),
        "failures": failures_table(fan_in.failed) if fan_in.failed else None,
        **(work or {}),
        **(_of_units(fan_in) if fan_in.units else {}),
    }
    return {name: value for name, value in metadata.items() if value is not None}


def _repaired_table(repaired: Sequence[Repaired]) -> dg.MarkdownMetadataValue:
    """Return the records that the collect step has finished, since an earlier run had left them so."""
    columns = ["record", "units run", "without success"]
    return markdown_rows(columns, repaired, longest_cell=_LONGEST_KEY, longest=LONGEST_SHOWN)


def usage_metadata(usage: Usage) -> dict[str, Any]:
    """Return what the asset's metadata says of the workers."""
    return {
        "workers": len(usage.workers),
        "wall_seconds": round(usage.wall_s, 3),
        **({} if usage.efficiency is None else {"parallel_efficiency": round(usage.efficiency, 3)}),
        "timeline": timeline(usage),
    }


def _of_units(fan_in: FanIn) -> dict[str, Any]:
    seconds = fan_in.seconds
    return {
        "seconds_p50": round(float(np.median(seconds)), 4),
        "seconds_p95": round(float(seconds[math.ceil(0.95 * len(seconds)) - 1]), 4),
        "seconds_max": round(float(seconds[-1]), 4),
        "distribution": distribution(seconds),
        "slowest_records": _slowest_records(fan_in) if fan_in.total("records") > 1 else None,
        "slowest": _slowest_units(fan_in.slowest),
    }


def _slowest_records(fan_in: FanIn) -> dg.MarkdownMetadataValue:
    columns = ["record", "units", "seconds"]
    return markdown_rows(columns, fan_in.slowest_records, longest_cell=_LONGEST_KEY, longest=LONGEST_SHOWN)


def _slowest_units(slowest: Sequence[UnitOutcome]) -> dg.MarkdownMetadataValue:
    columns = ["record", "unit", "seconds", "cpu_s", "mb"]
    rows = (
        [each.record_key, each.unit_key, each.seconds, each.cpu_seconds, each.peak_mb] for each in slowest
    )
    return markdown_rows(columns, rows, longest_cell=_LONGEST_KEY, longest=LONGEST_SHOWN)


def _rounded(figure: float | None, digits: int = 3) -> float | None:
    return None if figure is None else round(figure, digits)


def failures_table(failed: Sequence[UnitOutcome]) -> dg.MarkdownMetadataValue:
    """Return the failures as a Markdown table that the UI shows where it stands: a row for those that are alike.

    Alike are those with the same error, and where these are too many, those whose errors differ in details alone.
    """
    columns = ["units", "record", "unit", "error"]
    rows = _failure_rows(_alike(failed))
    if len(markdown_rows(columns, rows).value or "") > LONGEST_SHOWN:
        rows = _failure_rows(_alike(failed, _without_details))
    return markdown_rows(columns, rows, longest=LONGEST_SHOWN)


def _failure_rows(groups: Iterable[Sequence[UnitOutcome]]) -> list[list[object]]:
    return [
        [
            len(alike),
            _first_of((each.record_key for each in alike), _LONGEST_KEY),
            _first_of((each.unit_key for each in alike), _LONGEST_KEY),
            one_line(f"{alike[0].error} ({_how(alike[0])}, stage {alike[0].stage})", _LONGEST_ERROR),
        ]
        for alike in groups
    ]


def failures_markdown(failed: Sequence[UnitOutcome], total: int) -> str:
    """Return in Markdown how many units failed, and of the most frequent causes the first unit and the error."""
    rows = sorted(_failure_rows(_alike(failed, _without_details)), key=lambda row: -int(str(row[0])))
    lines = [f"{len(failed)} of {total} units ended without success:", ""]
    for count, record, unit, error in rows[:_CAUSES]:
        lines.append(
            f"- {count} × {as_markdown(str(error))}: record {as_markdown(str(record))}, unit {as_markdown(str(unit))}"
        )
    if len(rows) > _CAUSES:
        lines.append(f"- and {len(rows) - _CAUSES} more causes")
    return "\n".join(lines)


def _first_of(keys: Iterable[str], longest: int) -> str:
    """Return the first key, and how many others there are."""
    first, *others = dict.fromkeys(keys)
    return one_line(first, longest) + (f" and {len(others)} more" if others else "")


def _how(outcome: UnitOutcome) -> str:
    attempts = f"{outcome.attempts} {'attempt' if outcome.attempts == 1 else 'attempts'}"
    return f"{outcome.status} after {attempts}"


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
        how = _how(first)
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


def _alike(
    failed: Sequence[UnitOutcome], text: Callable[[str], str] = lambda error: error
) -> list[list[UnitOutcome]]:
    """Return the failures, those with the same stage, end and error together, in the order of the first of each.

    Args:
        failed: the failures.
        text: what of an error has to be the same.
    """
    groups: dict[tuple[str, str, int, str], list[UnitOutcome]] = {}
    for each in failed:
        key = (each.stage, each.status, each.attempts, text(str(each.error)))
        groups.setdefault(key, []).append(each)
    return list(groups.values())


def _without_details(error: str) -> str:
    """Return *error* without its numbers and what stands in quotes: mostly they say which unit it was, not why."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|\b0x[0-9a-f]+\b|\d+", "…", error)


def table_metadata(value: Any) -> dict[str, Any]:
    """Return what an asset's page shows of a table: rows, columns with their types, and the first rows."""
    if not isinstance(value, pd.DataFrame):
        return {}
    columns = [
        dg.TableColumn(str(name), str(kind))
        for name, kind in zip(value.columns, value.dtypes[:_MOST_COLUMNS], strict=False)
    ]
    # What became of the units is told above: the sample is of what they returned.
    chosen = [place for place, column in enumerate(columns) if column.name not in COLUMNS[2:]][
        :_SAMPLE_COLUMNS
    ]
    names = [columns[place].name for place in chosen]
    rows = value.iloc[:_SAMPLE_ROWS, chosen].itertuples(index=False, name=None)
    found: dict[str, Any] = {"dagster/row_count": len(value)}
    if columns:
        found["dagster/column_schema"] = dg.TableSchema(columns)
    if len(value) and columns:
        found["sample"] = markdown_rows(names, rows, longest_cell=_LONGEST_KEY, longest=LONGEST_SHOWN)
    return found
