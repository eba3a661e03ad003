"""Outcomes as people read them: the asset's table, its metadata, and the message of a failed run."""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import dagster as dg
import pandas as pd

from project_fanout.engine.model import STATUSES, RecordOutcome, UnitOutcome

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
    """Return a column of results; None where there is none, NaN among numbers."""
    # Beside a None or a float pandas makes floats of integers, which above 2**53 are other numbers, and
    # from 2**1024 on none at all.
    large = any(isinstance(each, int) and abs(each) > 2**53 for each in values)
    exact = large and not all(isinstance(each, int) for each in values)
    column: pd.Series[Any] = pd.Series(values, dtype="object" if exact else None)
    return column


def counts_metadata(records: Sequence[RecordOutcome]) -> dict[str, Any]:
    """Return the metadata of a step: records, units, and how many of them ended in which way."""
    outcomes = [unit for record in records for unit in record.units]
    by_status = Counter(each.status for each in outcomes)
    return {
        "records": len(records),
        "units": len(outcomes),
        # `failed` also where it is 0: the UI plots it over the runs, and would join those with failures.
        **{each: by_status[each] for each in STATUSES if by_status[each] or each in ("succeeded", "failed")},
        "unit_seconds": round(sum(each.seconds for each in outcomes), 3),
    }


def asset_metadata(records: Sequence[RecordOutcome]) -> dict[str, Any]:
    """Return the asset's metadata: counts, how long units took, the slowest, and what did not succeed."""
    outcomes = [unit for record in records for unit in record.units]
    metadata = counts_metadata(records)
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
    rows = [{column: _cell(getattr(each, column)) for column in columns} for each in outcomes]
    return dg.MetadataValue.md(
        pd.DataFrame(rows, columns=columns).to_markdown(index=False, disable_numparse=True) or ""
    )


def _cell(value: object) -> object:
    """Return *value* so that it stays in its cell: one line, at most 200 characters, no column marks."""
    if isinstance(value, float):
        return f"{value:.4f}"
    text = " ".join(str(value).split()).replace("|", "\\|")
    return text if len(text) <= 200 else f"{text[:199]}…"


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
