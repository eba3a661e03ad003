"""A ledger that cannot be used says so, names itself and the remedy, and loses nothing silently."""

import importlib.util
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, event, insert, text

from project_fanout.engine.errors import LedgerError
from project_fanout.engine.ledger import Ledger, LedgerFilter, default_ledger_url
from project_fanout.engine.ledger.rows import store
from project_fanout.engine.ledger.schema import METADATA, SCHEMA, SCHEMA_VERSION
from project_fanout.engine.ledger.writer import BatchWriter
from project_fanout_tests.cutting_proxy import CuttingProxy
from project_fanout_tests.engine.ledger.support import SCOPE, locked, make_entry, unprivileged
from project_fanout_tests.postgres import PostgresServer
from project_fanout_tests.processes import run_python
from project_fanout_tests.waiting import wait_until


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can reach, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def made(path: Path) -> Path:
    """Make a ledger with one outcome at *path*."""
    with Ledger(path) as ledger:
        ledger.put(make_entry("first"))
    return path


def units(path: Path) -> int:
    """Return how many outcomes the ledger at *path* holds."""
    with Ledger(path, create=False) as ledger:
        return len(ledger.entries(LedgerFilter()))


def test_a_lock_of_another_process_is_waited_for(tmp_path: Path) -> None:
    """While another process has the file locked, units go on; the outcomes are written when it lets go."""
    path = made(tmp_path / "ledger.db")
    with Ledger(path) as ledger, locked(path) as release:
        for number in range(100):
            ledger.put(make_entry(f"u{number}"))
        assert len(ledger.successes(SCOPE, 0, ["r1"])) == 101
        release.set()
        ledger.flush()
        assert units(path) == 101


def test_a_lock_that_stays_is_an_error_and_loses_nothing(tmp_path: Path) -> None:
    """After the limit the error names file and remedy; what was put is kept, and written by a later flush."""
    path = made(tmp_path / "ledger.db")
    with Ledger(path, lock_timeout_s=0.2) as ledger:
        with locked(path):
            ledger.put(make_entry("u2"))
            with pytest.raises(LedgerError) as raised:
                ledger.flush()
            for part in (str(path), "locked for 0.2 s", "End that process", "1 outcomes are not in it"):
                assert part in str(raised.value)
            with pytest.raises(LedgerError, match="locked"):
                ledger.put(make_entry("u3"))
        ledger.flush()
        ledger.put(make_entry("u3"))
    assert units(path) == 3


def test_close_says_what_it_could_not_write(tmp_path: Path) -> None:
    """A run that ends while the ledger cannot be written fails; it does not end as if all were there."""
    path = made(tmp_path / "ledger.db")
    ledger = Ledger(path, lock_timeout_s=0.2)
    with locked(path):
        ledger.put(make_entry("u2"))
        with pytest.raises(LedgerError, match="1 outcomes are not in it"):
            ledger.close()
    ledger.close()
    assert units(path) == 2
    with pytest.raises(LedgerError, match="has been closed"):
        ledger.put(make_entry("u3"))


def test_who_brings_too_much_is_held_up(tmp_path: Path) -> None:
    """While the database stalls, what waits in memory is bounded, and goes on when it writes again."""
    path = made(tmp_path / "ledger.db")
    with Ledger(path, max_waiting=10) as ledger:
        put: list[int] = []

        def bring() -> None:
            for number in range(25):
                ledger.put(make_entry(f"u{number}"))
                put.append(number)

        with locked(path) as release:
            thread = threading.Thread(target=bring)
            thread.start()
            wait_until(lambda: len(put) == 10, "ten are taken")
            thread.join(0.3)
            assert len(put) == 10
            release.set()
            thread.join(60)
        assert len(put) == 25
    assert units(path) == 26


