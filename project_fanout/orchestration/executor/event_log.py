"""An open connection to the event log for the length of a run, and many events per transaction.

With Dagster's SQLite event log each event makes a SQLAlchemy engine, opens the run's database,
commits, closes, and with that checkpoints: 11 ms and 3.6 ms CPU, where the insert and its fsync take
1.7 ms and 0.1 ms. A step writes 13 events. With Postgres it is a new connection per event.
"""

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

import sqlalchemy as db
from dagster import DagsterInstance, EventLogEntry

from project_fanout.orchestration.executor.event_transaction import EventTransaction
from project_fanout.orchestration.executor.patient_storage import (
    is_stock_postgres,
    over_connection,
    patient_server,
)
from project_fanout.orchestration.internals import (
    ASSET_CHECK_EVENTS,
    ASSET_EVENTS,
    EVENT_TYPE_TO_PIPELINE_RUN_STATUS,
    SqliteEventLogStorage,
)

#: How often the run's SQLite database gets what its write-ahead log holds. Dagster's webserver
#: watches that file to show a run's log as it grows, and sees nothing until it changes.
_CHECKPOINT_S = 0.5
#: A connection that has lain idle longer is tried before it is used: servers, proxies and firewalls
#: drop idle ones, and a unit of work may take hours.
_IDLE_S = 10.0
#: How long to wait for another process that writes to the run's SQLite database, as Dagster 1.13 does.
_BUSY_S = 30


@contextmanager
def open_event_log(
    instance: DagsterInstance, run_id: str, interrupted: threading.Event | None = None
) -> Iterator[None]:
    """Keep one connection open for the events of *run_id* that this process stores.

    An event is acknowledged when its transaction has been committed, as before, with the database's
    own settings: WAL and `synchronous=FULL` with SQLite, so that it survives a kill of the process
    and, where fsync is honest, a power loss. Events that arrive during a commit share the next one.
    A lost connection to Postgres is opened again, and the event is in the log once.

    With SQLite, events that Dagster also writes elsewhere (assets, asset checks, run status) take
    Dagster's own way, as do those of other runs and of other storages than stock SQLite and Postgres.

    The storage object gets a `store_event` of its own for as long as a run of this process needs it.

    Args:
        instance: whose event log.
        run_id: the run.
        interrupted: set when the run is to end: then a server that is away is no longer waited for.
    """
    storage: Any = instance.event_log_storage
    if _is_sqlite(storage):
        writer = EventWriter(lambda: _sqlite_connection(storage, run_id))
        with _checkpoints(storage, run_id), _installed(storage, run_id, writer, _store_sqlite):
            yield
    elif is_stock_postgres(storage):
        server = patient_server(instance)
        writer = EventWriter(lambda: _postgres_connection(storage, run_id), server.call)
        with server.until(interrupted), _installed(storage, run_id, writer, _store_postgres):
            yield
    else:
        yield


class EventWriter:
    """Stores events over one connection; any number of threads may call it.

    The first thread that comes commits its event. Those that come meanwhile queue theirs, and the
    next of them commits all that are queued: a commit costs the same for one event as for ten.

    Args:
        open_connection: opens a connection, and closes it on exit.
        call: calls an action that needs a connection, again where that may help.
    """

    def __init__(
        self,
        open_connection: Callable[[], AbstractContextManager[db.Connection]],
        call: Callable[[Callable[[], None]], None] = lambda action: action(),
    ) -> None:
        self._open = open_connection
        self._call = call
        self._lock = threading.Lock()
        self._committing: int | None = None
        self._queued: deque[_Entry] = deque()
        self._opened: AbstractContextManager[db.Connection] | None = None
        self._connection: db.Connection | None = None
        self._used_at = 0.0

    def store(self, row: dict[str, Any], write: Callable[[db.Connection], None] | None = None) -> None:
        """Store *row* durably; return when it is, raise what the database raises.

        Args:
            row: for the table `event_logs`.
            write: writes the row, and what belongs to it elsewhere, in its place.
        """
        entry = _Entry(row, write)
        self._queued.append(entry)
        if self._committing == threading.get_ident():
            # A log record about the commit that this thread is at, which it cannot wait for.
            return
        with self._lock:
            if not entry.done:
                self._committing = threading.get_ident()
                try:
                    while not entry.done:
                        self._commit(self._next_batch())
                finally:
                    self._committing = None
        if entry.error is not None:
            raise entry.error

    def close(self) -> None:
        """Close the connection; a later `store` would open it again."""
        with self._lock:
            while self._queued:  # log records that nobody waits for
                self._commit(self._next_batch())
            self._close()

    def _next_batch(self) -> "list[_Entry]":
        """Return what the next transaction takes: all that are queued, up to one with a `write` of its own."""
        batch = [self._queued.popleft()]
        while batch[0].write is None and self._queued and self._queued[0].write is None:
            batch.append(self._queued.popleft())
        return batch

    def _commit(self, entries: "list[_Entry]") -> None:
        transaction = EventTransaction([entry.row for entry in entries], entries[0].write)

        def attempt() -> None:
            try:
                transaction.run(self._ready_connection())
            except BaseException:
                # What state the connection is in, nobody knows: the next attempt gets a new one.
                self._close()
                raise
            self._used_at = time.monotonic()

        error: BaseException | None = None
        try:
            self._call(attempt)
        except BaseException as raised:
            error = raised
            if not isinstance(raised, Exception):
                raise
        finally:
            for entry in entries:
                entry.error = error if isinstance(error, Exception) else _lost(error)
                entry.done = True

    def _ready_connection(self) -> db.Connection:
        if self._connection is not None and time.monotonic() - self._used_at > _IDLE_S:
            try:
                self._connection.execute(db.text("SELECT 1"))
                self._connection.rollback()
            except db.exc.DBAPIError:
                self._close()
        if self._connection is None:
            self._opened = self._open()
            self._connection = self._opened.__enter__()
        return self._connection

    def _close(self) -> None:
        opened, self._opened, self._connection = self._opened, None, None
        if opened is not None:
            with suppress(db.exc.DBAPIError):  # closing a broken connection may fail: it is gone anyway
                opened.__exit__(None, None, None)


