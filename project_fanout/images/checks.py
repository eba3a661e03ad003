"""Checks of the files that fan-outs over photographs have written, also long after the run."""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dagster as dg
import pandas as pd

from project_fanout.engine.container import available_cpus
from project_fanout.images.digests import is_intact
from project_fanout.orchestration.markdown_table import markdown_table

#: Name of the check.
ALL_INTACT = "every_rendition_is_intact"


def intact_check(asset: str) -> dg.AssetChecksDefinition:
    """Return the check that every file in the table of *asset*, a fan-out over photographs, is as it was written."""

    @dg.asset_check(
        name=ALL_INTACT,
        asset=asset,
        description="Every file that the table names is there, with the content that was written.",
    )
    def check(table: pd.DataFrame) -> dg.AssetCheckResult:
        made = table[table["status"] == "succeeded"]
        found = damage(made.to_dict("records"))
        return dg.AssetCheckResult(
            passed=found.empty,
            description=f"{len(found)} of {len(made)} files are missing or have changed."
            if len(found)
            else None,
            metadata={"files": len(made), "damaged": len(found), "damaged_files": markdown_table(found)},
        )

    return check


def damage(made: Iterable[Mapping[Any, Any]]) -> pd.DataFrame:
    """Return the files that are not as they were written: `record_key`, `unit_key` and `problem` of each.

    Args:
        made: rows of the table: `path`, `sha256` and the two keys.
    """
    rows = list(made)
    with ThreadPoolExecutor(available_cpus()) as threads:
        problems = threads.map(_problem, rows)
        found = [
            (row["record_key"], row["unit_key"], problem)
            for row, problem in zip(rows, problems, strict=True)
            if problem
        ]
    return pd.DataFrame(found, columns=["record_key", "unit_key", "problem"])


def _problem(row: Mapping[Any, Any]) -> str | None:
    if not isinstance(row["sha256"], str):
        return "its digest is not known: it was written by an earlier release"
    try:
        return None if is_intact(row) else "its content has changed"
    except FileNotFoundError:
        return "it is missing"
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
