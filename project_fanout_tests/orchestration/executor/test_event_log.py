"""Events share a connection and transactions, and are as safe as before."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as db

from project_fanout.orchestration.executor.event_log import EventWriter, open_event_log
from project_fanout.orchestration.internals import DagsterEvent, EngineEventData, SqliteEventLogStorage
from project_fanout_tests.instances import with_tables


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with_tables(tmp_path)
    with dg.DagsterInstance.local_temp(
        str(tmp_path), overrides={"telemetry": {"enabled": False}}
    ) as instance:
        yield instance


def report(instance: dg.DagsterInstance, run_id: str, message: str) -> None:
    """Report an event of a run, as Dagster does."""
    event = DagsterEvent("ENGINE_EVENT", "job", event_specific_data=EngineEventData({}), message=message)
    instance.report_dagster_event(event, run_id=run_id)


def messages(instance: dg.DagsterInstance, run_id: str) -> list[str | None]:
    """Return the messages of a run's events, in the order of their ids."""
    return [entry.dagster_event.message for entry in instance.all_logs(run_id) if entry.dagster_event]


def shard(instance: dg.DagsterInstance, run_id: str) -> str:
    """Return the SQLite file of a run's events."""
    storage = instance.event_log_storage
    assert isinstance(storage, SqliteEventLogStorage)
    return str(storage.path_for_shard(run_id))


def test_a_returned_event_is_on_disk_for_other_processes(instance: dg.DagsterInstance) -> None:
    """When the call returns, another connection reads the event; nothing waits in a buffer."""
    with open_event_log(instance, "run"):
        report(instance, "run", "first")
        with closing(sqlite3.connect(shard(instance, "run"))) as other:
            assert other.execute("select count(*) from event_logs").fetchone() == (1,)
    assert messages(instance, "run") == ["first"]


def test_the_database_keeps_its_durability(instance: dg.DagsterInstance) -> None:
    """The open connection has the journal and fsync settings of Dagster's own, so that power may fail."""
    with instance.event_log_storage.run_connection("run") as stock:
        expected = [
            stock.exec_driver_sql(f"pragma {name}").scalar() for name in ("journal_mode", "synchronous")
        ]
    used: list[Any] = []

    @db.event.listens_for(db.Engine, "before_cursor_execute")
    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT INTO event_logs"):
            used.append(
                [
                    cursor.connection.execute(f"pragma {name}").fetchone()[0]
                    for name in ("journal_mode", "synchronous")
                ]
            )

    try:
        with open_event_log(instance, "run"):
            report(instance, "run", "first")
    finally:
        db.event.remove(db.Engine, "before_cursor_execute", note)
    assert used == [expected]
    assert expected == ["wal", 2]


def test_threads_share_transactions_and_lose_nothing(instance: dg.DagsterInstance) -> None:
    """Events of 8 threads are all there, each thread's in its order, in fewer commits than events."""
    commits: list[object] = []

    def note(connection: db.Connection) -> None:
        commits.append(connection)

    db.event.listen(db.Engine, "commit", note)
    try:
        with open_event_log(instance, "run"):
            threads = [
                threading.Thread(target=lambda n=n: [report(instance, "run", f"{n} {i}") for i in range(25)])
                for n in range(8)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        db.event.remove(db.Engine, "commit", note)
    stored = messages(instance, "run")
    for n in range(8):
        assert [message for message in stored if message and message.startswith(f"{n} ")] == [
            f"{n} {i}" for i in range(25)
        ]
    assert len(stored) == 200
    assert len(commits) < 200


def test_runs_do_not_mix_and_the_storage_is_left_as_it_was(instance: dg.DagsterInstance) -> None:
    """Each run's events are in its own database; outside of the runs Dagster stores as it always did."""
    with open_event_log(instance, "one"):
        with open_event_log(instance, "two"):
            report(instance, "one", "of one")
            report(instance, "two", "of two")
            report(instance, "three", "of three")
        report(instance, "one", "of one still")
        assert "store_event" in vars(instance.event_log_storage)
    assert "store_event" not in vars(instance.event_log_storage)
    assert messages(instance, "one") == ["of one", "of one still"]
    assert messages(instance, "two") == ["of two"]
    assert messages(instance, "three") == ["of three"]


def test_an_event_that_is_not_stored_is_an_error(tmp_path: Path) -> None:
    """What the database raises reaches the thread whose event it was; the next event finds a new connection."""
    engine = db.create_engine(
        f"sqlite:///{tmp_path / 'no_tables.db'}", connect_args={"check_same_thread": False}
    )
    opened: list[db.Connection] = []

    @contextmanager
    def connect() -> Iterator[db.Connection]:
        with engine.connect() as connection:
            opened.append(connection)
            yield connection

    writer = EventWriter(connect)
    row = {"run_id": "run", "event": "{}"}
    with pytest.raises(db.exc.OperationalError, match="no such table"):
        writer.store(row)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "create table event_logs (id integer primary key, run_id text, event text, dagster_event_type text, "
            "timestamp text, step_key text, asset_key text, partition text)"
        )
    writer.store(row)
    assert len(opened) == 2
    writer.close()
    with engine.connect() as connection:
        assert connection.exec_driver_sql("select run_id from event_logs").fetchall() == [("run",)]
    engine.dispose()


def test_the_file_changes_while_the_run_goes_on(instance: dg.DagsterInstance) -> None:
    """Whoever watches the run's database file, as the UI does, sees each event without waiting for the end."""
    seen = threading.Event()

    def note(entry: dg.EventLogEntry, _cursor: str) -> None:
        if entry.dagster_event and entry.dagster_event.message == "second":
            seen.set()

    report(instance, "run", "first")
    with open_event_log(instance, "run"):
        instance.watch_event_logs("run", None, note)
        report(instance, "run", "second")
        assert seen.wait(15), "the event has not reached a watcher while the connection was open"
    instance.end_watch_event_logs("run", note)


def test_a_log_record_about_the_storing_is_stored_too(tmp_path: Path) -> None:
    """What a database driver logs while it stores an event is an event of the run later; nothing waits for itself."""
    engine = db.create_engine(f"sqlite:///{tmp_path / 'log.db'}", connect_args={"check_same_thread": False})
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "create table event_logs (id integer primary key, run_id text, event text, dagster_event_type text, "
            "timestamp text, step_key text, asset_key text, partition text)"
        )
    records = iter(["record"])

    def call(action: Callable[[], None]) -> None:
        for record in records:
            writer.store({"run_id": "run", "event": record})
        action()

    writer = EventWriter(engine.connect, call)
    thread = threading.Thread(target=writer.store, args=({"run_id": "run", "event": "event"},), daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    writer.close()
    with engine.connect() as connection:
        stored = connection.exec_driver_sql("select event from event_logs order by id").scalars().all()
    engine.dispose()
    assert stored == ["event", "record"]
