"""The database of a ledger: opened and checked once, then read and written in patient transactions."""

import os
import random
import sqlite3
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, insert, update
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)

from project_fanout.engine.errors import LedgerError
from project_fanout.engine.ledger.migrations import stored_version, upgrade
from project_fanout.engine.ledger.schema import METADATA, SCHEMA, SCHEMA_VERSION
from project_fanout.file_systems import FileSystem, file_system

_T = TypeVar("_T")

#: Name of the environment variable that says where the ledger is.
LEDGER_URL = "FANOUT_LEDGER_URL"
#: And of the one that says where its large values are.
VALUES_URL = "FANOUT_VALUES_URL"
#: Name of the file in the home of a Dagster instance.
LEDGER_FILE = "fanout_ledger.db"

#: PostgreSQL's codes of errors that pass: serialization failure, deadlock, server starting or going down, a
#: connection ended because it was idle, too many of them, and another process inserted the row between our look
#: and our insert.
_PASSING_STATES = frozenset({"40001", "40P01", "57P01", "57P02", "57P03", "57P05", "25P03", "53300", "23505"})
#: And of those that say what this user may not: write, write to a replica, make tables anywhere.
_REFUSING_STATES = frozenset({"42501", "25006", "3F000"})
#: How SQLite calls errors of locks and of memory that is mapped; disks that are full or broken have other names.
_SERVICES = (
    "SQLITE_IOERR_LOCK",
    "SQLITE_IOERR_RDLOCK",
    "SQLITE_IOERR_UNLOCK",
    "SQLITE_IOERR_SHM",
    "SQLITE_PROTOCOL",
)
#: PostgreSQL's advisory lock of whoever makes or changes the ledger's tables: "fanout" in ASCII.
_TABLES_LOCK = int.from_bytes(b"fanout", "big")
#: Seconds to wait for a server that has not answered yet: it may be restarting, but its address may be wrong.
_FIRST_WAIT_S = 10.0


def default_ledger_url(environ: Mapping[str, str] = os.environ, *, home: str | Path | None = None) -> str:
    """Return where the ledger is: FANOUT_LEDGER_URL, else fanout_ledger.db in *home* or DAGSTER_HOME.

    Raises:
        LedgerError: neither is set.
    """
    if url := environ.get(LEDGER_URL):
        return url
    if home := home or environ.get("DAGSTER_HOME"):
        return str(Path(home).expanduser() / LEDGER_FILE)
    raise LedgerError(
        f"Neither {LEDGER_URL} nor DAGSTER_HOME is set, so there is no place for the ledger. Set "
        f"{LEDGER_URL} to a file or to an SQLAlchemy URL such as postgresql://user@host/database."
    )


def default_values_url(
    ledger_url: str, environ: Mapping[str, str] = os.environ, *, home: str | Path | None = None
) -> str | None:
    """Return where the large values of a ledger are: FANOUT_VALUES_URL, else beside its file, else in *home*.

    None if the ledger is on a server and there is no home: then large values are in it as well.
    """
    if given := environ.get(VALUES_URL):
        return given
    url = _parsed(ledger_url)
    if url.get_backend_name() == "sqlite" and url.database and not url.database.startswith("file:"):
        path = Path(url.database).expanduser().absolute()
        return str(path.with_name(f"{path.stem}_values"))
    home = home or environ.get("DAGSTER_HOME")
    return str(Path(home).expanduser() / "fanout_values") if home else None


def is_refused(error: LedgerError) -> bool:
    """Tell whether a ledger could not be opened because its driver is missing or its user may not make its tables."""
    cause = error.__cause__
    if isinstance(cause, DBAPIError):
        return getattr(cause.orig, "pgcode", None) in _REFUSING_STATES
    return isinstance(cause, (ModuleNotFoundError, NoSuchModuleError))


