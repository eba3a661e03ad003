"""Where Dagster's own storage is PostgreSQL, the ledger is there, too, and other pods go on with it."""

import json
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import create_engine, inspect, text

from project_fanout.command.opened_ledger import opened_ledger
from project_fanout.engine.ledger import Ledger, LedgerFilter
from project_fanout.orchestration import LedgerResource
from project_fanout_tests.orchestration.resumed_jobs import Settings, run
from project_fanout_tests.postgres import PostgresServer

pytest.importorskip("dagster_postgres")
HOW = Settings("in_process")
UNITS = 6


@pytest.fixture(scope="module")
def with_tables(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a database in which Dagster has made its tables: that takes longer than a copy of it."""
    url = postgres_server.new_database()
    pod(url, tmp_path_factory.mktemp("pods"), "first").dispose()
    return url


@pytest.fixture
def url(postgres_server: PostgresServer, with_tables: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database of Dagster's; the shell names no ledger."""
    monkeypatch.delenv("FANOUT_LEDGER_URL", raising=False)
    return postgres_server.new_database(with_tables)


def pod(url: str, path: Path, name: str = "pod", **storage: Any) -> dg.DagsterInstance:
    """Open the instance of a pod: with a home of its own, and the database of all."""
    home = path / name
    home.mkdir(parents=True, exist_ok=True)
    (path / "work").mkdir(exist_ok=True)
    (home / "dagster.yaml").write_text(
        json.dumps(
            {
                "telemetry": {"enabled": False},
                "storage": {"postgres": storage or {"postgres_url": url}},
            }
        )
    )
    return dg.DagsterInstance.from_config(str(home))


def ran(path: Path) -> int:
    """Return how many units have run, and forget them."""
    journal = path / "work" / "journal"
    found = len(journal.read_text().split()) if journal.exists() else 0
    journal.unlink(missing_ok=True)
    return found


def failed_run(instance: dg.DagsterInstance, path: Path) -> str:
    """Run until the last unit fails; return the run's id."""
    (path / "work" / "fail 1.2").touch()
    result = run(instance, path / "work", HOW)
    assert not result.success
    (path / "work" / "fail 1.2").unlink()
    assert ran(path) == UNITS
    return result.run_id


def warnings(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """Return the warnings in a run's log that name a ledger."""
    found = [event.message for event in instance.all_logs(run_id) if event.level >= 30]
    return [message for message in found if "ledger" in message]


def test_another_pod_goes_on_where_the_first_one_ended(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nothing set but Dagster's database, a re-execution from another home runs what had failed alone."""
    with pod(url, tmp_path) as instance:
        earlier = failed_run(instance, tmp_path)
    with pod(url, tmp_path, "other") as instance:
        again = run(instance, tmp_path / "work", HOW, dg.ReexecutionOptions(parent_run_id=earlier))
        assert again.success
        assert ran(tmp_path) == 1
        assert warnings(instance, again.run_id) == []
    assert not list(tmp_path.glob("*/fanout_ledger.db"))
    # `fanout` in a shell of that pod reads the same ledger.
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "other"))
    with opened_ledger(None) as ledger:
        assert len(ledger.entries(LedgerFilter(lineage=earlier))) == UNITS


def test_the_settings_of_the_database_one_by_one(url: str, tmp_path: Path) -> None:
    """A password with signs of its own, and options such as a schema, are those of Dagster's connection."""
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA apart"))
    database = {
        "username": "tester",
        "password": "s%c:r/e#t@?",
        "hostname": "127.0.0.1",
        "port": int(url.rpartition(":")[2].partition("/")[0]),
        "db_name": url.rpartition("/")[2],
        "scheme": "postgresql+psycopg2",
        "params": {"options": "-c search_path=apart"},
    }
    with pod(url, tmp_path, postgres_db=database) as instance:
        result = run(instance, tmp_path / "work", HOW)
        assert result.success
        assert not [event for event in instance.all_logs(result.run_id) if "c:r/e#t" in event.to_json()]
    assert "fanout_outcomes" in inspect(engine).get_table_names(schema="apart")
    engine.dispose()


@pytest.mark.parametrize("named", ["the environment", "the home"])
def test_a_ledger_that_is_there_stays_in_use(
    named: str, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What FANOUT_LEDGER_URL names, and a file that the home holds from before, comes before the database."""
    file = tmp_path / "pod" / "fanout_ledger.db"
    if named == "the environment":
        file = tmp_path / "named.db"
        monkeypatch.setenv("FANOUT_LEDGER_URL", str(file))
    with pod(url, tmp_path) as instance:
        with Ledger(file):
            pass
        earlier = failed_run(instance, tmp_path)
        monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "pod"))
        with opened_ledger(None) as ledger:
            assert ledger.name == str(file)
            assert len(ledger.entries(LedgerFilter(lineage=earlier))) == UNITS
    engine = create_engine(url)
    assert "fanout_outcomes" not in inspect(engine).get_table_names()
    engine.dispose()


def test_a_user_who_may_make_no_tables(url: str, tmp_path: Path) -> None:
    """Where Dagster's user may only use its tables, the ledger is the file as before, and the log says so."""
    name = url.rpartition("/")[2]
    statements = f"""
        DROP ROLE IF EXISTS clerk;
        CREATE ROLE clerk LOGIN;
        GRANT ALL ON ALL TABLES IN SCHEMA public TO clerk;
        GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO clerk;
        GRANT CONNECT ON DATABASE "{name}" TO clerk;
        REVOKE CREATE ON SCHEMA public FROM PUBLIC;
    """
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(statements)
    engine.dispose()
    with pod(url.replace("tester@", "clerk:secret@"), tmp_path) as instance:
        result = run(instance, tmp_path / "work", HOW)
        assert result.success
        [warning] = warnings(instance, result.run_id)
    file = tmp_path / "pod" / "fanout_ledger.db"
    for part in ("permission denied", str(file), "LedgerResource(url=...)", "FANOUT_LEDGER_URL"):
        assert part in warning
    assert "secret" not in warning
    with Ledger(file, create=False) as ledger:
        assert len(ledger.entries(LedgerFilter(lineage=result.run_id))) == UNITS


def test_a_driver_that_is_missing(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the driver that the ledger needs it is the file, and the log says what to install."""
    said: list[str] = []
    with pod(url, tmp_path) as instance, dg.build_init_resource_context(instance=instance) as context:
        assert context.log is not None
        monkeypatch.setattr(context.log, "warning", said.append)
        resource = LedgerResource()
        resource.setup_for_execution(context)
        with monkeypatch.context() as hidden:
            hidden.setitem(sys.modules, "psycopg2", None)
            assert resource.ledger is not None
        assert resource.ledger.name == str(tmp_path / "pod" / "fanout_ledger.db")
        resource.teardown_after_execution(context)
    [warning] = said
    assert "pip install 'project_fanout[postgres]'" in warning and "fanout_ledger.db" in warning
