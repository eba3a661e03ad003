"""Which of the units without success a condition chooses, in SQL."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing

from project_fanout.engine.errors import LedgerError
from project_fanout.engine.ledger.entry import LedgerEntry

#: Stage, record and unit, by which a run knows a unit.
UnitKey = tuple[int, str, str]

_COLUMNS = (
    "stage_index, record, unit, stage, status, error, attempts, seconds, waited, cpu_seconds, peak_mb, worker, "
    "ended_at, run, input"
)


def chosen_units(entries: Iterable[LedgerEntry], where: str) -> set[UnitKey]:
    """Return those of *entries* for which *where* holds.

    Args:
        entries: outcomes.
        where: a condition in SQLite's SQL on `record`, `unit`, `stage`, `status`, `error` (type and message),
            `attempts`, `seconds`, `waited`, `cpu_seconds`, `peak_mb`, `worker`, `ended_at`, `run`, `input`.

    Raises:
        LedgerError: *where* is not such a condition; says why.
    """
    # In a database of its own, whatever the ledger is in: the texts are as people know them, and nothing can change it.
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute(f"create table units ({_COLUMNS})")
        rows = ((*_values(entry),) for entry in entries)
        database.executemany(f"insert into units values ({', '.join('?' * len(_COLUMNS.split(', ')))})", rows)
        database.commit()
        database.execute("pragma query_only = on")
        try:
            found = database.execute(
                f"select stage_index, record, unit from units where ({where}\n)"
            ).fetchall()
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise LedgerError(
                f"{where!r} is not a condition: {error}. Write one in SQL on {_COLUMNS.partition(', ')[2]}, e.g. "
                "status = 'failed' and error like '%429%'."
            ) from None
    return set(found)


def _values(entry: LedgerEntry) -> list[object]:
    outcome = entry.outcome
    return [
        outcome.stage_index,
        outcome.record_key,
        outcome.unit_key,
        outcome.stage,
        outcome.status,
        str(outcome.error or ""),
        outcome.attempts,
        outcome.seconds,
        outcome.waited,
        outcome.cpu_seconds,
        outcome.peak_mb,
        outcome.worker,
        outcome.ended_at,
        entry.run_id,
        entry.input,
    ]
