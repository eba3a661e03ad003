"""The way from the tables of an earlier version to those of this one, step by step, within one transaction.

A step is never changed once it is released, and says in plain SQL what was new then: the tables go on changing.
"""

from collections.abc import Callable, Mapping

from sqlalchemy import Connection, inspect, select, update

from project_fanout.engine.ledger.schema import (
    IN_WORK,
    RATES,
    REUSED,
    RUNS,
    SCHEMA,
    SCHEMA_VERSION,
    VALUES,
)


def stored_version(connection: Connection) -> int | None:
    """Return the version of the tables in this database, None if it holds none."""
    if not inspect(connection).has_table(SCHEMA.name):
        return None
    return connection.scalar(select(SCHEMA.c.version).order_by(SCHEMA.c.version.desc()).limit(1))


def upgrade(connection: Connection) -> int:
    """Bring the tables of an earlier version as far as steps are known, and return what version they are then.

    Another process may do the same at this moment: it waits for this transaction and then has nothing to do.
    """
    version = stored_version(connection) or 0
    while version < SCHEMA_VERSION and (step := _STEPS.get(version)):
        step(connection)
        connection.execute(update(SCHEMA).where(SCHEMA.c.version == version).values(version=version + 1))
        version += 1
    return version


def _store_packed_values(connection: Connection) -> None:
    kind = "BYTEA" if connection.dialect.name == "postgresql" else "BLOB"
    connection.exec_driver_sql(f"ALTER TABLE fanout_outcomes ADD COLUMN packed {kind}")
    VALUES.create(connection)


def _store_figures(connection: Connection) -> None:
    for name in ("cpu_seconds", "peak_mb"):
        connection.exec_driver_sql(f"ALTER TABLE fanout_outcomes ADD COLUMN {name} DOUBLE PRECISION")
    RATES.create(connection)
    IN_WORK.create(connection)


def _store_runs(connection: Connection) -> None:
    for name, kind in (
        ("worker", "TEXT"),
        ("waited", "DOUBLE PRECISION"),
        ("earlier_json", "TEXT"),
        ("input", "TEXT"),
    ):
        connection.exec_driver_sql(f"ALTER TABLE fanout_outcomes ADD COLUMN {name} {kind}")
    RUNS.create(connection)
    REUSED.create(connection)


_STEPS: Mapping[int, Callable[[Connection], None]] = {
    1: _store_packed_values,
    2: _store_figures,
    3: _store_runs,
}