class LedgerDatabase:
    """One database, opened; safe to use from many threads, and from many processes that each open it.

    Args:
        url: an SQLAlchemy URL or the path of an SQLite file, perhaps with `~`. SQLite and PostgreSQL are tested.
        create: make the folder, the file and the tables where they are missing.
        lock_timeout_s: seconds that a transaction waits for locks of others, and for a server that
            went away, before it is given up; a server that has not answered yet gets 10 at most.

    Raises:
        LedgerError: it cannot be opened, it was written by another version, or, with *create*, it
            cannot be written.
    """

    def __init__(self, url: str | Path, *, create: bool = True, lock_timeout_s: float = 60.0) -> None:
        self._url = _parsed(url)
        self._lock_timeout_s = lock_timeout_s
        self._answered = False
        self._is_sqlite = self._url.get_backend_name() == "sqlite"
        if self._is_sqlite:
            self._check_folder(create=create)
        self._engine = self._make_engine()
        try:
            self._open(create=create)
        except BaseException:
            self._engine.dispose()
            raise

    @property
    def name(self) -> str:
        """What messages call it: the file, or the URL without password and options."""
        if self._is_sqlite and self._url.database:
            return self._url.database
        return self._url.set(query={}).render_as_string(hide_password=True)

    def read(self, work: Callable[[Connection], _T]) -> _T:
        """Return what *work* returns in a transaction that only reads; on SQLite it waits for no writer.

        Raises:
            LedgerError: it could not be read.
        """
        return self._patiently(lambda: self._transaction(work, writes=False))

    def write(self, work: Callable[[Connection], _T]) -> _T:
        """Return what *work* returns in a transaction that is on disk when this returns.

        *work* is called again when another process came in between.

        Raises:
            LedgerError: it could not be written; then nothing of it has been.
        """
        return self._patiently(lambda: self._transaction(work, writes=True))

    def reclaim(self) -> None:
        """Give the disk space of removed rows back, where the database does not do so by itself."""
        if self._is_sqlite:
            self._patiently(lambda: self._pragma("incremental_vacuum"))

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _check_folder(self, *, create: bool) -> None:
        database = self._url.database
        if not database or database == ":memory:" or self._url.query.get("mode") == "memory":
            raise LedgerError(
                "An SQLite ledger in memory keeps nothing. Name a file, e.g. sqlite:////var/lib/fanout_ledger.db."
            )
        if database.startswith("file:"):
            return
        try:
            path = Path(database).expanduser().absolute()
        except RuntimeError as error:
            raise LedgerError(f"Ledger {database}: {error} Name another place in {LEDGER_URL}.") from None
        self._url = self._url.set(database=str(path))
        if not create and not path.exists():
            raise LedgerError(f"There is no ledger {path}. Fan-outs make it, where {LEDGER_URL} names it.")
        if create:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise LedgerError(
                    f"Ledger {path}: its folder cannot be made: {error}. Name another place in {LEDGER_URL}."
                ) from error

    def _make_engine(self) -> Engine:
        # Threads of one run share a few connections: PostgreSQL serves 100 in all by default.
        settings: dict[str, Any] = {"pool_size": 2, "max_overflow": 6, "pool_timeout": self._lock_timeout_s}
        if self._is_sqlite:
            settings["connect_args"] = {"timeout": self._lock_timeout_s}
        else:
            settings["pool_pre_ping"] = True
        if self._url.drivername == "postgresql+psycopg2":
            settings["connect_args"] = {"connect_timeout": 10}
            # Many updates in one message: confirming 50 claims takes 12 ms so, and 18 ms one by one.
            settings["executemany_mode"] = "values_plus_batch"
        try:
            engine = create_engine(self._url, **settings)
        except NoSuchModuleError as error:
            raise LedgerError(f"Ledger {self.name}: {error}. Install its SQLAlchemy dialect.") from error
        except ModuleNotFoundError as error:
            extra = " with: pip install 'project_fanout[postgres]'" if error.name == "psycopg2" else ""
            raise LedgerError(
                f"Ledger {self.name} needs the driver {error.name}. Install it{extra}."
            ) from error
        if self._is_sqlite:
            event.listen(engine, "connect", _set_up_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
        return engine

    def _open(self, *, create: bool) -> None:
        # Many workers may open it at once: nothing is written where all is there.
        version = self._first_look()
        if version is None:
            if not create:
                raise LedgerError(
                    f"{self.name} holds no ledger. Fan-outs make it, where {LEDGER_URL} names it."
                )
            if self._is_sqlite:
                self._patiently(self._prepare_sqlite)
            version = self._change_tables(_create_tables)
        if version < SCHEMA_VERSION:
            version = self._change_tables(upgrade)
        if version != SCHEMA_VERSION:
            older = "an older" if version < SCHEMA_VERSION else "a newer"
            raise LedgerError(
                f"Ledger {self.name} has schema version {version}, of {older} project_fanout; this one "
                f"reads and writes version {SCHEMA_VERSION}. Use the project_fanout that wrote it, or name "
                f"another place in {LEDGER_URL}: then runs that have not finished compute their units again."
            )
        if create:
            # A file that cannot be written is refused now, not after the first hour of work.
            self.write(_write_a_row if self._is_sqlite else lambda _: None)

    def _change_tables(self, work: Callable[[Connection], int]) -> int:
        def alone(connection: Connection) -> int:
            # Two CREATE TABLE at once fail in PostgreSQL with half a dozen codes, of its own catalogue's too.
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_TABLES_LOCK})")
            return work(connection)

        return self.write(alone)

    def _prepare_sqlite(self) -> None:
        # The first lets prune shrink the file and works only before there is a table.
        self._pragma("auto_vacuum = INCREMENTAL")
        # In WAL mode readers and the one writer do not wait for each other. But it needs memory that all of them map:
        # on a file system that machines share they do not see each other's, and on some there is none.
        place = self._file_system()
        if place is not None and place.is_shared:
            return
        try:
            self._pragma("journal_mode = WAL")
            self._transaction(stored_version, writes=False)
        except (SQLAlchemyError, sqlite3.Error) as error:
            if not _is_of_the_place(error) or not self._left_wal():
                raise

    def _first_look(self) -> int | None:
        try:
            version = self.read(stored_version)
        except LedgerError as error:
            # A ledger in WAL mode that has been moved to where no memory can be mapped.
            if not self._is_sqlite or not _is_of_the_place(error.__cause__) or not self._left_wal():
                raise
            return self.read(stored_version)
        place = self._file_system()
        if place is not None and place.is_shared:
            self._left_wal()
        return version

    def _left_wal(self) -> bool:
        """Take the file out of WAL mode, which needs no shared memory; return whether it was in it and is not now."""
        if not self._is_wal():
            return False
        self._engine.dispose()
        connection = sqlite3.connect(str(self._url.database), timeout=1, isolation_level=None)
        try:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA journal_mode = DELETE").fetchall()
        except sqlite3.Error:
            pass
        finally:
            connection.close()
        return not self._is_wal()

    def _is_wal(self) -> bool:
        try:
            with open(str(self._url.database), "rb") as file:
                return file.read(20)[18:] == b"\2\2"
        except OSError:
            return False

    def _file_system(self) -> FileSystem | None:
        return file_system(str(self._url.database)) if self._is_sqlite else None

    def _pragma(self, pragma: str) -> None:
        connection = self._engine.raw_connection()
        try:
            # execute() would take one step of it only, and incremental_vacuum frees one page a step.
            connection.cursor().executescript(f"PRAGMA {pragma};")
        finally:
            connection.close()

    def _transaction(self, work: Callable[[Connection], _T], *, writes: bool) -> _T:
        with self._engine.connect() as connection:
            connection.execution_options(fanout_writes=writes)
            with connection.begin():
                if writes and connection.dialect.name == "postgresql":
                    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {int(self._lock_timeout_s * 1000)}")
                return work(connection)

    def _patiently(self, action: Callable[[], _T]) -> _T:
        begin = time.monotonic()
        while True:
            try:
                result = action()
            except (SQLAlchemyError, sqlite3.Error) as error:
                if time.monotonic() - begin >= self._patience_s(error):
                    raise LedgerError(self._explain(error)) from error
            else:
                self._answered = True
                return result
            # Nothing tells when another process lets go or a server is back. For a random time, so that two
            # that have met do not meet again.
            time.sleep(random.uniform(0.01, 0.1))

    def _patience_s(self, error: Exception) -> float:
        """Return how long to try the same transaction again: 0 where that cannot help."""
        if _is_locked(error):
            return self._lock_timeout_s
        if not isinstance(error, DBAPIError) or self._is_sqlite:
            return 0.0
        if error.connection_invalidated:
            return self._lock_timeout_s
        if code := getattr(error.orig, "pgcode", None):
            return self._lock_timeout_s if code in _PASSING_STATES or code.startswith("08") else 0.0
        if not isinstance(error, OperationalError):
            return 0.0
        return self._lock_timeout_s if self._answered else min(_FIRST_WAIT_S, self._lock_timeout_s)

    def _explain(self, error: Exception) -> str:
        cause = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        start = f"Ledger {self.name}: {cause}."
        elsewhere = f"name another place in {LEDGER_URL}"
        text = cause.lower()
        place = self._file_system()
        where = f" It is on {place}." if place is not None else ""
        if place is not None and place.is_shared:
            elsewhere += (
                ", on a disk of this machine or in PostgreSQL, because locks on such a file system often fail"
            )
        if _is_locked(error):
            if place is not None:
                where += f" If no process has it open, there are no locks there: {elsewhere}."
            return (
                f"{start} Another process has kept it locked for {self._lock_timeout_s:g} s. End that "
                "process (`fuser -v` names who has a file open, pg_stat_activity who has a table), then run "
                f"again.{where}"
            )
        if "locking protocol" in text or _lacks_a_service(error):
            return (
                f"{start}{where} It needs a file system with locks, such as a disk of this machine has, or PostgreSQL: "
                f"name another place in {LEDGER_URL}."
            )
        if "readonly" in text or "read-only" in text or "permission denied" in text:
            return f"{start} Allow this user to write it and its folder, or {elsewhere}."
        if "full" in text or "disk i/o" in text or "no space left" in text:
            return f"{start}{where} Make room where it is, or {elsewhere}; then run again."
        if "not a database" in text or "malformed" in text:
            return (
                f"{start} It is damaged, or it is another program's file. Move it away, and a new one is "
                f"made (then runs that have not finished compute their units again), or {elsewhere}."
            )
        if "unable to open" in text:
            return (
                f"{start}{where} It has to be a file in a folder that this user may write; else {elsewhere}."
            )
        return f"{start} See that the database runs and that this user may use it, or {elsewhere}."