def test_large_items_are_bounded_by_their_bytes() -> None:
    """A few huge results hold others up like many small ones do; a larger one passes alone."""
    may_write, written = threading.Event(), []

    def write(batch: "list[int]") -> None:
        may_write.wait(60)
        written.extend(batch)

    writer: BatchWriter[int] = BatchWriter(write, lambda size: size, max_bytes=100)
    writer.put(1_000)
    thread = threading.Thread(target=lambda: [writer.put(size) for size in (60, 60)])
    thread.start()
    thread.join(0.3)
    assert thread.is_alive()
    assert writer.waiting() == [1_000]
    may_write.set()
    thread.join(60)
    writer.close()
    assert written == [1_000, 60, 60]


def test_an_unexpected_error_is_told_too() -> None:
    """Also a failure that nobody thought of reaches those who put and flush."""

    def write(batch: object) -> None:
        raise RuntimeError("out of imagination")

    writer: BatchWriter[int] = BatchWriter(write, lambda size: size)
    writer.put(1)
    for _ in range(2):
        with pytest.raises(LedgerError, match="out of imagination"):
            writer.flush()
    with pytest.raises(LedgerError, match="out of imagination"):
        writer.put(2)
    with pytest.raises(LedgerError, match="out of imagination"):
        writer.close()


def test_a_missing_folder_is_made(tmp_path: Path) -> None:
    """A new machine needs no preparation."""
    assert units(made(tmp_path / "a" / "b" / "ledger.db")) == 1


def test_a_file_that_may_not_be_written(open_folder: Path) -> None:
    """A read-only ledger is refused when the run starts, not after its first hour."""
    path = made(open_folder / "ledger.db")
    path.chmod(0o444)
    open_folder.chmod(0o555)
    with unprivileged(), pytest.raises(LedgerError) as raised:
        Ledger(path)
    assert str(path) in str(raised.value)
    assert "this user may write" in str(raised.value) or "Allow this user to write" in str(raised.value)


def test_a_folder_that_may_not_be_made(open_folder: Path) -> None:
    """Where no folder can be made, the error names it and the variable to set."""
    with unprivileged(), pytest.raises(LedgerError, match=r"folder cannot be made.*FANOUT_LEDGER_URL"):
        Ledger(open_folder / "new" / "ledger.db")


def test_a_path_that_is_a_folder(tmp_path: Path) -> None:
    """A folder given in place of a file is named."""
    with pytest.raises(LedgerError, match=f"{tmp_path}: unable to open.*has to be a file"):
        Ledger(tmp_path)


def test_another_programs_file(tmp_path: Path) -> None:
    """A file that is no database is refused and left as it is."""
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but somebody's notes\n" * 100)
    before = path.read_bytes()
    with pytest.raises(LedgerError, match=rf"{path}: file is not a database.*Move it away"):
        Ledger(path)
    assert path.read_bytes() == before


def test_a_damaged_ledger(tmp_path: Path) -> None:
    """A ledger whose pages are damaged is an error with a remedy, not a run without its outcomes."""
    path = tmp_path / "ledger.db"
    with Ledger(path) as ledger:
        for number in range(300):
            ledger.put(make_entry(f"u{number}", encoded=f'"{"x" * 500}"'))
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096 * 2)
        file.write(b"\xa5" * (size - 4096 * 3))
    with pytest.raises(LedgerError, match=rf"{path}: database disk image is malformed.*Move it away"):
        units(path)


FILL_A_DISK = """
import resource, signal, sys
from project_fanout.engine.errors import LedgerError
from project_fanout.engine.ledger import Ledger
from project_fanout_tests.engine.ledger.support import make_entry
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
ledger = Ledger(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
try:
    for number in range(100):
        ledger.put(make_entry(f"u{number}", encoded='"' + "x" * 10_000 + '"'))
    ledger.flush()
except LedgerError as error:
    print(error)
else:
    sys.exit("nothing was noticed")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
ledger.close()
"""


