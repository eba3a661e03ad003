"""With Postgres a run keeps one connection for its events, and survives the loss of it."""

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as db

from project_fanout.orchestration.executor import database_server, event_log
from project_fanout.orchestration.executor.database_server import DatabaseServerLostError
from project_fanout.orchestration.internals import DagsterEvent, EngineEventData
from project_fanout_tests.cutting_proxy import CUTS, CuttingProxy
from project_fanout_tests.orchestration.executor import executor_jobs, postgres_jobs, postgres_work
from project_fanout_tests.postgres import PostgresServer
from project_fanout_tests.waiting import wait_until

pytest.importorskip("dagster_postgres")


@pytest.fixture
def server(postgres_server: PostgresServer) -> PostgresServer:
    """The server of all tests, which these restart: no other test uses it meanwhile, or counts on a connection."""
    return postgres_server


@pytest.fixture(scope="module")
def with_tables(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a database in which Dagster has made its tables: that takes longer than a copy of it."""
    url = postgres_server.new_database()
    opened(url, tmp_path_factory.mktemp("home")).dispose()
    return url


@pytest.fixture
def url(server: PostgresServer, with_tables: str) -> str:
    return server.new_database(with_tables)


def opened(url: str, home: Path) -> dg.DagsterInstance:
    """Return an instance whose storage is the database at *url*."""
    settings = {"storage": {"postgres": {"postgres_url": url}}, "telemetry": {"enabled": False}}
    return dg.DagsterInstance.local_temp(str(home), overrides=settings)


@pytest.fixture
def instance(url: str, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with opened(url, tmp_path) as instance:
        yield instance


def report(instance: dg.DagsterInstance, message: str) -> None:
    """Report an event of the run `run`, as Dagster does."""
    event = DagsterEvent("ENGINE_EVENT", "job", event_specific_data=EngineEventData({}), message=message)
    instance.report_dagster_event(event, run_id="run")


def messages(instance: dg.DagsterInstance) -> list[str | None]:
    """Return the messages of the run `run`, in the order of their ids."""
    return [entry.dagster_event.message for entry in instance.all_logs("run") if entry.dagster_event]


def history(instance: dg.DagsterInstance, run_id: str) -> Counter[tuple[str | None, str]]:
    """Count a run's events by step and type, and the log lines of its ops by step and text.

    Which of the steps that start together notes for the run that it opened the pool is chance.
    """
    found = Counter[tuple[str | None, str]]()
    for entry in instance.all_logs(run_id):
        if event := entry.dagster_event:
            step = "some step" if event.is_engine_event and entry.step_key else entry.step_key
            found[step, event.event_type_value] += 1
        elif entry.user_message.startswith("line "):
            found[entry.step_key, entry.user_message] += 1
    return found


def test_a_job_writes_the_same_events_over_fewer_connections(instance: dg.DagsterInstance) -> None:
    """A job over Postgres has the events that it has in process, and does not connect for each."""
    connections: dict[str, int] = {}
    histories = []
    for executor in executor_jobs.EXECUTORS:

        def note(*_: object, executor: str = executor) -> None:
            connections[executor] = connections.get(executor, 0) + 1

        db.event.listen(db.Pool, "connect", note)
        try:
            result = dg.execute_job(executor_jobs.reconstructable("chain_of_maps", executor), instance)
        finally:
            db.event.remove(db.Pool, "connect", note)
        assert result.success
        histories.append(
            sorted(
                (entry.step_key or "", entry.dagster_event.event_type_value)
                for entry in instance.all_logs(result.run_id)
                if entry.step_key and entry.dagster_event
            )
        )
    assert histories[0] == histories[1]
    assert connections["fanout"] < connections["in_process"] - len(histories[0]) / 2


def test_a_connection_that_the_server_has_closed_is_replaced(
    instance: dg.DagsterInstance, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event after a quiet time finds a connection, also when the server has dropped the old one."""
    monkeypatch.setattr(event_log, "_IDLE_S", 0.0)
    with event_log.open_event_log(instance, "run"):
        report(instance, "one")
        # One that its client has closed may linger for a moment: the server ends it by and by.
        assert server.cut_connections() >= 1
        report(instance, "two")
    assert messages(instance) == ["one", "two"]


# ---- the whole run -----------------------------------------------------------------------------


@pytest.fixture
def marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of marks of the test's run."""
    folder = tmp_path / "marks"
    folder.mkdir()
    monkeypatch.setenv(postgres_work.MARKS, str(folder))
    return folder


Undisturbed = dict[str, tuple[Any, Counter[tuple[str | None, str]]]]


@pytest.fixture(scope="module")
def undisturbed(
    postgres_server: PostgresServer, with_tables: str, tmp_path_factory: pytest.TempPathFactory
) -> Undisturbed:
    """Result and history of each job when nothing happens."""
    url = postgres_server.new_database(with_tables)
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("marks")
    with pytest.MonkeyPatch.context() as patch, opened(url, home) as instance:
        patch.setenv(postgres_work.MARKS, str(folder))
        patch.setenv(postgres_work.LEDGER, url)
        runs = {job: postgres_jobs.execute(instance, job) for job in ("ops", "fanout")}
        return {job: (result, history(instance, run_id)) for job, (run_id, result) in runs.items()}


def executed_while(
    action: Callable[[], object], after: list[int], marks: Path, instance: dg.DagsterInstance, job: str
) -> tuple[str, Any]:
    """Run a job in a thread, and do *action* whenever it has run so many units.

    Not the other way round: a server ends with the thread that has started it.
    """
    with ThreadPoolExecutor(1) as threads:
        run = threads.submit(postgres_jobs.execute, instance, job)
        for units in after:
            wait_until(
                lambda units=units: run.done() or len(os.listdir(marks)) >= units, f"{units} units run", 120
            )
            assert not run.done()
            action()
        return run.result()


@pytest.mark.parametrize("fault", ["one cut", "many cuts", "restart"])
@pytest.mark.parametrize("job", ["ops", "fanout"])
def test_a_run_survives_lost_connections(
    server: PostgresServer,
    instance: dg.DagsterInstance,
    url: str,
    marks: Path,
    undisturbed: Undisturbed,
    monkeypatch: pytest.MonkeyPatch,
    job: str,
    fault: str,
) -> None:
    """Connections cut, or the server restarted at once, in the middle of a run: nobody can tell afterwards.

    The result is that of an undisturbed run, every event and log line is there once, each unit ran once.
    """
    monkeypatch.setenv(postgres_work.LEDGER, url)
    action = server.restart if fault == "restart" else server.cut_connections
    after = list(range(2, 30, 4)) if fault == "many cuts" else [12]
    run_id, result = executed_while(action, after, marks, instance, job)
    expected, events = undisturbed[job]
    assert result == expected
    assert history(instance, run_id) == events
    units = [f"{number} {unit}" for number in range(postgres_work.ITEMS) for unit in range(4)]
    assert {mark.name: mark.read_text() for mark in marks.iterdir()} == dict.fromkeys(units, "x")
    if job == "ops":
        lines = {f"line {line} of {number}": 1 for number in range(postgres_work.ITEMS) for line in range(4)}
        assert {text: count for (_, text), count in events.items() if text.startswith("line ")} == lines


def test_a_server_that_stays_away_fails_the_run(
    server: PostgresServer,
    instance: dg.DagsterInstance,
    marks: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The run ends with one sentence that names server and database and says what to do, without the password."""
    monkeypatch.setattr(database_server, "WAIT_S", 1.0)
    try:
        with pytest.raises(
            DatabaseServerLostError,
            match=rf"storage at 127\.0\.0\.1:{server.port}, database t\w+ could not be reached for 1 s: .*refused"
            r".*Check that the server is running.*re-execute the run",
        ):
            executed_while(server.stop, [12], marks, instance, "ops")
    finally:
        server.start()
    assert len(os.listdir(marks)) < 4 * postgres_work.ITEMS
    assert "could not be reached for 1 s" in capfd.readouterr().err
    # The next run in this process finds the server again.
    postgres_jobs.execute(instance, "ops")


def test_the_wait_is_a_minute() -> None:
    """A server has the 60 s to come back that docs/executor.md promises."""
    assert database_server.WAIT_S == 60


def test_an_interrupted_run_does_not_wait_for_the_server(
    server: PostgresServer, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever terminates a run while the database is away does not wait out the minute; the next run would."""
    monkeypatch.setattr(database_server, "_HURRIED_WAIT_S", 0.0)
    interrupted = threading.Event()
    errors: list[BaseException] = []

    def store() -> None:
        try:
            report(instance, "two")
        except DatabaseServerLostError as error:
            errors.append(error)

    with event_log.open_event_log(instance, "run", interrupted):
        report(instance, "one")
        server.stop()
        try:
            thread = threading.Thread(target=store, daemon=True)
            thread.start()
            thread.join(3)
            assert thread.is_alive(), "a server that is away is waited for"
            interrupted.set()
            thread.join(10)
            assert not thread.is_alive()
        finally:
            server.start()
    assert len(errors) == 1
    with event_log.open_event_log(instance, "run"):
        report(instance, "three")
        server.cut_connections()
        report(instance, "four")
    assert messages(instance) == ["one", "three", "four"]


# ---- one event ---------------------------------------------------------------------------------


def materialize(instance: dg.DagsterInstance, message: str) -> None:
    """Report a materialisation, which Dagster also writes to its tables of assets and of their tags."""
    event = dg.AssetMaterialization("asset", description=message, tags={"dagster/partition/x": message})
    instance.report_dagster_event(
        DagsterEvent(
            "ASSET_MATERIALIZATION",
            "job",
            step_key="step",
            event_specific_data=_materialization_data(event),
            message=message,
        ),
        run_id="run",
    )


def _materialization_data(event: dg.AssetMaterialization) -> Any:
    from dagster._core.events import StepMaterializationData

    return StepMaterializationData(event, [])


@pytest.mark.parametrize("kind", [report, materialize], ids=["an event", "an asset event"])
def test_an_event_is_stored_once_wherever_its_connection_is_cut(
    server: PostgresServer, url: str, tmp_path: Path, kind: Callable[[dg.DagsterInstance, str], None]
) -> None:
    """Cut at any message of an event's way, COMMIT above all: the event is neither lost nor there twice.

    The message is lost before it has reached the server, or its answer is; or it is still on its way, and the
    transaction open, while the event is already being written again.
    """
    with CuttingProxy(server.port) as proxy:
        url_of_proxy = url.replace(f":{server.port}/", f":{proxy.port}/")
        expected = []
        with opened(url_of_proxy, tmp_path) as instance:
            with event_log.open_event_log(instance, "run"):
                store = partial(kind, instance)
                store("first")
                proxy.count()
                store("second")
                number = proxy.messages
                assert number >= 3  # BEGIN, INSERT, COMMIT
                for message in range(number):
                    for how in CUTS:
                        expected.append(f"{how} {message}")
                        proxy.cut_at(message, how)
                        store(expected[-1])
                        assert proxy.has_cut
            assert messages(instance) == ["first", "second", *expected]
    if kind is materialize:
        engine = db.create_engine(url)
        with engine.connect() as connection:
            tags = connection.exec_driver_sql(
                "select value from asset_event_tags order by event_id"
            ).scalars()
            assert list(tags) == ["first", "second", *expected]
        engine.dispose()


def test_threads_whose_connection_is_cut_lose_nothing(
    server: PostgresServer, instance: dg.DagsterInstance
) -> None:
    """Events of 8 threads that share transactions are all there, each once and each thread's in its order."""
    with event_log.open_event_log(instance, "run"):
        threads = [
            threading.Thread(target=lambda n=n: [report(instance, f"{n} {i}") for i in range(25)])
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                server.cut_connections()
                thread.join(0.2)
    stored = messages(instance)
    for n in range(8):
        assert [message for message in stored if message and message.startswith(f"{n} ")] == [
            f"{n} {i}" for i in range(25)
        ]
    assert len(stored) == 200


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("alter table event_logs add check (event not like '%%refused%%')", db.exc.IntegrityError),
        ("alter table event_logs rename to moved", db.exc.ProgrammingError),
    ],
    ids=["a constraint", "a table that is gone"],
)
def test_what_no_connection_helps_is_an_error_at_once(
    instance: dg.DagsterInstance, url: str, statement: str, error: type[Exception]
) -> None:
    """A row that the database refuses is the error of its event, as with Dagster alone; nobody waits a minute."""
    engine = db.create_engine(url)
    with event_log.open_event_log(instance, "run"):
        report(instance, "first")
        with engine.begin() as connection:
            connection.exec_driver_sql(statement)
        with pytest.raises(error):
            report(instance, "refused")
    engine.dispose()
