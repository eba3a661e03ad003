"""What runs have begun and not ended: notes that tell, when a run has died, which units may be why."""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection, delete, insert, select, tuple_

from project_fanout.engine.ledger.entry import InWork, LedgerEntry, LedgerScope
from project_fanout.engine.ledger.rows import chunks, scope_id
from project_fanout.engine.ledger.schema import IN_WORK, digest

#: Scope, stage, record and unit, as the table names them.
UnitId = tuple[str, int, str, str]

_KEY = (IN_WORK.c.scope_id, IN_WORK.c.stage_index, IN_WORK.c.record_id, IN_WORK.c.unit_id)


def unit_id(about: InWork | LedgerEntry) -> UnitId:
    """Return how the table names the unit."""
    if isinstance(about, InWork):
        place, record_key, unit_key = about.stage_index, about.record_key, about.unit_key
    else:
        outcome = about.outcome
        place, record_key, unit_key = outcome.stage_index, outcome.record_key, outcome.unit_key
    return scope_id(about.scope), place, digest(record_key), digest(unit_key)


def note(connection: Connection, begun: Mapping[UnitId, InWork], ended: Iterable[UnitId]) -> None:
    """Write what has *begun*, and forget what has *ended*."""
    forget(connection, [*begun, *ended])
    rows = [
        {
            **{column.name: part for column, part in zip(_KEY, unit, strict=True)},
            "run_id": each.run_id,
            "runs": each.died + 1,
        }
        for unit, each in sorted(begun.items())
    ]
    if rows:
        connection.execute(insert(IN_WORK), rows)


def forget(connection: Connection, units: Sequence[UnitId]) -> None:
    """Remove the notes of *units*, where there are any."""
    for some in chunks(sorted(units)):
        connection.execute(delete(IN_WORK).where(tuple_(*_KEY).in_(some)))


def forget_scope(connection: Connection, scope: LedgerScope) -> None:
    """Remove all notes of *scope*."""
    connection.execute(delete(IN_WORK).where(IN_WORK.c.scope_id == scope_id(scope)))


def died(
    connection: Connection, scope: LedgerScope, stage_index: int, run_id: str
) -> dict[tuple[str, str], int]:
    """Return by the ids of record and unit how many runs other than *run_id* have died with a unit in work."""
    query = select(IN_WORK.c.record_id, IN_WORK.c.unit_id, IN_WORK.c.runs).where(
        IN_WORK.c.scope_id == scope_id(scope),
        IN_WORK.c.stage_index == stage_index,
        IN_WORK.c.run_id != run_id,
    )
    return {(record, unit): runs for record, unit, runs in connection.execute(query)}
