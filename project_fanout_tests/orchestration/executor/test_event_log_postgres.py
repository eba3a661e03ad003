"""With Postgres a run keeps one connection for its events, and loses none."""

import getpass
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as db

from project_fanout_tests.orchestration.executor import executor_jobs

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


def as_postgres_may(command: list[str]) -> None:
    """Run *command*, as `nobody` if we are root: Postgres refuses to run as root."""
    prefix = (
        ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        if getpass.getuser() == "root"
        else []
    )
    subprocess.run([*prefix, *command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A Postgres server on loopback, and its URL."""
    pytest.importorskip("dagster_postgres")
    if not BINARIES or (getpass.getuser() == "root" and shutil.which("setpriv") is None):
        pytest.skip("no Postgres server is installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Not pytest's folder, which only its owner may enter.
    with tempfile.TemporaryDirectory() as folder:
        if getpass.getuser() == "root":
            shutil.chown(folder, "nobody")
        data = os.path.join(folder, "data")
        as_postgres_may([str(BINARIES[-1] / "initdb"), "-D", data, "-A", "trust", "-U", "postgres"])
        server = [str(BINARIES[-1] / "pg_ctl"), "-D", data, "-w"]
        options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder}"
        as_postgres_may([*server, "-o", options, "-l", os.path.join(folder, "log"), "start"])
        try:
            yield f"postgresql+psycopg2://postgres@127.0.0.1:{port}/postgres"
        finally:
            as_postgres_may([*server, "-m", "immediate", "stop"])


@pytest.fixture
def instance(url: str, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    settings = {"storage": {"postgres": {"postgres_url": url}}, "telemetry": {"enabled": False}}
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides=settings) as instance:
        yield instance


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


def test_a_connection_that_the_server_has_closed_is_replaced(instance: dg.DagsterInstance, url: str) -> None:
    """An event after a quiet time finds a connection, also when the server has dropped the old one."""
    from project_fanout.orchestration.executor import event_log
    from project_fanout.orchestration.internals import DagsterEvent, EngineEventData

    event = DagsterEvent("ENGINE_EVENT", "job", event_specific_data=EngineEventData({}), message="here")
    engine = db.create_engine(url, isolation_level="AUTOCOMMIT")
    with pytest.MonkeyPatch.context() as patch, event_log.open_event_log(instance, "run"):
        patch.setattr(event_log, "_IDLE_S", 0.0)
        instance.report_dagster_event(event, run_id="run")
        with engine.connect() as other:
            other.exec_driver_sql(
                "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() "
                "and backend_type = 'client backend'"
            )
        instance.report_dagster_event(event, run_id="run")
    engine.dispose()
    assert len(instance.all_logs("run")) == 2
