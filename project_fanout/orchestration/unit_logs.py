"""What units have logged, as the log of their run in the Dagster instance has it."""

import re
from ast import literal_eval
from collections import defaultdict

import dagster as dg

# A text as Python shows it.
_TEXT = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
_BEGINNING = re.compile(rf"\[record (?P<record>{_TEXT}), unit (?P<unit>{_TEXT})\] ")
# Of one unit; more would make the page of a run with many units too long to open.
_MOST_LINES = 100


def log_line(record_key: str, unit_key: str, logger: str, message: str) -> str:
    """Return what the run's log says when a unit has logged *message*."""
    return f"[record {record_key!r}, unit {unit_key!r}] {logger}: {message}"


def unit_logs(instance: dg.DagsterInstance, run_id: str) -> dict[tuple[str, str], list[str]]:
    """Return what the units of a run have logged, by the keys of record and unit: at most 100 lines of each."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for entry in instance.all_logs(run_id):
        begins = None if entry.is_dagster_event else _BEGINNING.match(entry.user_message)
        if begins:
            lines = found[literal_eval(begins["record"]), literal_eval(begins["unit"])]
            if len(lines) < _MOST_LINES:
                lines.append(entry.user_message[begins.end() :])
    return dict(found)
