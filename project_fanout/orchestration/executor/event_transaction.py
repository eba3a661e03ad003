"""One transaction of events, committed once, however often its connection is lost."""

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as db

from project_fanout.orchestration.executor.database_server import TransactionPendingError
from project_fanout.orchestration.internals import SqlEventLogStorageTable

_EVENTS = SqlEventLogStorageTable
_INSERT = _EVENTS.insert()
#: A row, the server process that writes it, and the transaction.
_MARK: tuple[Any, ...] = (
    _EVENTS.c.id,
    db.func.pg_backend_pid().label("pid"),
    db.literal_column("xmin::text").label("xid"),
)
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
        #: Of a row whose COMMIT has been sent, and its answer has not come.
        self._mark: Any = None

    def run(self, connection: db.Connection) -> None:
        """Write and commit; on Postgres only what an earlier, lost connection has not committed.

        Raises:
            TransactionPendingError: the one of the lost connection has not ended yet. It has been told to.
        """
        if connection.dialect.name != "postgresql":
            with connection.begin():
                connection.execute(_INSERT, self._rows)
            return
        if self._mark is not None and self._is_stored(connection, self._mark):
            return
        self._mark = None
        with connection.begin():
            mark = self._insert(connection)
            self._mark = mark

    def _insert(self, connection: db.Connection) -> Any:
        if self._write is None:
            return connection.execute(_INSERT.returning(*_MARK), self._rows).first()
        self._write(connection)
        [row] = self._rows
        own = db.select(*_MARK).where(_EVENTS.c.run_id == row["run_id"], _EVENTS.c.event == row["event"])
        return connection.execute(own.order_by(_EVENTS.c.id.desc()).limit(1)).first()

    def _is_stored(self, connection: db.Connection, mark: Any) -> bool:
        """Tell whether the lost transaction has been committed: all of its rows are there, or none."""
        with connection.begin():
            pending = connection.execute(_END, {"pid": mark.pid, "xid": mark.xid}).first() is not None
            # A server that has crashed may give ids that nobody committed to somebody else.
            event = connection.scalar(db.select(_EVENTS.c.event).where(_EVENTS.c.id == mark.id))
        if pending:
            raise TransactionPendingError(f"transaction {mark.xid} of process {mark.pid} is still under way")
        return event in {row["event"] for row in self._rows}
