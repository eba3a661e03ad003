"""How far a run is, counted in the ledger: what has ended, and what is in work."""

import json
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection, Integer, case, cast, func, select

from project_fanout.engine.ledger.entry import LedgerScope, RunNote
from project_fanout.engine.ledger.rows import scope_id
from project_fanout.engine.ledger.schema import IN_WORK, OUTCOMES, digest
from project_fanout.engine.model import Status


@dataclass(frozen=True, slots=True)
class OutcomeCount:
    """How many units of a stage have ended in one way.

    Args:
        stage_index, stage: the stage.
        status: how they ended.
        is_of_run: whether this run has run them, and not an earlier or later one of its lineage.
        units: how many.
        retried: how many of them took more than one attempt.
        seconds: time of them in workers.
        since: how many ended after the time that was asked for.
        last_at: when the last one ended, in seconds since 1970 (UTC).
    """

    stage_index: int
    stage: str
    status: Status
    is_of_run: bool
    units: int
    retried: int
    seconds: float
    since: int
    last_at: float


def outcome_counts(connection: Connection, note: RunNote, since: float) -> list[OutcomeCount]:
    """Return the outcomes of a run's scope by stage, status and whether they are its own.

    Args:
        connection: to the ledger.
        note: the run.
        since: a time in seconds since 1970 (UTC), for `OutcomeCount.since`.
    """
    table = OUTCOMES.c
    is_of_run = case((table.run_id == note.run_id, 1), else_=0)
    query = (
        select(
            table.stage_index,
            func.max(table.stage),
            table.status,
            is_of_run,
            func.count(),
            func.sum(case((table.attempts > 1, 1), else_=0)),
            func.sum(table.seconds),
            func.sum(case((table.ended_at > since, 1), else_=0)),
            func.max(table.ended_at),
        )
        .where(table.scope_id == scope_id(note.scope))
        .group_by(table.stage_index, table.status, is_of_run)
        .order_by(table.stage_index, table.status)
    )
    return [
        OutcomeCount(row[0], row[1], row[2], bool(row[3]), row[4], int(row[5]), row[6], int(row[7]), row[8])
        for row in connection.execute(query)
    ]


def units_in_work(connection: Connection, note: RunNote) -> dict[int, int]:
    """Return by stage how many units the run has had in work for some tenths of a second or longer."""
    query = (
        select(IN_WORK.c.stage_index, func.count())
        .where(IN_WORK.c.scope_id == scope_id(note.scope), IN_WORK.c.run_id == note.run_id)
        .group_by(IN_WORK.c.stage_index)
    )
    return {row[0]: row[1] for row in connection.execute(query)}


class Span(NamedTuple):
    """When a worker ran a unit, the last attempt of it.

    Args:
        worker: the worker, "" where its pool has none.
        began_at, ended_at: in seconds since 1970 (UTC).
        succeeded: whether the unit did.
    """

    worker: str
    began_at: float
    ended_at: float
    succeeded: bool


def run_spans(connection: Connection, scope: LedgerScope, run_id: str) -> list[Span]:
    """Return when the workers of a run ran which units, in no order."""
    table = OUTCOMES.c
    query = select(table.worker, table.ended_at, table.seconds, table.status, table.earlier_json).where(
        table.scope_id == scope_id(scope), table.run_id == run_id
    )
    return [
        Span(worker or "", ended_at - last_seconds(seconds, earlier), ended_at, status == "succeeded")
        for worker, ended_at, seconds, status, earlier in connection.execute(query)
    ]


class PartOfRun(NamedTuple):
    """The units of a worker that ended in a part of a run's time.

    Args:
        worker: the worker, "" where its pool has none.
        part: the part's number, from 0.
        seconds: time of these units in the worker.
        failed: how many of them ended without success.
    """

    worker: str
    part: int
    seconds: float
    failed: int


def run_parts(
    connection: Connection, scope: LedgerScope, run_id: str, parts: int
) -> tuple[float, list[PartOfRun]]:
    """Return how long a run's units took from the first start to the last end, and what ended in each part of that.

    Of a million units that takes a second, and `run_spans` five.
    """
    table = OUTCOMES.c
    own = (table.scope_id == scope_id(scope), table.run_id == run_id)
    first, last = connection.execute(
        select(func.min(table.ended_at - table.seconds), func.max(table.ended_at)).where(*own)
    ).one()
    if first is None:
        return 0.0, []
    wall_s = max(last - first, 1e-9)
    part = cast(func.round((table.ended_at - first) / wall_s * (parts - 1)), Integer)
    failed = func.sum(case((table.status == "succeeded", 0), else_=1))
    query = (
        select(table.worker, part, func.sum(table.seconds), failed).where(*own).group_by(table.worker, part)
    )
    return wall_s, [
        PartOfRun(worker or "", number, seconds, int(lost))
        for worker, number, seconds, lost in connection.execute(query)
    ]


def last_seconds(seconds: float, earlier_json: str | None) -> float:
    """Return how much of a unit's *seconds* its last attempt took."""
    earlier: list[tuple[str, float, str]] = json.loads(earlier_json) if earlier_json else []
    return max(0.0, seconds - sum(took for _, took, _ in earlier))


def is_in_work(connection: Connection, note: RunNote, record_key: str, unit_key: str) -> bool:
    """Tell whether a run has had a unit in work for some tenths of a second or longer."""
    query = select(IN_WORK.c.runs).where(
        IN_WORK.c.scope_id == scope_id(note.scope),
        IN_WORK.c.run_id == note.run_id,
        IN_WORK.c.record_id == digest(record_key),
        IN_WORK.c.unit_id == digest(unit_key),
    )
    return connection.scalar(query.limit(1)) is not None
