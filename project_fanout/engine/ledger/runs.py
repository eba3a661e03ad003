"""What runs have found, and how they ended: written by the run, read by those who ask how far it is."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from project_fanout.engine.ledger.entry import LedgerScope, RunNews, RunNote, Taken
from project_fanout.engine.ledger.rows import scope_id
from project_fanout.engine.ledger.schema import REUSED, RUNS, digest

_INSERT: Mapping[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def note_runs(connection: Connection, news: Sequence[RunNews]) -> None:
    """Write the *news* of runs; what there is none of stays as it was."""
    for each in news:
        _begin(connection, each)
        values: dict[str, Any] = {"seen_at": each.at}
        for name in ("records", "units", "found_all", "ended_at", "state", "error"):
            if (value := getattr(each, name)) is not None:
                values[name] = int(value) if name == "found_all" else value
        own = (RUNS.c.run_id == each.run_id, RUNS.c.scope_id == scope_id(each.scope))
        if each.places is not None:
            # Of several stages, or steps that are processes, the one with the most.
            more = update(RUNS).where(*own, RUNS.c.places < each.places).values(places=each.places)
            connection.execute(more)
        connection.execute(update(RUNS).where(*own).values(**values))


def _begin(connection: Connection, news: RunNews) -> None:
    """Make the row of a run; one without a trigger, as a re-execution may be, has found what the run before it had."""
    scope = scope_id(news.scope)
    query = select(RUNS).where(RUNS.c.scope_id == scope).order_by(RUNS.c.began_at.desc()).limit(1)
    before = connection.execute(query).mappings().first()
    if before is not None and before["run_id"] == news.run_id:
        return
    row = {
        "run_id": news.run_id,
        "scope_id": scope,
        "lineage": news.scope.lineage,
        "asset": news.scope.asset,
        "partition_key": news.scope.partition,
        "began_at": news.at,
        "seen_at": news.at,
        "places": 0,
        "stages_json": json.dumps(news.stages),
        "records": before["records"] if before else 0,
        "units": before["units"] if before else 0,
        "found_all": before["found_all"] if before else 0,
        "state": "running",
    }
    insert = _INSERT[connection.dialect.name](RUNS).values(**row)
    connection.execute(insert.on_conflict_do_nothing(index_elements=["run_id", "scope_id"]))


def run_ids(connection: Connection, beginning: str) -> list[str]:
    """Return the ids of the runs that begin so, that of the latest first."""
    begins = RUNS.c.run_id.startswith(beginning, autoescape=True)
    return list(connection.scalars(select(RUNS.c.run_id).where(begins).order_by(RUNS.c.began_at.desc())))


def noted_runs(connection: Connection, run_id: str) -> list[RunNote]:
    """Return what is known of a run: a note for each asset and partition that it makes, the earliest first."""
    query = select(RUNS).where(RUNS.c.run_id == run_id).order_by(RUNS.c.began_at)
    return [_note(row) for row in connection.execute(query).mappings()]


def later_run(connection: Connection, note: RunNote) -> str | None:
    """Return the latest run of the same scope that began after *note*'s, None if there is none."""
    query: Select[Any] = (
        select(RUNS.c.run_id)
        .where(RUNS.c.scope_id == scope_id(note.scope), RUNS.c.began_at > note.began_at)
        .order_by(RUNS.c.began_at.desc())
        .limit(1)
    )
    found: str | None = connection.scalar(query)
    return found


def _note(row: RowMapping) -> RunNote:
    return RunNote(
        run_id=row["run_id"],
        scope=LedgerScope(row["lineage"], row["asset"], row["partition_key"]),
        began_at=row["began_at"],
        seen_at=row["seen_at"],
        ended_at=row["ended_at"],
        state=row["state"],
        error=row["error"],
        places=row["places"],
        stages=tuple(json.loads(row["stages_json"])),
        records=row["records"],
        units=row["units"],
        found_all=bool(row["found_all"]),
    )


def note_reuse(connection: Connection, scope: LedgerScope, stage_index: int, reused: Sequence[Taken]) -> None:
    """Write from which runs of other lineages results of a stage were taken."""
    rows = [
        {
            "scope_id": scope_id(scope),
            "stage_index": stage_index,
            "record_id": digest(each.record_key),
            "from_run_id": each.from_run_id,
            "record_key": each.record_key,
            "from_lineage": each.from_lineage,
            "units": each.units,
        }
        for each in reused
    ]
    if rows:
        insert = _INSERT[connection.dialect.name](REUSED)
        key = ["scope_id", "stage_index", "record_id", "from_run_id"]
        changed = {"units": insert.excluded.units}
        connection.execute(insert.on_conflict_do_update(index_elements=key, set_=changed), rows)


def noted_reuse(connection: Connection, scope: LedgerScope) -> list[tuple[int, Taken]]:
    """Return stage and reuse of what *scope* has taken from other lineages."""
    query = select(REUSED).where(REUSED.c.scope_id == scope_id(scope))
    return [
        (row.stage_index, Taken(row.record_key, row.from_lineage, row.from_run_id, row.units))
        for row in connection.execute(query)
    ]


def units_reused(connection: Connection, scope: LedgerScope) -> dict[int, int]:
    """Return by stage how many units *scope* has taken from other lineages."""
    query = (
        select(REUSED.c.stage_index, func.sum(REUSED.c.units))
        .where(REUSED.c.scope_id == scope_id(scope))
        .group_by(REUSED.c.stage_index)
    )
    return {row[0]: int(row[1]) for row in connection.execute(query)}


def forget_runs(connection: Connection, scope: LedgerScope) -> None:
    """Remove what is known of the runs of *scope*."""
    connection.execute(delete(RUNS).where(RUNS.c.scope_id == scope_id(scope)))
    connection.execute(delete(REUSED).where(REUSED.c.scope_id == scope_id(scope)))