def _parsed(url: str | Path) -> URL:
    text = str(url)
    if isinstance(url, Path) or "://" not in text:
        return URL.create("sqlite", database=text)
    try:
        parsed = make_url(text)
    except ArgumentError:
        scheme = text.partition("://")[0]
        raise LedgerError(
            f"The ledger's URL, {scheme}://..., is not an SQLAlchemy URL. Accepted: the path of a file, "
            f"sqlite:////path/of/a/file, postgresql://user:password@host:5432/database."
        ) from None
    # SQLAlchemy's own default driver differs between 2.0 and 2.1; the extra `postgres` installs this one.
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg2")
    return parsed


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    # The driver begins no transactions of its own: _begin_sqlite says how they begin.
    connection.isolation_level = None
    # On disk when committed, also when the power fails: a claim that is lost sends an e-mail twice. A
    # ledger commits at most some times a second, so that NORMAL would save nothing that can be measured.
    connection.execute("PRAGMA synchronous = FULL")


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes its lock at once: one that reads first and then finds another in between fails.
    writes = connection.get_execution_options().get("fanout_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _write_a_row(connection: Connection) -> None:
    # On a file that may only be read BEGIN IMMEDIATE is taken for BEGIN: only a row that is written tells.
    connection.execute(update(SCHEMA).values(version=SCHEMA.c.version))


def _create_tables(connection: Connection) -> int:
    version = stored_version(connection)
    if version is None:
        METADATA.create_all(connection)
        connection.execute(insert(SCHEMA).values(version=SCHEMA_VERSION))
        version = SCHEMA_VERSION
    return version


def _is_of_the_place(error: BaseException | None) -> bool:
    """Tell whether it may be the place of the file that SQLite cannot use it, and not what is in the file."""
    cause = str(getattr(error, "orig", None) or error).lower()
    return any(text in cause for text in ("disk i/o", "locking protocol", "unable to open"))


def _lacks_a_service(error: Exception) -> bool:
    """Tell whether SQLite has found no locks, or no memory to map, where the file is."""
    cause = getattr(error, "orig", None) or error
    # Python 3.10 does not tell.
    return str(getattr(cause, "sqlite_errorname", "")).startswith(_SERVICES)


def _is_locked(error: Exception) -> bool:
    cause = getattr(error, "orig", None) or error
    if isinstance(cause, sqlite3.Error):
        return isinstance(cause, sqlite3.OperationalError) and (
            "locked" in str(cause) or "busy" in str(cause)
        )
    return getattr(cause, "pgcode", None) == "55P03"
