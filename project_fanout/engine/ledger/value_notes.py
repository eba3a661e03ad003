"""Where the large values of each scope are: noted before the first one is stored, so that none is forgotten."""

import time

from sqlalchemy import Connection, delete, insert, select

from project_fanout.engine.ledger.entry import LedgerFilter, LedgerScope
from project_fanout.engine.ledger.rows import scope_id
from project_fanout.engine.ledger.schema import VALUES


def note_values(connection: Connection, scope: LedgerScope, url: str) -> None:
    """Note that values of *scope* go to the folder *url*, unless that is known."""
    if url in urls_of_values(connection, scope):
        return
    connection.execute(
        insert(VALUES).values(
            scope_id=scope_id(scope),
            url=url,
            lineage=scope.lineage,
            asset=scope.asset,
            partition_key=scope.partition,
            noted_at=time.time(),
        )
    )


def urls_of_values(connection: Connection, scope: LedgerScope) -> list[str]:
    """Return the folders in which values of *scope* are."""
    return list(connection.scalars(select(VALUES.c.url).where(VALUES.c.scope_id == scope_id(scope))))


def noted_values(connection: Connection, chosen: LedgerFilter) -> dict[LedgerScope, float]:
    """Return the scopes of *chosen* that have a folder, and when the last one was noted (seconds since 1970)."""
    query = select(VALUES).order_by(VALUES.c.noted_at)
    for column, wanted in (
        (VALUES.c.lineage, chosen.lineage),
        (VALUES.c.asset, chosen.asset),
        (VALUES.c.partition_key, chosen.partition),
    ):
        if wanted is not None:
            query = query.where(column == wanted)
    return {
        LedgerScope(row.lineage, row.asset, row.partition_key): row.noted_at
        for row in connection.execute(query)
    }


def forget_values(connection: Connection, scope: LedgerScope) -> None:
    """Forget the folders of *scope*."""
    connection.execute(delete(VALUES).where(VALUES.c.scope_id == scope_id(scope)))
