"""One transaction of events, committed once, however often its connection is lost."""

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as db

from project_fanout.orchestration.executor.database_server import TransactionPendingError
from project_fanout.orchestration.internals import SqlEventLogStorageTable

_EVENTS = SqlEventLogStorageTable
_INSERT = _EVENTS.insert()
#: A row, and the transaction that writes it with its server process.
_ROW: tuple[Any, ...] = (
    _EVENTS.c.id,
    db.func.pg_backend_pid().label("pid"),
    db.literal_column("xmin::text").label("xid"),
)
#: The same before there is a row; `xmin` has 32 bits.
_NO_ROW = db.text("SELECT NULL AS id, pg_backend_pid() AS pid, (txid_current() % 4294967296)::text AS xid")
#: Ends a transaction that is still under way; a process has at most one, and `backend_xid` is gone once others see
#: what it has committed.
_END = db.text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = :pid AND backend_xid::text = :xid"
)


class EventTransaction:
    """Rows of the event log, and what is written with them.

    Args:
        rows: for the table `event_logs`.
        write: writes the single row, and whatever belongs to it elsewhere, over a connection. Default:
            the rows are inserted.
    """

    def __init__(
        self, rows: Sequence[dict[str, Any]], write: Callable[[db.Connection], None] | None = None
    ) -> None:
        self._rows = rows
        self._write = write
        #: What is known of the last attempt's transaction; None where nothing can be left of it.
        self._begun: Any = None

    def run(self, connection: db.Connection) -> None:
        """Write and commit; on Postgres only what an earlier, lost connection has not committed.

        Raises:
            TransactionPendingError: the one of the lost connection has not ended yet. It has been told to.
        """
        if connection.dialect.name != "postgresql":
            with connection.begin():
                connection.execute(_INSERT, self._rows)
            return
        if self._begun is not None and self._is_stored(connection, self._begun):
            return
        self._begun = None
        with connection.begin():
            if self._write is None:
                # Until COMMIT is sent it is of no consequence: it commits nothing, and nobody waits for a new row.
                begun = connection.execute(_INSERT.returning(*_ROW), self._rows).first()
            else:
                # It may lock rows of assets, for which the next attempt would wait.
                self._begun = connection.execute(_NO_ROW).one()
                self._write(connection)
                begun = self._newest(connection)
            self._begun = begun

    def _newest(self, connection: db.Connection) -> Any:
        [row] = self._rows
        same = db.select(*_ROW).where(_EVENTS.c.run_id == row["run_id"], _EVENTS.c.event == row["event"])
        return connection.execute(same.order_by(_EVENTS.c.id.desc()).limit(1)).one()

    def _is_stored(self, connection: db.Connection, begun: Any) -> bool:
        """Tell whether the lost transaction has been committed: all of its rows are there, or none."""
        with connection.begin():
            pending = connection.execute(_END, {"pid": begun.pid, "xid": begun.xid}).first() is not None
            # A server that has crashed may give ids that nobody committed to somebody else.
            event = connection.scalar(db.select(_EVENTS.c.event).where(_EVENTS.c.id == begun.id))
        if pending:
            raise TransactionPendingError(
                f"transaction {begun.xid} of process {begun.pid} is still under way"
            )
        return event in {row["event"] for row in self._rows}