def test_a_full_disk(tmp_path: Path) -> None:
    """Where the disk is full the run hears of it; once there is room, everything that was put is written."""
    path = tmp_path / "ledger.db"
    done = run_python("-c", FILL_A_DISK, str(path), home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert str(path) in done.stdout
    assert "Make room" in done.stdout
    assert units(path) == 100


def test_the_database_says_that_it_is_full(tmp_path: Path) -> None:
    """The same when SQLite itself says that there is no more room."""
    path = made(tmp_path / "ledger.db")
    with Ledger(path) as ledger:
        event.listen(
            ledger._database._engine, "connect", lambda raw, _: raw.execute("PRAGMA max_page_count = 40")
        )
        ledger._database._engine.dispose()
        ledger.put(make_entry("u2", encoded=f'"{"x" * 1_000_000}"'))
        with pytest.raises(LedgerError, match=r"full.*Make room"):
            ledger.flush()
        ledger._writer._waiting.clear()
    assert units(path) == 1


@pytest.mark.parametrize(("version", "age"), [(0, "an older"), (99, "a newer")])
def test_another_versions_ledger(tmp_path: Path, version: int, age: str) -> None:
    """A ledger of another version is refused with both versions, and left as it is."""
    path = made(tmp_path / "ledger.db")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE fanout_ledger_schema SET version = ?", [version])
    connection.close()
    with pytest.raises(
        LedgerError, match=rf"{path} has schema version {version}, of {age} .* version {SCHEMA_VERSION}"
    ):
        Ledger(path)


def test_a_ledger_that_is_not_there(tmp_path: Path) -> None:
    """Who only looks does not make a ledger."""
    path = tmp_path / "none" / "ledger.db"
    with pytest.raises(LedgerError, match=f"There is no ledger {path}"):
        Ledger(path, create=False)
    assert not path.parent.exists()
    (tmp_path / "empty.db").touch()
    with pytest.raises(LedgerError, match="holds no ledger"):
        Ledger(tmp_path / "empty.db", create=False)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite://", "in memory keeps nothing"),
        ("sqlite:///:memory:", "in memory keeps nothing"),
        ("nonsense://", "Install its SQLAlchemy dialect"),
        ("~nobody-of-this-name/x.db", "Could not determine home directory. Name another place"),
        ("a b://c", "not an SQLAlchemy URL"),
        pytest.param(
            "postgresql://me:hush@127.0.0.1:9/x?password=hush",
            "See that the database runs",
            marks=pytest.mark.skipif(
                importlib.util.find_spec("psycopg2") is None,
                reason="the extra is not installed: pip install 'project_fanout[postgres]'",
            ),
        ),
        ("postgresql+no_driver://me:hush@h/x", "Install its SQLAlchemy dialect"),
    ],
)
def test_urls_that_lead_nowhere(url: str, message: str) -> None:
    """A wrong URL is refused with what is accepted, and without the password in it."""
    with pytest.raises(LedgerError, match=message) as raised:
        Ledger(url, lock_timeout_s=0.2)
    assert "hush" not in str(raised.value)


