"""A ledger of an earlier version is upgraded where it stands, and what it holds is found again."""

import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier, BrokenBarrierError

import pytest
from sqlalchemy import create_engine, event, inspect

from project_fanout.engine.fingerprint import unit_fingerprint
from project_fanout.engine.ledger import Ledger
from project_fanout.engine.ledger.migrations import stored_version
from project_fanout.engine.ledger.schema import METADATA, SCHEMA_VERSION
from project_fanout_tests.engine.ledger.support import SCOPE, make_entry
from project_fanout_tests.postgres import PostgresServer

#: Dumps of ledgers in SQLite, each written by the code of its time: the first version is that of release 0.1.
DUMPS = {version: Path(__file__).with_name(f"ledger_v{version}.sql") for version in range(1, SCHEMA_VERSION)}


@pytest.fixture(params=[(kind, version) for version in DUMPS for kind in ("sqlite", "postgres")])
def earlier(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database that holds a ledger of an earlier version."""
    kind, version = request.param
    script = DUMPS[version].read_text(encoding="utf-8")
    if kind == "sqlite":
        with sqlite3.connect(tmp_path / "ledger.db") as connection:
            connection.executescript(script)
        connection.close()
        return str(tmp_path / "ledger.db")
    url: str = request.getfixturevalue("postgres_url")
    script = re.sub(r"X'([0-9A-F]*)'", r"'\\x\1'", script).replace("BLOB", "BYTEA")
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(script)
    engine.dispose()
    return url


def test_an_earlier_ledger_is_upgraded_in_place(earlier: str) -> None:
    """Its outcomes are what a run of its lineage takes instead of running them; new ones are added."""
    with Ledger(earlier) as ledger:
        found = ledger.successes(SCOPE, 0, ["r1"])
        assert found["r1", "u1"].outcome.result == {"words": 3}
        assert found["r1", "u1"].fingerprint == unit_fingerprint("stages:count_words", "u1", '"u1"', "{}")
        assert found["r1", "ещё \0"].outcome.result == "Zażółć"
        assert found["r1", "fans out"].outcome.fanout == (("child", "[1]"), ("ещё", "null"))
        if "packed" in {unit_key for _, unit_key in found}:  # since version 2
            assert found["r1", "packed"].outcome.encoded == b"\xc1\x01more than JSON"
        ledger.put(make_entry("new", encoded=b"\xc1\x01more than JSON", cpu_seconds=0.5, peak_mb=20.5))
    with Ledger(earlier) as ledger:
        new = ledger.successes(SCOPE, 0, ["r1"])["r1", "new"].outcome
        assert (new.encoded, new.cpu_seconds, new.peak_mb) == (b"\xc1\x01more than JSON", 0.5, 20.5)
        (summary,) = ledger.scopes()
        assert summary.units == {"failed": 1, "succeeded": len(found) + 1}
        assert ledger.rate("pages", 1000).next_start().at > 0


def test_an_upgraded_ledger_has_the_tables_of_a_new_one(earlier: str, tmp_path: Path) -> None:
    """Column by column, so that no later version has to tell the two apart."""
    Ledger(earlier).close()
    Ledger(tmp_path / "new.db").close()
    columns = []
    for url in (earlier, str(tmp_path / "new.db")):
        engine = create_engine(url if "://" in url else f"sqlite:///{url}")
        with engine.connect() as connection:
            assert stored_version(connection) == SCHEMA_VERSION
            found = inspect(connection)
            columns.append(
                {
                    table: {column["name"]: column["nullable"] for column in found.get_columns(table)}
                    for table in METADATA.tables
                }
            )
        engine.dispose()
    assert columns[0] == columns[1]


def test_many_processes_upgrade_at_once(earlier: str) -> None:
    """Whoever comes second finds it done."""
    with ThreadPoolExecutor(8) as threads:
        for ledger in threads.map(Ledger, [earlier] * 8):
            assert len(ledger.successes(SCOPE, 0, ["r1"])) >= 3
            ledger.close()


def test_new_tables_are_made_once_by_many_at_once(postgres_server: PostgresServer) -> None:
    """Four that have all found nothing: PostgreSQL refuses their CREATE TABLE in several ways, by chance."""
    url = postgres_server.new_database()
    met = Barrier(4)
    made = []

    def meet(*_: object, **__: object) -> None:
        made.append(url)
        with suppress(BrokenBarrierError):  # as it must be: one makes them, the others wait for it
            met.wait(1)

    event.listen(METADATA, "before_create", meet)
    try:
        with ThreadPoolExecutor(4) as threads:
            for number, ledger in enumerate(threads.map(Ledger, [url] * 4)):
                ledger.put(make_entry(f"u{number}"))
                ledger.close()
    finally:
        event.remove(METADATA, "before_create", meet)
    assert made == [url]
    with Ledger(url) as ledger:
        assert len(ledger.successes(SCOPE, 0, ["r1"])) == 4