class _Entry:
    """A row on its way into the database."""

    __slots__ = ("done", "error", "row", "write")

    def __init__(self, row: dict[str, Any], write: Callable[[db.Connection], None] | None) -> None:
        self.row = row
        self.write = write
        self.done = False
        self.error: Exception | None = None


def _lost(error: BaseException | None) -> Exception | None:
    """Return what to tell the other threads when the one that committed for them was interrupted."""
    if error is None:
        return None
    return RuntimeError(
        f"The event was not stored: its transaction was interrupted by {type(error).__name__}."
    )


# ---- the storages ----------------------------------------------------------------------------


def _is_sqlite(storage: Any) -> bool:
    # A subclass with a store_event of its own does more than insert a row.
    return getattr(type(storage), "store_event", None) is SqliteEventLogStorage.store_event


def _store_sqlite(storage: Any, writer: EventWriter, event: EventLogEntry) -> None:
    if _is_written_elsewhere_too(event):
        type(storage).store_event(storage, event)
    else:
        writer.store(storage._event_to_row(event))


def _store_postgres(storage: Any, writer: EventWriter, event: EventLogEntry) -> None:
    def write(connection: db.Connection) -> None:
        over = over_connection(storage, connection)
        over.store_event(event)

    writer.store(storage._event_to_row(event), write if _is_written_elsewhere_too(event) else None)


@contextmanager
def _postgres_connection(storage: Any, run_id: str) -> Iterator[db.Connection]:
    with storage.run_connection(run_id) as connection:
        # Dagster's connections commit each statement by itself.
        yield connection.execution_options(isolation_level="READ COMMITTED")


@contextmanager
def _sqlite_connection(storage: SqliteEventLogStorage, run_id: str) -> Iterator[db.Connection]:
    with storage.run_connection(run_id):
        pass  # makes the database and its tables, and sets WAL, where that has not been done
    engine = _sqlite_engine(storage, run_id)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _sqlite_engine(storage: SqliteEventLogStorage, run_id: str) -> db.Engine:
    return db.create_engine(
        storage.conn_string_for_shard(run_id),
        poolclass=db.NullPool,
        # Whichever thread commits uses the connection, one at a time.
        connect_args={"timeout": _BUSY_S, "check_same_thread": False},
    )


@contextmanager
def _checkpoints(storage: SqliteEventLogStorage, run_id: str) -> Iterator[None]:
    """Bring the run's SQLite database up to date every `_CHECKPOINT_S` while it is written to."""
    ended = threading.Event()

    def checkpoint() -> None:
        engine = _sqlite_engine(storage, run_id)
        while not ended.wait(_CHECKPOINT_S):
            # PASSIVE waits for nobody; with nothing new in the log it does nothing. An error here
            # costs the UI some freshness, and closing the last connection checkpoints anyway.
            with suppress(db.exc.DBAPIError), engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")
        engine.dispose()

    thread = threading.Thread(target=checkpoint, name=f"event log {run_id}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


# ---- one store_event for all runs of this process --------------------------------------------

_writers_lock = threading.Lock()
_writers: "weakref.WeakKeyDictionary[Any, dict[str, EventWriter]]" = weakref.WeakKeyDictionary()


@contextmanager
def _installed(
    storage: Any, run_id: str, writer: EventWriter, store: Callable[[Any, EventWriter, EventLogEntry], None]
) -> Iterator[None]:
    """Let events of *run_id* go to *writer* by way of *store*, and close it in the end."""
    with _writers_lock:
        writers = _writers.setdefault(storage, {})
        if not writers:
            storage.store_event = _store_event(storage, writers, store)
        writers[run_id] = writer
    try:
        yield
    finally:
        with _writers_lock:
            del writers[run_id]
            if not writers:
                del storage.store_event  # uncovers the method of its class
                del _writers[storage]
        writer.close()


def _store_event(
    storage: Any,
    writers: dict[str, EventWriter],
    store: Callable[[Any, EventWriter, EventLogEntry], None],
) -> Callable[[EventLogEntry], None]:
    def store_event(event: EventLogEntry) -> None:
        if (writer := writers.get(event.run_id)) is None:
            type(storage).store_event(storage, event)
        else:
            store(storage, writer, event)

    return store_event


def _is_written_elsewhere_too(event: EventLogEntry) -> bool:
    return event.is_dagster_event and event.dagster_event_type in _WRITTEN_ELSEWHERE_TOO


_WRITTEN_ELSEWHERE_TOO = frozenset({*ASSET_EVENTS, *ASSET_CHECK_EVENTS, *EVENT_TYPE_TO_PIPELINE_RUN_STATUS})