@pytest.mark.parametrize("url", ["~/deep/fanout.db", "sqlite:///~/deep/fanout.db"])
def test_a_ledger_may_be_in_the_home(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~` is the user's home also where no shell expands it, and never a folder of that name."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    with Ledger(url):
        assert (tmp_path / "home" / "deep" / "fanout.db").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_where_the_ledger_is_by_default() -> None:
    """FANOUT_LEDGER_URL, else a file in Dagster's home, else an error that names both."""
    home = {"DAGSTER_HOME": "/srv/dagster"}
    assert default_ledger_url(environ={**home, "FANOUT_LEDGER_URL": "postgresql://h/x"}) == "postgresql://h/x"
    assert default_ledger_url(environ=home) == "/srv/dagster/fanout_ledger.db"
    assert default_ledger_url(home, home="/srv/instance") == "/srv/instance/fanout_ledger.db"
    with pytest.raises(LedgerError, match="Neither FANOUT_LEDGER_URL nor DAGSTER_HOME"):
        default_ledger_url(environ={})


def test_a_fingerprint_is_checked() -> None:
    """Something else in a fingerprint's place is refused by value: reuse would never find it."""
    with pytest.raises(LedgerError, match="'abc' is not a fingerprint"):
        make_entry(fingerprint="abc")


def test_a_postgres_that_restarts_is_waited_for(postgres_server: PostgresServer) -> None:
    """When the database server goes away during a run and comes back, nothing is lost and nobody notices."""
    url = postgres_server.new_database()
    with Ledger(url) as ledger:
        ledger.put(make_entry("before"))
        ledger.flush()
        postgres_server.stop()
        ledger.put(make_entry("during"))
        postgres_server.start()
        ledger.put(make_entry("after"))
        ledger.flush()
        assert len(ledger.successes(SCOPE, 0, ["r1"])) == 3


def test_a_connection_to_postgres_that_is_cut_anywhere(postgres_server: PostgresServer) -> None:
    """Cut at any message while the ledger is opened, written and read, it does not fail and loses nothing."""

    def used(url: str) -> int:
        with Ledger(url) as ledger:
            ledger.put(make_entry())
            ledger.flush()
            return len(ledger.entries(LedgerFilter()))

    with CuttingProxy(postgres_server.port) as proxy:

        def new_url() -> str:
            return postgres_server.new_database().replace(f":{postgres_server.port}/", f":{proxy.port}/")

        proxy.count()
        assert used(new_url()) == 1
        number = proxy.messages
        assert number > 20
        for message in range(0, number, 2):
            proxy.cut_at(message, "before" if message % 4 else "after")
            assert used(new_url()) == 1, message


def test_a_ledger_that_is_opened_while_postgres_restarts(postgres_server: PostgresServer) -> None:
    """A server that is just restarting when a run opens its ledger is waited for, too."""
    url = postgres_server.new_database()
    postgres_server.stop()
    with ThreadPoolExecutor(1) as threads:
        opened = threads.submit(Ledger, url)
        postgres_server.start()
        opened.result(60).close()


def test_a_postgres_table_that_is_locked(postgres_url: str) -> None:
    """A lock that somebody holds on the table ends in a clear error, too."""
    with Ledger(postgres_url, lock_timeout_s=0.3) as ledger:
        engine = create_engine(postgres_url)
        with engine.begin() as connection:
            connection.execute(text("LOCK TABLE fanout_outcomes IN ACCESS EXCLUSIVE MODE"))
            ledger.put(make_entry())
            with pytest.raises(LedgerError, match=r"lock timeout.*locked for 0\.3 s"):
                ledger.flush()
        engine.dispose()
        ledger.flush()
        assert len(ledger.entries(LedgerFilter())) == 1


@contextmanager
def open_transaction(url: str) -> Iterator[Connection]:
    """Be another process in the middle of a transaction; it commits when somebody waits for it."""
    engine = create_engine(url)

    def somebody_waits() -> bool:
        query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        with engine.connect() as connection:
            return bool(connection.scalar(text(query)))

    with engine.connect() as connection, connection.begin():
        yield connection
        wait_until(somebody_waits, "the ledger waits for this transaction")
    engine.dispose()


def test_a_postgres_ledger_that_another_run_is_just_making(postgres_url: str) -> None:
    """Two runs that make the tables at the same moment: the second goes on with those of the first."""
    with ThreadPoolExecutor(1) as threads:
        with open_transaction(postgres_url) as connection:
            METADATA.create_all(connection)
            connection.execute(insert(SCHEMA).values(version=SCHEMA_VERSION))
            opened = threads.submit(Ledger, postgres_url)
        opened.result(60).close()


def test_an_outcome_that_another_run_is_just_writing(postgres_url: str) -> None:
    """Two runs that write one unit at the same moment: the success stays, whoever comes first."""
    success = make_entry()
    with Ledger(postgres_url) as ledger:
        with open_transaction(postgres_url) as connection:
            store(connection, [success])
            ledger.put(make_entry(status="failed", encoded=None))
        ledger.flush()
        assert ledger.entries(LedgerFilter()) == [success]
